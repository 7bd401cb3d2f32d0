"""Looking a run up by its id: ended, under way, or in its database."""

from dataclasses import dataclass

import msgspec
import structlog

from teambus.bus import reads
from teambus.bus.api import NobodyAnswers, ask
from teambus.bus.bodies import Bodies
from teambus.bus.connection import Bus
from teambus.bus.errors import BusError, BusUnavailable
from teambus.bus.events import Events
from teambus.bus.sessions import Sessions
from teambus.bus.topology import JOURNAL
from teambus.bus.waiter import Waiter
from teambus.contracts import subjects
from teambus.contracts.ids import RunId, SessionId, Tenant, token
from teambus.contracts.journal import AttemptStarted, JournalEntry
from teambus.contracts.message import decode
from teambus.contracts.output import RunStatus, TeamRunOutput
from teambus_gateway.catalogue import Description
from teambus_gateway.problems import Problem
from teambus_gateway.runs import SOURCE
from teambus_gateway.shapes import run_body

log = structlog.get_logger(__name__)

ANY_SEQ = 2**53


@dataclass(frozen=True, slots=True)
class Wanted:
    """The run that is asked for. It is found only under its own team or agent, and session."""

    tenant: Tenant
    component: Description
    run_id: RunId
    session_id: SessionId


class _Question(msgspec.Struct):
    run_id: RunId
    session_id: SessionId


class _Stored(msgspec.Struct):
    team_id: str


class Lookup:
    """Finds runs on the bus, then in the database."""

    def __init__(self, bus: Bus, *, store_timeout_s: float, retry_after_s: int) -> None:
        bodies = Bodies(bus)
        self._bus = bus
        self._bodies = bodies
        self._waiter = Waiter(bus, bodies)
        self._events = Events(bus, bodies, source=SOURCE)
        self._sessions = Sessions(bus)
        self._store_timeout_s = store_timeout_s
        self._retry_after_s = retry_after_s

    async def find(self, wanted: Wanted) -> bytes:
        """The run's JSON. Raises `Problem`: 404, or 503 when what should know does not answer."""
        try:
            found = await self._ended(wanted) or await self._under_way(wanted)
            found = found or await self._stored(wanted)
        except BusUnavailable as error:
            log.warning("could not look up a run", error=str(error))
            detail = "the run cannot be looked up now; try again later"
            raise Problem(
                503, detail, "bus_unavailable", retry_after_s=self._retry_after_s
            ) from error
        if found is None:
            raise _not_found()
        return run_body(wanted.component, found)

    async def _ended(self, wanted: Wanted) -> bytes | None:
        end = await self._waiter.end_of(wanted.tenant, wanted.component.id, wanted.run_id)
        if end is None:
            return None
        if end.session_id != wanted.session_id:
            raise _not_found()
        return end.output

    async def _under_way(self, wanted: Wanted) -> bytes | None:
        begun_at = await self._begun_at(wanted)
        accepted = await self._events.accepted(wanted.tenant, wanted.component.id, wanted.run_id)
        if accepted is not None:
            if accepted.session_id != wanted.session_id:
                raise _not_found()
            status = RunStatus.PENDING if begun_at is None else RunStatus.RUNNING
            return _unfinished(wanted, status, accepted.accepted_at)
        if begun_at is not None and await self._holds_or_awaits_session(wanted):
            return _unfinished(wanted, RunStatus.RUNNING, begun_at)
        return None

    async def _begun_at(self, wanted: Wanted) -> float | None:
        """When a runner first took the run, by its journal."""
        subject = subjects.journal(wanted.tenant, wanted.run_id)
        entries = reads.history(self._bus, JOURNAL, subject, until=ANY_SEQ, messages_max=1)
        async for first in entries:
            data = await self._bodies.load(first.data, first.headers)
            records = decode(JournalEntry, data).records
            taken = [r for r in records if isinstance(r, AttemptStarted)]
            return taken[0].at if taken and taken[0].team_id == wanted.component.id else None
        return None

    async def _holds_or_awaits_session(self, wanted: Wanted) -> bool:
        """The journal does not name the session, but the session names its runs."""
        record = (await self._sessions.read(wanted.tenant, wanted.session_id)).record
        claims = [*record.waiting, *([record.holder] if record.holder else [])]
        return any(claim.run_id == wanted.run_id for claim in claims)

    async def _stored(self, wanted: Wanted) -> bytes | None:
        """The run as its database has it, from a runner that serves it."""
        if wanted.component.db_id is None:
            return None
        subject = subjects.api(wanted.tenant, f"db.{token(wanted.component.db_id)}.run")
        question = msgspec.json.encode(_Question(wanted.run_id, wanted.session_id))
        try:
            reply = await ask(self._bus, subject, question, wait_s=self._store_timeout_s)
        except NobodyAnswers:
            log.debug("nobody answers for the database", db_id=wanted.component.db_id)
            return None
        if reply.error_code is not None:
            raise BusUnavailable(f"the database's runner says {reply.error_code}: {reply.headers}")
        try:
            output = await self._bodies.load(reply.data, reply.headers)
        except BusError as error:
            raise BusUnavailable(str(error)) from error
        is_ours = (
            output and msgspec.json.decode(output, type=_Stored).team_id == wanted.component.id
        )
        return output if is_ours else None


def _unfinished(wanted: Wanted, status: RunStatus, created_at: float) -> bytes:
    return msgspec.json.encode(
        TeamRunOutput(
            run_id=wanted.run_id,
            team_id=wanted.component.id,
            team_name=wanted.component.name,
            session_id=wanted.session_id,
            status=status,
            created_at=int(created_at),
            content_type="str",
            member_responses=[],
        )
    )


def _not_found() -> Problem:
    return Problem(404, "Run not found")
