"""A team and an agent of several tenants; runs that wait to be let go, a hook that fails."""

import asyncio
import os
from pathlib import Path

from teambus import (
    Agent,
    AsyncSqliteDb,
    OpenAIChat,
    Team,
    TeamBus,
    TeamRunInput,
    TeamRunOutput,
    hook,
)

FOLDER = Path(os.environ["TEST_FOLDER"])
MODEL = OpenAIChat(id="gpt-5.2")
DB = AsyncSqliteDb(db_file=str(FOLDER / "houses.db"))


async def hold(run_input: TeamRunInput) -> None:
    while "slow" in run_input.input_content:
        if (FOLDER / "go").exists():
            return
        await asyncio.sleep(0.02)


@hook(run_in_background=True, name="note", attempts_max=1)
async def note(run_output: TeamRunOutput) -> None:
    if run_output.input and "sour" in run_output.input.input_content:
        raise ValueError("the hook said no")


desk = Team(
    id="desk",
    name="Desk",
    model=MODEL,
    members=[Agent(name="Writer")],
    db=DB,
    add_history_to_context=True,
    pre_hooks=[hold],
    post_hooks=[note],
)
poet = Agent(id="poet", name="Poet", model=MODEL, db=DB)
app = TeamBus(id="houses", teams=[desk], agents=[poet])
