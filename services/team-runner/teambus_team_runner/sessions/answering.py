"""Which unit of work answers which question, and on which connection it is done."""

from collections.abc import Callable
from functools import partial
from typing import Any

from teambus.contracts.ids import Tenant
from teambus.contracts.sessions_api import (
    ChangeSession,
    CreateSession,
    DeleteSessions,
    ForkSession,
    GetPreviews,
    GetRuns,
    GetSession,
    GetUsage,
    ListSessions,
    SessionCreated,
    SessionDetail,
    SessionForked,
    SessionsQuestion,
)
from teambus_team_runner.sessions.database import Database
from teambus_team_runner.sessions.forking import read_copy, write_copy
from teambus_team_runner.sessions.questions import Changer, Reader
from teambus_team_runner.sessions.statements import Statements
from teambus_team_runner.sessions.tables import Tables
from teambus_team_runner.sessions.usage import UsageReader, UsageStatements


class Librarian:
    """Answers questions about the sessions of one database.

    None is the answer when the session is not there, or is another user's.
    """

    def __init__(self, database: Database, tables: Tables, *, bytes_max: int) -> None:
        self._database = database
        self._statements = Statements(tables)
        self._reader = Reader(self._statements, bytes_max)
        self._changer = Changer(self._statements)
        self._usage = UsageReader(UsageStatements(tables))

    async def answer(self, tenant: Tenant, asked: SessionsQuestion[Any]) -> Any:
        """What `VERBS` says the answer is. Raises `SessionTooLarge` and `SessionTaken`."""
        match asked:
            case CreateSession():
                return await self._create(tenant, asked)
            case ChangeSession():
                return await self._change(tenant, asked)
            case ForkSession():
                return await self._fork(tenant, asked)
            case DeleteSessions():
                delete = partial(self._changer.delete, tenant=tenant, asked=asked)
                return await self._database.write(delete)
            case _:
                return await self._read(tenant, asked)

    async def _read(self, tenant: Tenant, asked: SessionsQuestion[Any]) -> Any:
        readings: dict[type[SessionsQuestion[Any]], Callable[..., Any]] = {
            ListSessions: self._reader.page,
            GetSession: self._reader.detail,
            GetRuns: self._reader.runs,
            GetPreviews: self._reader.previews,
            GetUsage: self._usage.usage,
        }
        read = readings[type(asked)]
        return await self._database.read(partial(read, tenant=tenant, asked=asked))

    async def _create(self, tenant: Tenant, asked: CreateSession) -> SessionCreated | None:
        created = await self._database.write(
            partial(self._changer.create, tenant=tenant, asked=asked)
        )
        detail = await self._read(tenant, GetSession(session_id=asked.session_id))
        return detail and SessionCreated(created=created, detail=detail)

    async def _change(self, tenant: Tenant, asked: ChangeSession) -> SessionDetail | None:
        found = await self._database.write(
            partial(self._changer.change, tenant=tenant, asked=asked)
        )
        again = GetSession(session_id=asked.session_id, user_id=asked.user_id)
        return await self._read(tenant, again) if found else None

    async def _fork(self, tenant: Tenant, asked: ForkSession) -> SessionForked | None:
        read = partial(read_copy, reader=self._reader, tenant=tenant, asked=asked)
        copy = await self._database.read(read)
        if copy is None:
            return None
        write = partial(write_copy, statements=self._statements, copy=copy)
        return SessionForked(
            session_id=asked.new_session_id,
            forked_from_session_id=asked.session_id,
            runs=await self._database.write(write),
        )
