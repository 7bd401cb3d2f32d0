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
from teambus.bus.requests import Requests
from teambus.bus.sessions import Sessions
from teambus.bus.topology import EVENTS, JOURNAL
from teambus.bus.waiter import RunEnd, RunKey, Waiter
from teambus.contracts import subjects
from teambus.contracts.ids import RunId, SessionId, Tenant, token
from teambus.contracts.journal import AttemptStarted, JournalEntry
from teambus.contracts.message import MalformedMessage, decode
from teambus.contracts.output import Metrics, RunStatus, TeamRunOutput
from teambus.contracts.run import RunRequest
from teambus.contracts.stored_api import RunQuery
from teambus.domain.media import run_input
from teambus.domain.merging import merged
from teambus_gateway.catalogue import Description
from teambus_gateway.outcomes import status_of
from teambus_gateway.problems import Problem
from teambus_gateway.runs import SOURCE
from teambus_gateway.shapes import run_body

log = structlog.get_logger(__name__)

ANY_SEQ = 2**53


@dataclass(frozen=True, slots=True)
class Wanted:
    """The run that is asked for. It is found only under its own team or agent, and session if
    one is named; in the database only with the session. With `user_id` only if that user asked.
    """

    tenant: Tenant
    component: Description
    run_id: RunId
    session_id: SessionId | None
    user_id: str | None = None

    @property
    def key(self) -> RunKey:
        return RunKey(self.tenant, self.component.id, self.run_id)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a run stands: under way since some time, ended, or long ended.

    Of one that ended a while ago the bus has forgotten all; then only `output` is there. Of one
    that somebody works on there is what was `asked`.
    """

    status: RunStatus
    session_id: SessionId | None = None
    since: float = 0
    end: RunEnd | None = None
    output: bytes | None = None
    asked: RunRequest | None = None
    user_id: str | None = None

    def asked_by(self) -> str | None:
        """Who asked for it, by the best that is known."""
        if self.output is not None:
            return msgspec.json.decode(self.output, type=_Asked).user_id
        return self.user_id if self.asked is None else self.asked.user_id


class _Asked(msgspec.Struct):
    user_id: str | None = None


class _Stored(msgspec.Struct):
    team_id: str
    status: RunStatus


class Lookup:
    """Finds runs on the bus, then in the database."""

    def __init__(self, bus: Bus, *, store_timeout_s: float, retry_after_s: int) -> None:
        bodies = Bodies(bus)
        self._bus = bus
        self._bodies = bodies
        self._waiter = Waiter(bus, bodies)
        self._events = Events(bus, bodies, source=SOURCE)
        self._sessions = Sessions(bus)
        self._requests = Requests(bus, bodies, SOURCE)
        self._store_timeout_s = store_timeout_s
        self._retry_after_s = retry_after_s

    async def find(self, wanted: Wanted) -> bytes:
        """The run's JSON. Raises `Problem`: 404, or 503 when what should know does not answer."""
        standing = await self.standing(wanted)
        return run_body(wanted.component, standing.output or _unfinished(wanted, standing))

    async def standing(self, wanted: Wanted) -> Standing:
        """Where a run stands. Raises `Problem` as `find` does."""
        try:
            found = await self._on_bus(wanted) or await self._stored(wanted)
            if found is None:
                await reads.confirm(self._bus, EVENTS)
                found = await self._on_bus(wanted)
        except BusUnavailable as error:
            log.warning("could not look up a run", error=str(error))
            detail = "the run cannot be looked up now; try again later"
            raise Problem(
                503, detail, "bus_unavailable", retry_after_s=self._retry_after_s
            ) from error
        if found is None or wanted.user_id not in (None, found.asked_by()):
            raise _not_found()
        return found

    async def _on_bus(self, wanted: Wanted) -> Standing | None:
        return await self._ended(wanted) or await self._under_way(wanted)

    async def _ended(self, wanted: Wanted) -> Standing | None:
        end = await self._waiter.end_of(wanted.key)
        if end is None:
            return None
        _check_session(wanted, end.session_id)
        return Standing(status_of(end), end.session_id, end=end, output=end.output)

    async def _under_way(self, wanted: Wanted) -> Standing | None:
        begun = await self._begun(wanted)
        asked = None if begun is None else await self._asked(wanted, begun)
        accepted = await self._events.accepted(wanted.tenant, wanted.component.id, wanted.run_id)
        if accepted is not None:
            _check_session(wanted, accepted.session_id)
            status = RunStatus.PENDING if begun is None else RunStatus.RUNNING
            return Standing(
                status,
                accepted.session_id,
                accepted.accepted_at,
                asked=asked,
                user_id=accepted.user_id,
            )
        if begun is not None and await self._holds_or_awaits_session(wanted):
            return Standing(RunStatus.RUNNING, wanted.session_id, begun.at, asked=asked)
        return None

    async def _asked(self, wanted: Wanted, begun: AttemptStarted) -> RunRequest | None:
        """What the runner is at work on; nothing when that cannot be read, for it is not needed."""
        try:
            found = await self._requests.stored(begun.request_seq)
        except (BusError, MalformedMessage) as error:
            log.warning("could not read the request of a run", error=str(error))
            return None
        # A queue that was set up anew counts from one again.
        return found if found is not None and found.run_id == wanted.run_id else None

    async def _begun(self, wanted: Wanted) -> AttemptStarted | None:
        """How a runner first took the run, by its journal."""
        subject = subjects.journal(wanted.tenant, wanted.run_id)
        entries = reads.history(self._bus, JOURNAL, subject, until=ANY_SEQ, messages_max=1)
        async for first in entries:
            data = await self._bodies.load(first.data, first.headers)
            records = decode(JournalEntry, data).records
            taken = [r for r in records if isinstance(r, AttemptStarted)]
            return taken[0] if taken and taken[0].team_id == wanted.component.id else None
        return None

    async def _holds_or_awaits_session(self, wanted: Wanted) -> bool:
        """The journal does not name the session, but the session names its runs."""
        if wanted.session_id is None:
            return True
        record = (await self._sessions.read(wanted.tenant, wanted.session_id)).record
        claims = [*record.waiting, *([record.holder] if record.holder else [])]
        return any(claim.run_id == wanted.run_id for claim in claims)

    async def _stored(self, wanted: Wanted) -> Standing | None:
        """The run as its database has it, from a runner that serves it."""
        if wanted.component.db_id is None or wanted.session_id is None:
            return None
        subject = subjects.api(wanted.tenant, f"db.{token(wanted.component.db_id)}.run")
        question = msgspec.json.encode(RunQuery(wanted.run_id, wanted.session_id))
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
        if not output:
            return None
        stored = msgspec.json.decode(output, type=_Stored)
        is_ours = stored.team_id == wanted.component.id
        return Standing(stored.status, wanted.session_id, output=output) if is_ours else None


def _check_session(wanted: Wanted, session_id: SessionId) -> None:
    if wanted.session_id not in (None, session_id):
        raise _not_found()


def _unfinished(wanted: Wanted, standing: Standing) -> bytes:
    assert standing.session_id is not None, wanted
    component, asked = wanted.component, standing.asked
    output = TeamRunOutput(
        run_id=wanted.run_id,
        team_id=component.id,
        team_name=component.name,
        session_id=standing.session_id,
        status=standing.status,
        created_at=int(standing.since),
        content_type="str",
        member_responses=[],
        metadata=component.metadata,
    )
    if component.model is not None:
        output.model, output.model_provider = component.model.id, component.model.provider
    if asked is not None:
        output.user_id, output.metrics = asked.user_id, Metrics()
        output.metadata = merged(component.metadata, asked.metadata) or None
        if asked.continues is None:
            output.input = run_input(asked.input, asked.media)
        else:
            output.forked_from_run_id = asked.continues.run_id
    return msgspec.json.encode(output)


def _not_found() -> Problem:
    return Problem(404, "Run not found")
