"""Reading a run request off the queue, and what becomes of one that cannot be read."""

import time
from collections.abc import Collection
from dataclasses import dataclass

import msgspec
import structlog

from teambus.bus.bodies import Bodies, BodyMissing
from teambus.bus.events import Events
from teambus.bus.pull import Delivery
from teambus.contracts import headers as names
from teambus.contracts.hook import DeadLetter
from teambus.contracts.ids import (
    TEXT_ID_LENGTH_MAX,
    RunId,
    SessionId,
    TeamId,
    Tenant,
    completed_event_id,
    token,
)
from teambus.contracts.message import MalformedMessage, decode
from teambus.contracts.output import RunStatus, TeamRunOutput
from teambus.contracts.run import RunCompleted, RunRequest, request_digest
from teambus.contracts.session import SessionClaim
from teambus.contracts.subjects import RequestSubject
from teambus.domain.media import mistake_in

log = structlog.get_logger(__name__)

BODY_KEPT_MAX = 32 * 1024


@dataclass(frozen=True, slots=True)
class Asked:
    """A run request as it came: what is asked by whom, and its place in the queue.

    `new` are the ids that the asker drew for it, as long as nobody was given the request before.
    """

    tenant: Tenant
    team_id: TeamId
    request: RunRequest
    request_seq: int
    digest: str
    new: frozenset[str] = frozenset()

    @property
    def run_id(self) -> RunId:
        return self.request.run_id

    @property
    def session_id(self) -> SessionId:
        """Asked for, or the run's own."""
        return self.request.session_id or self.request.run_id

    @property
    def key(self) -> tuple[Tenant, RunId]:
        return self.tenant, self.run_id

    @property
    def run(self) -> tuple[Tenant, TeamId, RunId]:
        return self.tenant, self.team_id, self.run_id

    @property
    def claim(self) -> SessionClaim:
        return SessionClaim(run_id=self.run_id, team_id=self.team_id, request_seq=self.request_seq)


class _Named(msgspec.Struct, frozen=True):
    run_id: str


async def read(delivery: Delivery, bodies: Bodies) -> Asked:
    """The request of a delivery; raises `MalformedMessage` when there is none in it."""
    subject = RequestSubject.parse(delivery.subject)
    try:
        request = decode(RunRequest, await bodies.load(delivery.data, delivery.headers))
    except BodyMissing as error:
        raise MalformedMessage(str(error)) from error
    for name, value in (("run_id", request.run_id), ("session_id", request.session_id or "-")):
        if not 1 <= len(value) <= TEXT_ID_LENGTH_MAX:
            raise MalformedMessage(f"{name} must have 1 to {TEXT_ID_LENGTH_MAX} characters")
    _check_input(request)
    if mistake := mistake_in(request.media, request.run_id):
        raise MalformedMessage(mistake)
    new = delivery.headers.get(names.NEW, "").split() if delivery.attempt == 1 else ()
    return Asked(
        subject.tenant,
        subject.team_id,
        request,
        delivery.seq,
        request_digest(request),
        frozenset(new),
    )


def _check_input(request: RunRequest) -> None:
    """Raises `MalformedMessage`."""
    if request.continues is None:
        if not request.input:
            raise MalformedMessage("input must not be empty")
        return
    if request.session_id is None:
        raise MalformedMessage("a request that continues a run needs its session_id")
    if not 1 <= len(request.continues.run_id) <= TEXT_ID_LENGTH_MAX:
        raise MalformedMessage(f"continues.run_id must have 1 to {TEXT_ID_LENGTH_MAX} characters")


async def refuse_malformed(
    delivery: Delivery, error: MalformedMessage, events: Events, agents: Collection[TeamId]
) -> None:
    """End it for good: as an ERROR run where a run id can be read, else as a dead letter.

    Written before the acknowledgement and the same each time, so a death in between repeats it.
    A run that has the id already keeps its own end.
    """
    subject = RequestSubject.parse(delivery.subject)
    log.warning("malformed run request", team_id=subject.team_id, seq=delivery.seq, why=str(error))
    run_id = _run_id(delivery)
    if run_id and not await events.is_begun(subject.tenant, run_id):
        await events.complete(failed(subject, run_id, error, agents))
    else:
        await events.bury(_letter(delivery, subject, error))
    await delivery.ack()


def failed(
    subject: RequestSubject, run_id: RunId, error: Exception, agents: Collection[TeamId]
) -> RunCompleted:
    """The completed event of a run whose request cannot be read."""
    return ended_early(
        subject.tenant,
        subject.team_id,
        run_id,
        code="malformed_request",
        detail=f"the run request is {error}",
        agents=agents,
    )


def ended_early(
    tenant: Tenant,
    team_id: TeamId,
    run_id: RunId,
    *,
    code: str,
    detail: str,
    agents: Collection[TeamId],
) -> RunCompleted:
    """The completed event of a run that never began; `agents` are those served by themselves."""
    now = time.time()
    return RunCompleted(
        event_id=completed_event_id(tenant, team_id, run_id),
        tenant=tenant,
        team_id=team_id,
        run_id=run_id,
        session_id=run_id,
        output=TeamRunOutput(
            run_id=run_id,
            team_id=team_id,
            session_id=run_id,
            status=RunStatus.ERROR,
            created_at=int(now),
            content_type="str",
            member_responses=[],
            content=detail,
            agent_id=team_id if team_id in agents else None,
        ),
        completed_at=now,
        code=code,
        stored=False,
    )


def _run_id(delivery: Delivery) -> RunId | None:
    """What the body says; else what the header says, unless that is the hash of something else."""
    try:
        run_id = msgspec.json.decode(delivery.data, type=_Named).run_id
    except (msgspec.DecodeError, UnicodeDecodeError):
        run_id = delivery.headers.get(names.RUN_ID, "")
        run_id = run_id if token(run_id) == run_id else ""
    return run_id if 1 <= len(run_id) <= TEXT_ID_LENGTH_MAX else None


def _letter(delivery: Delivery, subject: RequestSubject, error: Exception) -> DeadLetter:
    return DeadLetter(
        id=f"request-{delivery.seq}",
        about="request",
        name=subject.team_id,
        tenant=subject.tenant,
        team_id=subject.team_id,
        reason=str(error),
        died_at=time.time(),
        attempts=delivery.attempt,
        body=delivery.data[:BODY_KEPT_MAX].decode("utf-8", "replace"),
    )
