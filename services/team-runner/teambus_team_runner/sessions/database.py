"""The connections of one store: one that writes, a few that read, made again when they are lost.

This is the seam to another kind of database. All else here speaks SQLAlchemy Core, and states what
it does as units of work: plain functions of a `Connection`. For SQLite a unit runs in a thread, on
the driver itself. For PostgreSQL a `Database` with the same methods would lend connections of an
`AsyncEngine` and run a unit by `AsyncConnection.run_sync`, given a `Connection` that executes the
statements on the connection it is handed; `ensure_schema` runs in the same way as it is.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from operator import attrgetter
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

import sqlalchemy as sa
import structlog

from teambus_team_runner.sessions import sqlite
from teambus_team_runner.sessions.errors import StoreUnavailable
from teambus_team_runner.sessions.schema import ensure_schema
from teambus_team_runner.sessions.settings import StoreSettings
from teambus_team_runner.sessions.sqlite import Identity, SqliteConnection, SqliteFile
from teambus_team_runner.sessions.tables import Tables
from teambus_team_runner.sessions.threads import ConnectionThread

log = structlog.get_logger(__name__)

Values: TypeAlias = dict[str, Any]
T = TypeVar("T")


class Connection(Protocol):
    """What a unit of work may do. What it began and did not commit is undone when it fails."""

    def rows(self, statement: sa.Select[Any], values: Values) -> list[sa.Row[Any]]: ...

    def put(self, statement: sa.UpdateBase, rows: Sequence[Values]) -> list[bool]:
        """Execute for each row and say of each whether the statement gave anything back."""

    def begin(self) -> None:
        """Begin a transaction that writes, waiting for whoever else does."""

    def commit(self) -> None: ...

    def rollback(self) -> None: ...


Unit: TypeAlias = Callable[[Connection], T]


class _Open(NamedTuple):
    identity: Identity
    writer: ConnectionThread[SqliteConnection]
    readers: Sequence[ConnectionThread[SqliteConnection]]


class Database:
    """Does units of work. Whatever the database refuses leaves here as `StoreUnavailable`.

    A caller that is cancelled or late leaves a unit that is begun to its end, so whole.
    """

    def __init__(self, file: SqliteFile, tables: Tables, settings: StoreSettings) -> None:
        self._file = file
        self._tables = tables
        self._settings = settings
        self._now: _Open | None = None
        self._leaving: list[ConnectionThread[SqliteConnection]] = []
        self._opening = asyncio.Lock()

    async def write(self, work: Unit[T]) -> T:
        """On the one connection that writes."""
        async with self._bounded():
            return await (await self._open()).writer.do(work)

    async def read(self, work: Unit[T]) -> T:
        """Beside the one that writes, and beside a reader that takes long."""
        async with self._bounded():
            readers = (await self._open()).readers
            return await min(readers, key=attrgetter("busy")).do(work)

    async def open(self) -> None:
        async with self._bounded():
            await self._open()

    async def close(self) -> None:
        try:
            async with self._bounded(), self._opening:
                await self._let_go()
        except StoreUnavailable as error:
            log.warning("left the session database open", reason=error.reason)

    async def _open(self) -> _Open:
        """What is open, opened again if the file at the path is another one or gone."""
        if (now := self._now) is not None and self._file.identity() == now.identity:
            return now
        async with self._opening:
            if (now := self._now) is None or self._file.identity() != now.identity:
                await self._let_go()
                now = self._now = await self._connect()
            return now

    async def _let_go(self) -> None:
        """Wait until all connections are closed: the last one deletes the log beside the file,
        which must not be the log of a file that was put in its place."""
        if self._now is not None:
            self._leave(self._now.writer, *self._now.readers)
            self._now = None
        while self._leaving:
            await self._leaving[-1].ended()
            self._leaving.pop()

    def _leave(self, *threads: ConnectionThread[SqliteConnection]) -> None:
        for thread in threads:
            thread.end()
        self._leaving += threads

    async def _connect(self) -> _Open:
        writer = self._thread()
        try:
            await writer.do(self._prepare)
        except BaseException:
            self._leave(writer)
            raise
        readers = [self._thread() for _ in range(self._settings.store_readers_max)]
        return _Open(self._file.identity(), writer, readers)

    def _thread(self) -> ConnectionThread[SqliteConnection]:
        return ConnectionThread(self._file.connect, f"session store {self._file.path}")

    def _prepare(self, connection: SqliteConnection) -> None:
        connection.prepare()
        ensure_schema(connection.core, self._tables, str(self._file.path))

    @asynccontextmanager
    async def _bounded(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._settings.store_timeout_s):
                yield
        except sqlite.ERRORS as error:
            # Its cause would show the statement in tracebacks.
            raise sqlite.unavailable(error) from None
