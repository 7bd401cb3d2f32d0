"""A team of two with one hook for what was cancelled and one for what was not."""

import os
from pathlib import Path

from teambus import Agent, AsyncSqliteDb, OpenAIChat, Team, TeamBus, TeamRunOutput, hook

MODEL = OpenAIChat(id="gpt-5.2")


def note(name: str, run_output: TeamRunOutput) -> None:
    """One line in one write, so that lines of several processes do not mix."""
    line = f"{name} {run_output.run_id} {run_output.status} {run_output.cancellation_stage}\n"
    with Path(os.environ["HOOK_LOG"]).open("a") as log:
        log.write(line)


@hook(run_in_background=True, on=("CANCELLED",))
async def mourn(run_output: TeamRunOutput) -> None:
    note("mourn", run_output)


@hook(run_in_background=True)
async def cheer(run_output: TeamRunOutput) -> None:
    note("cheer", run_output)


content_team = Team(
    id="content-team",
    name="Content",
    model=MODEL,
    members=[
        Agent(name="Scout", model=MODEL),
        Agent(name="Editor", model=MODEL, instructions="Edit prose."),
    ],
    db=AsyncSqliteDb(db_file=os.environ["TEST_FOLDER"] + "/team.db"),
    post_hooks=[mourn, cheer],
)
app = TeamBus(id="cancels", teams=[content_team])
