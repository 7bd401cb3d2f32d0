"""An agent that is a team's member and is served by itself as well."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

from teambus import Agent, AsyncSqliteDb, Delivery, OpenAIChat, RunContext, Team, TeamBus, hook

FOLDER = Path(os.environ["TEST_FOLDER"])
MODEL = OpenAIChat(id="gpt-5.2")
DB = AsyncSqliteDb(db_file=FOLDER / "agents.db")


def note(line: dict[str, Any]) -> None:
    with Path(os.environ["HOOK_LOG"]).open("a") as log:
        log.write(json.dumps(line) + "\n")


@hook(run_in_background=True, name="poems")
async def poems(run_output: Any, agent: Agent, delivery: Delivery) -> None:
    facts = {
        "hook": delivery.hook,
        "run": run_output.run_id,
        "kind": type(run_output).__name__,
        "agent": [agent.name, run_output.agent_id, run_output.team_id],
        "status": run_output.status,
        "attempt": delivery.attempt,
    }
    note({"what": "began", **facts})
    await opened()
    note({"what": "ended", **facts})


async def opened() -> None:
    while True:
        if (FOLDER / "gate").exists():
            return
        await asyncio.sleep(0.02)


def count(run_context: RunContext) -> None:
    assert run_context.session_state is not None
    run_context.session_state["poems"] = run_context.session_state.get("poems", 0) + 1


poet = Agent(
    name="Poet",
    model=MODEL,
    instructions="You are Poet.",
    db=DB,
    add_history_to_context=True,
    num_history_runs=2,
    session_state={"colour": "red"},
    pre_hooks=[count],
    post_hooks=[poems],
)
desk = Team(id="desk", name="Desk", model=MODEL, members=[poet], db=DB)
app = TeamBus(id="poetry", teams=[desk], agents=[poet])
