"""Two teams that look, charge and ask a member; each tool writes down that it was called.

`TOOL_BLOCKS` names calls that never return, as `look:<run id>`, with blanks between.
"""

import asyncio
import os
from pathlib import Path

from teambus import (
    Agent,
    AsyncSqliteDb,
    OpenAIChat,
    RunContext,
    Team,
    TeamBus,
    TeamRunOutput,
    hook,
    tool,
)

FOLDER = Path(os.environ["TEST_FOLDER"])
BLOCKED = os.environ.get("TOOL_BLOCKS", "").split()


def note(path: Path, line: str) -> None:
    """One line in one write, so that lines of several processes do not mix."""
    with path.open("a") as log:
        log.write(line + "\n")


async def called(name: str, context: RunContext) -> None:
    note(FOLDER / "tools.log", f"{name} {context.run_id} {context.idempotency_key}")
    if f"{name}:{context.run_id}" in BLOCKED:
        await asyncio.Event().wait()


async def look(run_context: RunContext) -> str:
    await called("look", run_context)
    return f"looked {run_context.run_id}"


@tool(retry="never")
async def charge(run_context: RunContext) -> str:
    await called("charge", run_context)
    return f"charged {run_context.run_id}"


@hook(run_in_background=True, name="note-run", backoff_s=0.1, on=("COMPLETED", "ERROR"))
async def note_run(run_output: TeamRunOutput) -> None:
    note(Path(os.environ["HOOK_LOG"]), f"{run_output.run_id} {run_output.status}")


def paying(id_: str, db_file: str) -> Team:
    member = OpenAIChat(id="member-model")
    return Team(
        id=id_,
        name=id_,
        model=OpenAIChat(id="leader-model"),
        members=[Agent(name="Researcher", model=member), Agent(name="Writer", model=member)],
        tools=[look, charge],
        db=AsyncSqliteDb(db_file=str(FOLDER / db_file), id=id_),
        post_hooks=[note_run],
    )


teambus = TeamBus(
    id="paying", teams=[paying("paying-team", "paying.db"), paying("locked-team", "locked.db")]
)
