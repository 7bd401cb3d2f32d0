"""All that is particular to SQLite. The other modules here speak SQL that PostgreSQL knows too."""

import asyncio
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from sqlalchemy import URL, event
from sqlalchemy.dialects.sqlite import insert as insert
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from teambus_team_runner.sessions.errors import StoreUnavailable, StoreUnfit

Identity: TypeAlias = tuple[int, int] | None

VERSION_MIN = (3, 35, 0)
WAL_TRIES = 100
WAL_RETRY_S = 0.01

_LOCKED = "it is locked by another process"
_REASONS = {
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
    sqlite3.SQLITE_PERM: "it may not be opened",
    sqlite3.SQLITE_READONLY: "it is read-only",
    sqlite3.SQLITE_IOERR: "its disk failed",
    sqlite3.SQLITE_CORRUPT: "its file is damaged",
    sqlite3.SQLITE_NOTADB: "its file is damaged or not a database",
    sqlite3.SQLITE_CANTOPEN: "its file cannot be opened",
}


@dataclass(frozen=True, slots=True)
class SqliteFile:
    """One database file."""

    path: Path
    busy_timeout_s: float

    def make_folder(self) -> None:
        if sqlite3.sqlite_version_info < VERSION_MIN:
            needed = ".".join(map(str, VERSION_MIN))
            raise StoreUnfit(f"SQLite {needed} is needed, this Python has {sqlite3.sqlite_version}")
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def identity(self) -> Identity:
        """Which file is at the path now. A deleted file can still be written to, and is lost."""
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def writer(self) -> AsyncEngine:
        """One connection, whose transactions begin with a write and so wait for the lock there."""
        return self._engine(connections=1)

    async def prepare(self, connection: AsyncConnection) -> None:
        """Set the mode kept in the file. SQLite does not wait for others who are setting it."""
        for _ in range(WAL_TRIES):
            if await _uses_wal(connection):
                return
            await asyncio.sleep(WAL_RETRY_S)
        raise StoreUnavailable(_LOCKED)

    def readers(self, count: int) -> AsyncEngine:
        """A few connections without transactions: each reads in one statement."""
        return self._engine(
            connections=count, isolation_level="AUTOCOMMIT", skip_autocommit_rollback=True
        )

    def _engine(self, *, connections: int, **options: Any) -> AsyncEngine:
        engine = create_async_engine(
            URL.create("sqlite+aiosqlite", database=str(self.path)),
            connect_args={"timeout": self.busy_timeout_s},
            pool_size=connections,
            max_overflow=0,
            pool_reset_on_return=None,
            hide_parameters=True,
            **options,
        )
        event.listen(engine.sync_engine, "connect", _prepare)
        return engine


def _prepare(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


async def _uses_wal(connection: AsyncConnection) -> bool:
    try:
        await connection.exec_driver_sql("PRAGMA journal_mode=WAL")
    except OperationalError as error:
        if unavailable(error).reason != _LOCKED:
            raise
        return False
    return True


async def begin_exclusive(connection: AsyncConnection) -> None:
    """Begin a transaction in which tables may be made, all or none, by one process at a time."""
    await connection.exec_driver_sql("BEGIN IMMEDIATE")


def unavailable(error: Exception) -> StoreUnavailable:
    """The error in words for people."""
    match error:
        case DBAPIError(orig=sqlite3.Error() as cause):
            return _refused(cause)
        case TimeoutError() | PoolTimeout():
            return StoreUnavailable("it did not answer in time")
        case OSError():
            return StoreUnavailable(f"its folder cannot be used ({error.strerror})")
        case _:
            return StoreUnavailable(f"it failed ({type(error).__name__})", shared=False)


def _refused(cause: sqlite3.Error) -> StoreUnavailable:
    code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
    if code in _REASONS:
        return StoreUnavailable(_REASONS[code])
    if code == sqlite3.SQLITE_FULL:
        return StoreUnavailable("its disk is full", shared=False)
    name = getattr(cause, "sqlite_errorname", type(cause).__name__)
    return StoreUnavailable(f"it failed ({name})", shared=False)
