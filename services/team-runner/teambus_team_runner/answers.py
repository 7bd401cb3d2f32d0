"""Answering for the databases of this runner's teams: runs and sessions, by request-reply."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeAlias

import msgspec

from teambus.bus.answering import CannotAnswer, answering
from teambus.bus.connection import Bus
from teambus.contracts import subjects
from teambus.contracts.ids import RunId, SessionId, TeamId, token
from teambus_team_runner.databases import Databases
from teambus_team_runner.sessions import SessionStore, StoreUnavailable, StoreUnfit

_Bound: TypeAlias = Callable[[str, bytes], Awaitable[bytes]]
_Answer: TypeAlias = Callable[[SessionStore, str, bytes], Awaitable[bytes]]

GROUP = "team-runner"
SESSION_RUNS_MAX = 100


class RunQuery(msgspec.Struct, frozen=True):
    """Which run of which session."""

    run_id: RunId
    session_id: SessionId


class SessionQuery(msgspec.Struct, frozen=True):
    """Which session."""

    session_id: SessionId


class Answers:
    """The endpoints `api.<tenant>.db.<db>.run` and `.session`; what is unknown is an empty body."""

    def __init__(self, databases: Databases) -> None:
        self._databases = databases

    @asynccontextmanager
    async def given(self, bus: Bus, team_of_db: dict[str, TeamId]) -> AsyncIterator[None]:
        """Answer while the block runs; `team_of_db` names a team that uses each database."""
        async with AsyncExitStack() as stack:
            for db_id, team_id in team_of_db.items():
                db = token(db_id)
                for verb, answer in (("run", self._run), ("session", self._session)):
                    subject = subjects.api("*", f"db.{db}.{verb}")
                    await stack.enter_async_context(
                        answering(bus, subject, GROUP, self._for(team_id, answer))
                    )
            yield

    def _for(self, team_id: TeamId, answer: _Answer) -> _Bound:
        async def bound(subject: str, body: bytes) -> bytes:
            try:
                store = await self._databases.of(team_id)
                assert store is not None
                return await answer(store, subject.split(".")[3], body)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise CannotAnswer(400, f"malformed query: {error}") from error
            except (StoreUnavailable, StoreUnfit) as error:
                raise CannotAnswer(503, str(error)) from error

        return bound

    async def _run(self, store: SessionStore, tenant: str, body: bytes) -> bytes:
        query = msgspec.json.decode(body, type=RunQuery)
        found = await store.run(tenant, query.session_id, query.run_id)
        return b"" if found is None else msgspec.json.encode(found)

    async def _session(self, store: SessionStore, tenant: str, body: bytes) -> bytes:
        query = msgspec.json.decode(body, type=SessionQuery)
        found = await store.session(tenant, query.session_id, runs_max=SESSION_RUNS_MAX)
        return b"" if found is None else msgspec.json.encode(found)
