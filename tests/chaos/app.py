"""The app that chaos is made of: sessions with history, a tool, and hooks of every temper.

Each hook and tool writes down that it was called, so that the reckoning need not believe the bus.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

from teambus import (
    Agent,
    AsyncPostgresDb,
    AsyncSqliteDb,
    Delivery,
    OpenAIChat,
    RunContext,
    Team,
    TeamBus,
    hook,
    tool,
)

MODEL = OpenAIChat(id="gpt-5.2")
FILE = Path(os.environ.get("TEST_FOLDER", ".")) / "sessions.db"
DB = AsyncPostgresDb() if "TEAM_RUNNER_DB_URL" in os.environ else AsyncSqliteDb(db_file=FILE)
HISTORY_RUNS = 2
FLAKY_FAILURES = 2
SLOW_S = 0.3
TOOL_S = 0.3


def note(variable: str, **facts: Any) -> None:
    """One line in one write, so that lines of several processes do not mix."""
    line = json.dumps({**facts, "pid": os.getpid(), "at": time.time()}) + "\n"
    with Path(os.environ[variable]).open("a") as log:
        log.write(line)


def note_call(run_output: Any, delivery: Delivery) -> None:
    note("HOOK_LOG", hook=delivery.hook, run=run_output.run_id, attempt=delivery.attempt)


@hook(run_in_background=True, name="quick", attempts_max=5, backoff_s=0.2)
async def quick(run_output: Any, delivery: Delivery) -> None:
    note_call(run_output, delivery)


@hook(run_in_background=True, name="flaky", attempts_max=5, backoff_s=0.1)
async def flaky(run_output: Any, delivery: Delivery) -> None:
    note_call(run_output, delivery)
    if delivery.attempt <= FLAKY_FAILURES:
        raise RuntimeError("not yet")


@hook(run_in_background=True, name="doomed", attempts_max=2, backoff_s=0.1)
async def doomed(run_output: Any, delivery: Delivery) -> None:
    note_call(run_output, delivery)
    raise RuntimeError("never")


@hook(run_in_background=True, name="slow", attempts_max=5, backoff_s=0.2, concurrency_max=16)
def slow(run_output: Any, delivery: Delivery) -> None:
    note_call(run_output, delivery)
    time.sleep(SLOW_S)


def jot(what: str, run_context: RunContext) -> str:
    """Write something down."""
    note("TOOL_LOG", tool="jot", run=run_context.run_id)
    time.sleep(TOOL_S)
    return f"wrote {what} for [{run_context.run_id}]"


@tool(retry="never")
def charge(what: str, run_context: RunContext) -> str:
    """Take money for it."""
    note("TOOL_LOG", tool="charge", run=run_context.run_id)
    time.sleep(TOOL_S)
    return f"charged {what} for [{run_context.run_id}]"


desk = Team(
    id="desk",
    model=MODEL,
    members=[Agent(name="Researcher"), Agent(name="Writer")],
    db=DB,
    add_history_to_context=True,
    num_history_runs=HISTORY_RUNS,
    post_hooks=[quick, flaky, doomed, slow],
)
clerk = Agent(
    id="clerk", name="Clerk", model=MODEL, tools=[jot, charge], db=DB, post_hooks=[quick, slow]
)
app = TeamBus(id="chaos", teams=[desk], agents=[clerk])
