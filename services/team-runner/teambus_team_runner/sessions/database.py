"""The connections of one store: one that writes, a few that read, made again when they are lost.

Which kind of database it is, a `Place` says: `sqlite.py` and `postgres.py` are all there are. All
else here speaks SQLAlchemy Core, and states what it does as units of work: plain functions of a
`Connection`, done in a thread, on the driver itself. That is so for PostgreSQL as well: a unit may
also decode what it has read, megabytes at times, and that is not to hold up the loop.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from operator import attrgetter
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

import sqlalchemy as sa
import structlog

from teambus_team_runner.sessions.errors import StoreUnavailable
from teambus_team_runner.sessions.schema import ensure_schema
from teambus_team_runner.sessions.settings import StoreSettings
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


class PlaceConnection(Connection, Protocol):
    """A connection as its thread and the schema know it."""

    core: sa.Connection

    def prepare(self) -> None:
        """Make the database ready for its first use. Raises `StoreUnfit`."""

    def begin_exclusive(self) -> None: ...

    def recover(self) -> bool: ...

    def break_off(self) -> None: ...

    def close(self) -> None: ...


class Place(Protocol):
    """A database of one kind, and all that is particular to that kind."""

    errors: tuple[type[Exception], ...]
    """All that using the database may raise."""
    schema: str | None

    @property
    def name(self) -> str:
        """What people call it: no secret."""

    @property
    def key(self) -> str:
        """The same for the same database."""

    def insert(self, table: sa.Table) -> Any:
        """An insert that may say what to do on a conflict."""

    def identity(self) -> object:
        """Another one as soon as the tables may be gone, so that they are looked for again."""

    def connect(self) -> PlaceConnection:
        """A connection for the thread that makes it."""

    def unavailable(self, error: Exception) -> StoreUnavailable:
        """The error in words for people."""

    def passes(self, error: Exception) -> bool:
        """Whether nothing was written, and the same may well succeed in a moment."""


Unit: TypeAlias = Callable[[Connection], T]


class _Open(NamedTuple):
    identity: object
    writer: ConnectionThread[PlaceConnection]
    readers: Sequence[ConnectionThread[PlaceConnection]]


class Database:
    """Does units of work. Whatever the database refuses leaves here as `StoreUnavailable`.

    A caller that is cancelled or late leaves a unit that is begun to its end, so whole.
    """

    def __init__(self, place: Place, tables: Tables, settings: StoreSettings) -> None:
        self._place = place
        self._tables = tables
        self._settings = settings
        self._now: _Open | None = None
        self._leaving: list[ConnectionThread[PlaceConnection]] = []
        self._opening = asyncio.Lock()

    async def write(self, work: Unit[T]) -> T:
        """On the one connection that writes."""
        return await self._tried(work, lambda now: now.writer)

    async def read(self, work: Unit[T]) -> T:
        """Beside the one that writes, and beside a reader that takes long."""
        return await self._tried(work, lambda now: min(now.readers, key=attrgetter("busy")))

    async def open(self) -> None:
        async with self._bounded():
            await self._repeated(self._open)

    async def close(self) -> None:
        try:
            async with self._bounded(), self._opening:
                await self._let_go()
        except StoreUnavailable as error:
            log.warning("left the session database open", reason=error.reason)

    async def _tried(
        self, work: Unit[T], on: Callable[[_Open], ConnectionThread[PlaceConnection]]
    ) -> T:
        async def once() -> T:
            return await on(await self._open()).do(work)

        async with self._bounded():
            return await self._repeated(once)

    async def _repeated(self, once: Callable[[], Awaitable[T]]) -> T:
        """Do it again when it failed in passing; those who met then wait differently long."""
        for tries in range(1, self._settings.store_tries_max):
            try:
                return await once()
            except self._place.errors as error:
                if not self._place.passes(error):
                    raise
            wait_s = self._settings.store_backoff_s * 2 ** (tries - 1)
            await asyncio.sleep(random.uniform(wait_s / 2, wait_s))
        return await once()

    async def _open(self) -> _Open:
        """What is open, opened again if the file at the path is another one or gone."""
        if (now := self._now) is not None and self._place.identity() == now.identity:
            return now
        async with self._opening:
            if (now := self._now) is None or self._place.identity() != now.identity:
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

    def _break_off(self) -> None:
        """Free the threads that a database which says nothing any more has stopped."""
        now = () if self._now is None else (self._now.writer, *self._now.readers)
        for thread in (*now, *self._leaving):
            thread.break_off(after_s=self._settings.store_timeout_s / 2)

    def _leave(self, *threads: ConnectionThread[PlaceConnection]) -> None:
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
        return _Open(self._place.identity(), writer, readers)

    def _thread(self) -> ConnectionThread[PlaceConnection]:
        return ConnectionThread(self._place.connect, f"session store {self._place.name}")

    def _prepare(self, connection: PlaceConnection) -> None:
        connection.prepare()
        ensure_schema(connection, self._tables, self._place.name)

    @asynccontextmanager
    async def _bounded(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._settings.store_timeout_s):
                yield
        except self._place.errors as error:
            if isinstance(error, TimeoutError):
                self._break_off()
            # Its cause would show the statement in tracebacks.
            raise self._place.unavailable(error) from None
