"""Answering for the databases of this runner's app: runs and sessions, by request-reply."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeAlias

import msgspec

from teambus.bus.api import Question, Reply, answering
from teambus.bus.bodies import Bodies, BodyMissing, BodyTooLarge
from teambus.bus.connection import Bus
from teambus.contracts import subjects
from teambus.contracts.ids import TeamId, Tenant, token
from teambus.contracts.sessions_api import VERBS, SessionsQuestion
from teambus.contracts.stored_api import RunQuery, SessionQuery
from teambus_team_runner.databases import Databases
from teambus_team_runner.sessions import (
    SessionStore,
    SessionTaken,
    SessionTooLarge,
    StoreUnavailable,
    StoreUnfit,
)

QUEUE = "team-runner"
SESSION_RUNS_MAX = 100

_Find: TypeAlias = Callable[[SessionStore, Tenant, bytes], Awaitable[Any]]


class Answers:
    """The endpoints `api.<tenant>.db.<db>.<verb>`; what is unknown is an empty body."""

    def __init__(self, bus: Bus, bodies: Bodies, databases: Databases, *, at_once_max: int) -> None:
        self._bus = bus
        self._bodies = bodies
        self._databases = databases
        self._at_once_max = at_once_max

    @asynccontextmanager
    async def given(self, team_of_db: Mapping[str, TeamId]) -> AsyncIterator[None]:
        """Answer while the block runs; `team_of_db` names a team or agent of each database."""
        async with AsyncExitStack() as stack:
            for db_id, team_id in team_of_db.items():
                for verb, find in _finds().items():
                    await stack.enter_async_context(
                        answering(
                            self._bus,
                            subjects.api("*", f"db.{token(db_id)}.{verb}"),
                            self._answer(team_id, find),
                            queue=QUEUE,
                            at_once_max=self._at_once_max,
                        )
                    )
            yield

    def _answer(self, team_id: TeamId, find: _Find) -> Callable[[Question], Awaitable[Reply]]:
        async def answer(question: Question) -> Reply:
            try:
                asked = await self._bodies.load(question.data, question.headers)
                store = await self._databases.of(team_id)
                assert store is not None
                found = await find(store, question.tenant, asked)
                body = b"" if found is None else msgspec.json.encode(found)
                return Reply(*await self._bodies.fit(body, owner=QUEUE))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                return Reply.error(400, f"malformed query: {error}")
            except (StoreUnavailable, StoreUnfit) as error:
                return Reply.error(503, str(error))
            except SessionTaken as error:
                return Reply.error(409, str(error))
            except (SessionTooLarge, BodyTooLarge) as error:
                return Reply.error(413, str(error))
            except BodyMissing as error:
                return Reply.error(400, str(error))

        return answer


def _finds() -> dict[str, _Find]:
    """What answers each verb."""
    asked = {verb.name: _asked(kind) for kind, verb in VERBS.items()}
    return {"run": _run, "session": _session, **asked}


def _asked(kind: type[SessionsQuestion[Any]]) -> _Find:
    async def find(store: SessionStore, tenant: Tenant, data: bytes) -> Any:
        return await store.answer(tenant, msgspec.json.decode(data, type=kind))

    return find


async def _run(store: SessionStore, tenant: Tenant, data: bytes) -> Any:
    query = msgspec.json.decode(data, type=RunQuery)
    return await store.run(tenant, query.session_id, query.run_id)


async def _session(store: SessionStore, tenant: Tenant, data: bytes) -> Any:
    query = msgspec.json.decode(data, type=SessionQuery)
    return await store.session(tenant, query.session_id, runs_max=SESSION_RUNS_MAX)
