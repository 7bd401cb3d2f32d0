"""A team of two of whom one has a tool, with a background hook: something of everything that is
told of a run. What instruments the user's own code finds around it, it writes down.
"""

import os
from pathlib import Path

from opentelemetry import trace

from teambus import (
    Agent,
    AsyncSqliteDb,
    Delivery,
    OpenAIChat,
    Team,
    TeamBus,
    TeamRunOutput,
    hook,
)

FOLDER = Path(os.environ["TEST_FOLDER"])


def note(line: str) -> None:
    with Path(os.environ["HOOK_LOG"]).open("a") as log:
        log.write(line + "\n")


@hook(run_in_background=True, name="note-run", attempts_max=3, backoff_s=0.1)
async def note_run(run_output: TeamRunOutput, delivery: Delivery) -> None:
    with trace.get_tracer("users.own").start_as_current_span("users own span in a hook"):
        note(f"{run_output.run_id} {run_output.status} attempt={delivery.attempt}")


def weigh(thing: str) -> str:
    """How heavy it is."""
    with trace.get_tracer("users.own").start_as_current_span("users own span in a tool"):
        return f"{thing}: 3 g"


MODEL = OpenAIChat(id="gpt-5.2")
team = Team(
    id="telling-team",
    name="TellingTeam",
    model=MODEL,
    members=[
        Agent(name="Researcher", instructions="Give facts.", tools=[weigh]),
        Agent(name="Writer", instructions="Write prose."),
    ],
    db=AsyncSqliteDb(db_file=str(FOLDER / "telling.db")),
    post_hooks=[note_run],
)
teambus = TeamBus(id="telling", teams=[team])
