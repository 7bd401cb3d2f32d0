"""The session store: what runs find in their team's database, and what they leave there."""

import asyncio
import importlib
from typing import Any, cast

import sqlalchemy as sa

from teambus.app.contexts import Session
from teambus.app.databases import AsyncSqliteDb, SessionDb
from teambus.contracts.ids import RunId, SessionId, TeamId, Tenant
from teambus.contracts.output import TeamRunOutput
from teambus.contracts.sessions_api import SessionsQuestion
from teambus_team_runner.sessions.answering import Librarian
from teambus_team_runner.sessions.database import Database, Place
from teambus_team_runner.sessions.errors import SessionNotFound, StoreUnfit
from teambus_team_runner.sessions.rows import (
    LoadedSession,
    RunWrite,
    is_anothers,
    loaded_session,
    output_of,
    rows_of,
    session_of,
)
from teambus_team_runner.sessions.schema import version_of_tables
from teambus_team_runner.sessions.settings import Access, StoreSettings
from teambus_team_runner.sessions.sqlite import SqliteFile, unavailable
from teambus_team_runner.sessions.tables import Tables
from teambus_team_runner.sessions.writing import Writer

NO_ACCESS = Access()


class SessionStore:
    """The sessions of one database. Every call may raise `StoreUnavailable`, and is bounded."""

    def __init__(self, database: Database, tables: Tables, settings: StoreSettings) -> None:
        self._database = database
        self._tables = tables
        self._version = version_of_tables(tables)
        self._writer = Writer(database, tables, settings)
        self._librarian = Librarian(database, tables, bytes_max=settings.session_bytes_max)

    async def load(
        self,
        tenant: Tenant,
        session_id: SessionId,
        *,
        team_id: TeamId,
        user_id: str | None,
        history_runs: int,
    ) -> LoadedSession:
        """What a run starts from. The first user known of a session owns it.

        Raises `SessionNotFound` when `user_id` is somebody else.
        """
        values: dict[str, object] = {
            "tenant": tenant,
            "session_id": session_id,
            "team_id": team_id,
            "runs_max": history_runs,
        }
        rows = await self._rows(self._tables.session_with_history, values)
        if rows and is_anothers(rows[0].user_id, user_id):
            raise SessionNotFound(session_id)
        return loaded_session(session_id, rows)

    async def save(self, write: RunWrite) -> None:
        """Keep a finished run and its session's state in one transaction; again changes nothing.

        Raises `StoreFenced` when a newer opening of the session has written,
        `RunInAnotherSession`, and `SessionNotFound` when the run never opened its session and that
        is another user's.
        """
        await self._writer.save(rows_of(write))

    async def run(
        self, tenant: Tenant, session_id: SessionId, run_id: RunId
    ) -> TeamRunOutput | None:
        values: dict[str, object] = {"tenant": tenant, "session_id": session_id, "run_id": run_id}
        rows = await self._rows(self._tables.run, values)
        return output_of(rows[0].output) if rows else None

    async def session(
        self, tenant: Tenant, session_id: SessionId, *, runs_max: int
    ) -> Session | None:
        """The session with its newest runs, whatever became of them, oldest first."""
        values: dict[str, object] = {"tenant": tenant, "session_id": session_id}
        rows = await self._rows(self._tables.session, values)
        if not rows:
            return None
        newest = await self._rows(self._tables.newest_runs, values | {"runs_max": runs_max})
        return session_of(rows[0], newest)

    async def answer(self, tenant: Tenant, asked: SessionsQuestion[Any]) -> Any:
        """The answer to a question about stored sessions, None when the session is not there.

        Raises `SessionTooLarge` and `SessionTaken`.
        """
        return await self._librarian.answer(tenant, asked)

    async def look(self) -> int:
        """The version of its tables; read anew, so that it is known whether they can be."""
        rows = await self._rows(self._version, {"session_table": self._tables.name})
        return int(rows[0].version) if rows else 0

    async def open(self) -> None:
        await self._database.open()

    async def close(self) -> None:
        """Finish the saves that wait, then let go of the database. May be called twice."""
        await self._writer.close()
        await self._database.close()

    async def _rows(
        self, statement: sa.Select[Any], values: dict[str, object]
    ) -> list[sa.Row[Any]]:
        return await self._database.read(lambda connection: connection.rows(statement, values))


async def open_store(
    db: SessionDb, settings: StoreSettings, access: Access = NO_ACCESS
) -> SessionStore:
    """Open a store, making folder, file and tables that are missing.

    Raises `StoreUnfit` when the database is not one to keep sessions in.
    """
    return await _opened(_place(db, settings, access), db.session_table, settings)


async def _opened(place: Place, session_table: str, settings: StoreSettings) -> SessionStore:
    tables = Tables(session_table, schema=place.schema, insert=place.insert)
    store = SessionStore(Database(place, tables, settings), tables, settings)
    await store.open()
    return store


def _place(db: SessionDb, settings: StoreSettings, access: Access) -> Place:
    if not isinstance(db, AsyncSqliteDb):
        return cast("Place", _postgres().PostgresServer.of(db, settings, access))
    file = SqliteFile(db.path, settings.store_busy_timeout_s)
    try:
        file.make_folder()
    except OSError as error:
        raise unavailable(error) from error
    return file


def _postgres() -> Any:
    """Imported when it is needed: who has no PostgreSQL has no driver of it."""
    try:
        return importlib.import_module("teambus_team_runner.sessions.postgres")
    except ImportError as error:
        raise StoreUnfit(
            f"AsyncPostgresDb needs the PostgreSQL driver ({error}): "
            "pip install 'teambus-team-runner[postgres]'"
        ) from error


class Stores:
    """The stores of one process: teams that name the same place and table share one."""

    def __init__(self, settings: StoreSettings, access: Access = NO_ACCESS) -> None:
        self._settings = settings
        self._access = access
        self._stores: dict[tuple[str, str], SessionStore] = {}
        self._opening = asyncio.Lock()

    async def open(self, db: SessionDb) -> SessionStore:
        place = _place(db, self._settings, self._access)
        key = (place.key, db.session_table)
        async with self._opening:
            if key not in self._stores:
                self._stores[key] = await _opened(place, db.session_table, self._settings)
        return self._stores[key]

    async def close(self) -> None:
        stores, self._stores = list(self._stores.values()), {}
        await asyncio.gather(*(store.close() for store in stores))
