"""The connections of one store: one that writes, a few that read, made again when they are lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from teambus_team_runner.sessions import sqlite
from teambus_team_runner.sessions.schema import ensure_schema
from teambus_team_runner.sessions.settings import StoreSettings
from teambus_team_runner.sessions.sqlite import Identity, SqliteFile
from teambus_team_runner.sessions.tables import Tables


class Database:
    """Lends connections. Whatever the database refuses leaves here as `StoreUnavailable`."""

    def __init__(self, file: SqliteFile, tables: Tables, settings: StoreSettings) -> None:
        self._file = file
        self._tables = tables
        self._settings = settings
        self._engines: tuple[AsyncEngine, AsyncEngine] | None = None
        self._identity: Identity = None
        self._opening = asyncio.Lock()
        self._held: AsyncConnection | None = None

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """The one connection that writes, for one at a time; after any error, a new one."""
        async with self._bounded():
            writer, _ = await self._open()
            if self._held is None:
                self._held = await writer.connect()
            try:
                yield self._held
            except BaseException:
                held, self._held = self._held, None
                await held.invalidate()
                await held.close()
                raise

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        async with self._bounded():
            _, readers = await self._open()
            async with readers.connect() as connection:
                yield connection

    async def open(self) -> None:
        async with self._bounded():
            await self._open()

    async def close(self) -> None:
        engines, self._engines = self._engines, None
        if self._held is not None:
            held, self._held = self._held, None
            await held.close()
        for engine in engines or ():
            await engine.dispose()

    async def _open(self) -> tuple[AsyncEngine, AsyncEngine]:
        if self._engines is not None and self._file.identity() == self._identity:
            return self._engines
        async with self._opening:
            if self._engines is None or self._file.identity() != self._identity:
                await self.close()
                self._engines = await self._connect()
                self._identity = self._file.identity()
            return self._engines

    async def _connect(self) -> tuple[AsyncEngine, AsyncEngine]:
        writer = self._file.writer()
        try:
            async with writer.connect() as connection:
                await ensure_schema(connection, self._tables, str(self._file.path))
        except BaseException:
            await writer.dispose()
            raise
        return writer, self._file.readers(self._settings.store_readers_max)

    @asynccontextmanager
    async def _bounded(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._settings.store_timeout_s):
                yield
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            failure = sqlite.unavailable(error)
        else:
            return
        # Outside of the handler, so that no traceback shows the statement.
        raise failure
