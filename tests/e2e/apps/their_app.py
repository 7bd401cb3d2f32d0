"""A user's program: it declares, serves itself, and has a hook that takes its time."""

import asyncio
import os
from pathlib import Path

from teambus import Agent, AsyncSqliteDb, OpenAIChat, Team, TeamBus, TeamRunOutput, hook

HOOK_S = 2


def note(line: str) -> None:
    with Path(__file__).with_name("hook.log").open("a") as log:
        log.write(line + "\n")


@hook(run_in_background=True)
async def take_time(run_output: TeamRunOutput) -> None:
    note(f"began {run_output.run_id}")
    await asyncio.sleep(HOOK_S)
    note(f"ended {run_output.run_id}")


their_team = Team(
    id="their-team",
    name="Their team",
    model=OpenAIChat(id="gpt-5.2"),
    members=[Agent(name="Researcher", role="finds facts")],
    db=AsyncSqliteDb(db_file="tmp/team.db"),
    post_hooks=[take_time],
)

teambus = TeamBus(teams=[their_team])
app = teambus.get_app()

if __name__ == "__main__":
    teambus.serve(app="their_app:app", port=int(os.environ["PORT"]), reload=True)
