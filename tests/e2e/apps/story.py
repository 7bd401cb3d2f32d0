"""A team of two and one background hook that writes down what it is given."""

import os
from pathlib import Path

from teambus import Agent, AsyncSqliteDb, Delivery, OpenAIChat, Team, TeamBus, TeamRunOutput, hook


def note(line: str) -> None:
    """One line in one write, so that lines of several processes do not mix."""
    with Path(os.environ["HOOK_LOG"]).open("a") as log:
        log.write(line + "\n")


@hook(run_in_background=True, name="note-run", attempts_max=3, backoff_s=0.1)
async def note_run(run_output: TeamRunOutput, team: Team, delivery: Delivery) -> None:
    note(f"{run_output.run_id} {run_output.status} {team.name} attempt={delivery.attempt}")


content_team = Team(
    id="content-team",
    name="ContentTeam",
    model=OpenAIChat(id="gpt-5.2"),
    members=[
        Agent(name="Researcher", role="finds facts", instructions="Give facts."),
        Agent(name="Writer", role="writes", instructions="Write prose."),
    ],
    instructions="Coordinate the two.",
    db=AsyncSqliteDb(db_file=str(Path(os.environ["TEST_FOLDER"]) / "team.db")),
    post_hooks=[note_run],
    markdown=True,
)

teambus = TeamBus(id="story", teams=[content_team])
