"""The connections of one store: one that writes, a few that read, made again when they are lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from teambus_team_runner.sessions import sqlite
from teambus_team_runner.sessions.schema import ensure_schema
from teambus_team_runner.sessions.settings import StoreSettings
from teambus_team_runner.sessions.sqlite import Identity, SqliteFile
from teambus_team_runner.sessions.tables import Tables


class Connections:
    """A few connections, each lent to one at a time. One that saw an error is not lent again.

    They are held here because going through the engine's pool costs a fourth of a read.
    """

    def __init__(self, engine: AsyncEngine, count: int) -> None:
        self._engine = engine
        self._idle: list[AsyncConnection] = []
        self._turns = asyncio.Semaphore(count)
        self._closed = False

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[AsyncConnection]:
        async with self._turns:
            connection = self._idle.pop() if self._idle else await self._engine.connect()
            try:
                yield connection
            except BaseException:
                await connection.invalidate()
                await connection.close()
                raise
            if self._closed:
                await connection.close()
            else:
                self._idle.append(connection)

    async def close(self) -> None:
        """Close what is idle now, and what is lent when it comes back."""
        self._closed = True
        while self._idle:
            await self._idle.pop().close()
        await self._engine.dispose()


class _Open(NamedTuple):
    identity: Identity
    writer: Connections
    readers: Connections


class Database:
    """Lends connections. Whatever the database refuses leaves here as `StoreUnavailable`."""

    def __init__(self, file: SqliteFile, tables: Tables, settings: StoreSettings) -> None:
        self._file = file
        self._tables = tables
        self._settings = settings
        self._now: _Open | None = None
        self._opening = asyncio.Lock()

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """The one connection that writes; what is not committed is undone by an error."""
        async with self._bounded(), (await self._open()).writer.lend() as connection:
            yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        async with self._bounded(), (await self._open()).readers.lend() as connection:
            yield connection

    async def open(self) -> None:
        async with self._bounded():
            await self._open()

    async def close(self) -> None:
        now, self._now = self._now, None
        if now is not None:
            await now.writer.close()
            await now.readers.close()

    async def _open(self) -> _Open:
        """What is open, opened again if the file at the path is another one or gone."""
        if (now := self._now) is not None and self._file.identity() == now.identity:
            return now
        async with self._opening:
            if (now := self._now) is None or self._file.identity() != now.identity:
                await self.close()
                now = self._now = await self._connect()
            return now

    async def _connect(self) -> _Open:
        writer = Connections(self._file.writer(), 1)
        try:
            async with writer.lend() as connection:
                await self._file.prepare(connection)
                await ensure_schema(connection, self._tables, str(self._file.path))
        except BaseException:
            await writer.close()
            raise
        count = self._settings.store_readers_max
        readers = Connections(self._file.readers(count), count)
        return _Open(self._file.identity(), writer, readers)

    @asynccontextmanager
    async def _bounded(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._settings.store_timeout_s):
                yield
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            # Its cause would show the statement in tracebacks.
            raise sqlite.unavailable(error) from None
