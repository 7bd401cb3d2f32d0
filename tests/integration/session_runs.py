"""Runs to put into a session store, and looks at the database that do not go through the store."""

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from teambus.app.databases import AsyncPostgresDb, AsyncSqliteDb, SessionDb
from teambus.contracts.output import (
    ChatMessage,
    RunOutput,
    RunStatus,
    TeamRunInput,
    TeamRunOutput,
)
from teambus_team_runner.sessions import LoadedSession, RunWrite, SessionStore, StoreSettings

ONLY_SQLITE = pytest.mark.parametrize("db", ["sqlite"], indirect=True)
QUICK = StoreSettings(store_busy_timeout_s=2, store_timeout_s=5)


def db_in(folder: Path, table: str = "teambus_sessions") -> AsyncSqliteDb:
    return AsyncSqliteDb(db_file=folder / "made" / "team.db", session_table=table)


@contextmanager
def each_connection_told(pragma: str) -> Iterator[None]:
    def tell(connection: Any, _: object) -> None:
        connection.cursor().execute(pragma)

    event.listen(Engine, "connect", tell)
    try:
        yield
    finally:
        event.remove(Engine, "connect", tell)


def message(role: str, content: str, *, from_history: bool = False) -> ChatMessage:
    return ChatMessage(
        id=f"{role}-{content}",
        role=role,
        content=content,
        from_history=from_history,
        stop_after_tool_call=False,
        created_at=1,
    )


def output(run_id: str, session_id: str = "s1", **changes: Any) -> TeamRunOutput:
    """A run that remembered something, asked its leader, and had one member work for it."""
    member = RunOutput(
        run_id=f"{run_id}-member",
        status=RunStatus.COMPLETED,
        created_at=1,
        messages=[message("assistant", "a member's words")],
    )
    fields: dict[str, Any] = {
        "run_id": run_id,
        "team_id": "news",
        "session_id": session_id,
        "status": RunStatus.COMPLETED,
        "created_at": 1_700_000_000,
        "content_type": "str",
        "member_responses": [member],
        "input": TeamRunInput(input_content=f"question of {run_id}"),
        "content": f"answer of {run_id}",
        "messages": [
            message("system", "be brief"),
            message("user", "an older question", from_history=True),
            message("user", f"question of {run_id}"),
            message("assistant", f"answer of {run_id}"),
        ],
    }
    return TeamRunOutput(**(fields | changes))


def run_write(
    run_id: str,
    fence: int,
    session_id: str = "s1",
    *,
    state: dict[str, Any] | None = None,
    opened: bool = True,
    **changes: Any,
) -> RunWrite:
    return RunWrite(
        tenant="default",
        fence=fence,
        output=output(run_id, session_id, **changes),
        completed_at=1_700_000_001.5,
        session_state=state,
        opened=opened,
    )


async def load(
    store: SessionStore, session_id: str = "s1", user_id: str | None = None, runs: int = 3
) -> LoadedSession:
    return await store.load(
        "default", session_id, team_id="news", user_id=user_id, history_runs=runs
    )


def query(db: SessionDb, sql: str) -> list[tuple[Any, ...]]:
    with closing(_connection(db)) as connection:
        found: list[tuple[Any, ...]] = connection.execute(sql).fetchall()
        return found


def change(db: SessionDb, sql: str) -> None:
    with closing(_connection(db)) as connection:
        connection.execute(sql)
        connection.commit()


def _connection(db: SessionDb) -> Any:
    if isinstance(db, AsyncPostgresDb):
        return psycopg.connect(db.db_url, options=f"-c search_path={db.db_schema}")
    return sqlite3.connect(db.path)


@contextmanager
def held(db: AsyncSqliteDb, begin: str) -> Iterator[None]:
    """Keep a transaction open, begun as told."""
    with closing(sqlite3.connect(db.path, isolation_level=None)) as connection:
        connection.execute(begin)
        yield


async def connections_end() -> None:
    """Wait for the threads of closed connections; one that was not closed fails the test."""
    for thread in threading.enumerate():
        if "session store" in thread.name:
            await asyncio.to_thread(thread.join, 5)
            assert not thread.is_alive(), thread.name


def stored_run_ids(db: SessionDb) -> list[str]:
    return [run_id for (run_id,) in query(db, "SELECT run_id FROM teambus_sessions_runs")]
