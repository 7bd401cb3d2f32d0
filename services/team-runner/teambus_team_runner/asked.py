"""Reading a run request off the queue, and what becomes of one that cannot be read."""

import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

import msgspec
import structlog

from teambus.bus.bodies import Bodies, BodyMissing
from teambus.bus.events import Events
from teambus.bus.pull import Delivery
from teambus.contracts import headers as names
from teambus.contracts.hook import DeadLetter
from teambus.contracts.ids import (
    TEXT_ID_RULE,
    RunId,
    SessionId,
    TeamId,
    Tenant,
    completed_event_id,
    is_text_id,
    token,
)
from teambus.contracts.message import MalformedMessage, decode
from teambus.contracts.output import RunStatus, TeamRunOutput
from teambus.contracts.run import RunCompleted, RunRequest, request_digest
from teambus.contracts.session import SessionClaim
from teambus.contracts.subjects import RequestSubject
from teambus.domain.media import mistake_in
from teambus_team_runner.metrics import count_early_end

log = structlog.get_logger(__name__)

BODY_KEPT_MAX = 32 * 1024


class Received(Protocol):
    """A message of the queue, delivered or only read."""

    @property
    def subject(self) -> str: ...
    @property
    def seq(self) -> int: ...
    @property
    def data(self) -> bytes: ...
    @property
    def headers(self) -> dict[str, str]: ...


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
    new = delivery.headers.get(names.NEW, "").split() if delivery.attempt == 1 else ()
    return await read_stored(delivery, bodies, frozenset(new))


async def read_stored(
    message: Received, bodies: Bodies, new: frozenset[str] = frozenset()
) -> Asked:
    """The same of a message that nobody was given."""
    subject = RequestSubject.parse(message.subject)
    try:
        request = decode(RunRequest, await bodies.load(message.data, message.headers))
    except BodyMissing as error:
        raise MalformedMessage(str(error)) from error
    optional = {"session_id": request.session_id, "user_id": request.user_id}
    ids = {"run_id": request.run_id} | {name: id_ or "-" for name, id_ in optional.items()}
    for name, id_ in ids.items():
        if not is_text_id(id_):
            raise MalformedMessage(f"{name} must have {TEXT_ID_RULE}")
    _check_input(request)
    if mistake := mistake_in(request.media, request.run_id):
        raise MalformedMessage(mistake)
    return Asked(
        subject.tenant, subject.team_id, request, message.seq, request_digest(request), new
    )


def _check_input(request: RunRequest) -> None:
    """Raises `MalformedMessage`."""
    if request.continues is None:
        if not request.input:
            raise MalformedMessage("input must not be empty")
        return
    if request.session_id is None:
        raise MalformedMessage("a request that continues a run needs its session_id")
    if not is_text_id(request.continues.run_id):
        raise MalformedMessage(f"continues.run_id must have {TEXT_ID_RULE}")


async def refuse_malformed(
    delivery: Delivery, error: MalformedMessage, events: Events, agents: Collection[TeamId]
) -> None:
    """End it for good: as an ERROR run where a run id can be read, else as a dead letter.

    Written before the acknowledgement and the same each time, so a death in between repeats it.
    A run that has the id already keeps its own end.
    """
    await end_malformed(delivery, error, events, agents, attempts=delivery.attempt)
    await delivery.ack()


async def end_malformed(
    message: Received,
    error: MalformedMessage,
    events: Events,
    agents: Collection[TeamId],
    *,
    attempts: int = 0,
) -> None:
    """What becomes of a request that cannot be read, but for its message."""
    subject = RequestSubject.parse(message.subject)
    log.warning("malformed run request", team_id=subject.team_id, seq=message.seq, why=str(error))
    run_id = _run_id(message)
    if run_id and not await events.is_begun(subject.tenant, run_id):
        end = failed(subject, run_id, error, agents)
        if await events.complete(end):
            count_early_end(end)
    else:
        await events.bury(_letter(message, subject, error, attempts))


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


def _run_id(message: Received) -> RunId | None:
    """What the body says; else what the header says, unless that is the hash of something else."""
    try:
        run_id = msgspec.json.decode(message.data, type=_Named).run_id
    except (msgspec.DecodeError, UnicodeDecodeError):
        run_id = message.headers.get(names.RUN_ID, "")
        run_id = run_id if token(run_id) == run_id else ""
    return run_id if is_text_id(run_id) else None


def body_kept(message: Received) -> str:
    """What a dead letter keeps of a request, as text."""
    return message.data[:BODY_KEPT_MAX].decode("utf-8", "replace")


def _letter(
    message: Received, subject: RequestSubject, error: Exception, attempts: int
) -> DeadLetter:
    return DeadLetter(
        id=f"request-{message.seq}",
        about="request",
        name=subject.team_id,
        tenant=subject.tenant,
        team_id=subject.team_id,
        reason=str(error),
        died_at=time.time(),
        attempts=attempts,
        body=body_kept(message),
    )
