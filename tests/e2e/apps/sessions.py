"""Teams that keep sessions: one that shows its leader two earlier runs, one that shows none."""

import os
from pathlib import Path

from teambus import Agent, AsyncSqliteDb, OpenAIChat, RunContext, Team, TeamBus

FOLDER = Path(os.environ["TEST_FOLDER"])
MODEL = OpenAIChat(id="gpt-5.2")
DB = AsyncSqliteDb(db_file=FOLDER / "sessions.db")


def count(run_context: RunContext) -> None:
    assert run_context.session_state is not None
    run_context.session_state["count"] += 1


memory = Team(
    id="memory",
    model=MODEL,
    members=[Agent(name="Writer")],
    db=DB,
    add_history_to_context=True,
    num_history_runs=2,
    session_state={"count": 0, "colour": "red"},
    pre_hooks=[count],
)
forgetful = Team(id="forgetful", model=MODEL, members=[Agent(name="Writer")], db=DB)
small = Team(
    id="small",
    model=MODEL,
    members=[Agent(name="Writer")],
    db=AsyncSqliteDb(db_file=FOLDER / "small" / "small.db"),
)
app = TeamBus(id="sessions", teams=[memory, forgetful, small])
