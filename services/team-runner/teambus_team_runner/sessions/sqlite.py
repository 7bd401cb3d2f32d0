"""All that is particular to SQLite. The other modules here speak SQL that PostgreSQL knows too."""

import os
import sqlite3
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.dialects.sqlite.pysqlite import dialect
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from teambus_team_runner.sessions.errors import StoreUnavailable, StoreUnfit
from teambus_team_runner.sessions.prepared import PreparedStatements

VERSION_MIN = (3, 35, 0)
WAL_TRIES = 100
WAL_RETRY_S = 0.01

# All that using the database may raise.
ERRORS = (SQLAlchemyError, sqlite3.Error, OSError, TimeoutError)

_DIALECT = dialect(paramstyle="named")

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


class SqliteFile:
    """One database file."""

    errors: tuple[type[Exception], ...] = ERRORS
    schema: str | None = None
    insert = staticmethod(insert)

    def __init__(self, path: Path, busy_timeout_s: float) -> None:
        self.path = path
        self._engine = sa.create_engine(
            sa.URL.create("sqlite", database=str(path)),
            connect_args={"timeout": busy_timeout_s},
            isolation_level="AUTOCOMMIT",
            poolclass=sa.NullPool,
            hide_parameters=True,
        )
        sa.event.listen(self._engine, "connect", _make_durable)
        self._prepared = PreparedStatements()

    @property
    def name(self) -> str:
        return str(self.path)

    @property
    def key(self) -> str:
        return str(self.path.resolve())

    def make_folder(self) -> None:
        if sqlite3.sqlite_version_info < VERSION_MIN:
            needed = ".".join(map(str, VERSION_MIN))
            raise StoreUnfit(f"SQLite {needed} is needed, this Python has {sqlite3.sqlite_version}")
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def identity(self) -> tuple[int, int] | None:
        """Which file is at the path now. A deleted file can still be written to, and is lost."""
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def connect(self) -> "SqliteConnection":
        """A connection for the thread that makes it."""
        return SqliteConnection(self._engine.connect(), self._prepared)

    def unavailable(self, error: Exception) -> StoreUnavailable:
        return unavailable(error)

    def passes(self, error: Exception) -> bool:
        """Never: who has the lock was waited for, and all else stays as it is."""
        return False


class SqliteConnection:
    """A connection that reads what is committed, and writes in the transactions begun here.

    SQLAlchemy makes the statements and the connection; the driver executes them, because each
    execution through SQLAlchemy costs more than what SQLite does in it.
    """

    def __init__(self, core: sa.Connection, prepared: PreparedStatements) -> None:
        self.core = core
        self._prepared = prepared
        self._driver: Any = core.connection.driver_connection

    def prepare(self) -> None:
        """Set the mode kept in the file. SQLite does not wait for others who are setting it."""
        for _ in range(WAL_TRIES):
            if self._uses_wal():
                return
            time.sleep(WAL_RETRY_S)
        raise StoreUnavailable(_LOCKED)

    def rows(self, statement: sa.Select[Any], values: dict[str, Any]) -> list[sa.Row[Any]]:
        prepared = self._prepared.of(statement, _DIALECT)
        found = self._driver.execute(prepared.text, prepared.fixed | values).fetchall()
        return [prepared.row(row) for row in found]

    def put(self, statement: sa.UpdateBase, rows: Sequence[dict[str, Any]]) -> list[bool]:
        execute = self._driver.execute
        prepared = self._prepared.of(statement, _DIALECT)
        text, fixed = prepared.text, prepared.fixed
        return [bool(execute(text, fixed | row).fetchall()) for row in rows]

    def begin_exclusive(self) -> None:
        self.core.exec_driver_sql("BEGIN IMMEDIATE")

    def begin(self) -> None:
        self._driver.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        self._driver.execute("COMMIT")

    def rollback(self) -> None:
        self._driver.execute("ROLLBACK")

    def recover(self) -> bool:
        return False  # a file may be damaged, and is opened again in no time

    def break_off(self) -> None:
        """A file that hangs cannot be let go of."""

    def close(self) -> None:
        with suppress(SQLAlchemyError, sqlite3.Error):  # it may be closed because it is broken
            self.core.close()

    def _uses_wal(self) -> bool:
        try:
            self._driver.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if unavailable(error).reason != _LOCKED:
                raise
            return False
        return True


def _make_durable(connection: Any, _: object) -> None:
    connection.execute("PRAGMA synchronous=FULL")


def unavailable(error: Exception) -> StoreUnavailable:
    """The error in words for people."""
    match error:
        case (sqlite3.Error() as cause) | DBAPIError(orig=sqlite3.Error() as cause):
            return _refused(cause)
        case TimeoutError():
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
