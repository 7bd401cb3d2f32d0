"""Answering for the databases of this runner's app: runs and sessions, by request-reply."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeAlias

import msgspec

from teambus.bus.api import Question, Reply, answering
from teambus.bus.bodies import Bodies
from teambus.bus.connection import Bus
from teambus.contracts import subjects
from teambus.contracts.ids import RunId, SessionId, TeamId, token
from teambus_team_runner.databases import Databases
from teambus_team_runner.sessions import SessionStore, StoreUnavailable, StoreUnfit

QUEUE = "team-runner"
SESSION_RUNS_MAX = 100

_Find: TypeAlias = Callable[[SessionStore, Question], Awaitable[Any]]


class RunQuery(msgspec.Struct, frozen=True):
    """Which run of which session."""

    run_id: RunId
    session_id: SessionId


class SessionQuery(msgspec.Struct, frozen=True):
    """Which session."""

    session_id: SessionId


class Answers:
    """The endpoints `api.<tenant>.db.<db>.run` and `.session`; what is unknown is an empty body."""

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
                for verb, find in (("run", _run), ("session", _session)):
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
                store = await self._databases.of(team_id)
                assert store is not None
                found = await find(store, question)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                return Reply.error(400, f"malformed query: {error}")
            except (StoreUnavailable, StoreUnfit) as error:
                return Reply.error(503, str(error))
            body = b"" if found is None else msgspec.json.encode(found)
            return Reply(*await self._bodies.fit(body, owner=QUEUE))

        return answer


async def _run(store: SessionStore, question: Question) -> Any:
    query = msgspec.json.decode(question.data, type=RunQuery)
    return await store.run(question.tenant, query.session_id, query.run_id)


async def _session(store: SessionStore, question: Question) -> Any:
    query = msgspec.json.decode(question.data, type=SessionQuery)
    return await store.session(question.tenant, query.session_id, runs_max=SESSION_RUNS_MAX)
