"""A run from the asking side: submitted, waited for, attached to. Says nothing of HTTP."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import quote

import structlog

from teambus.bus.bodies import Bodies
from teambus.bus.connection import Bus
from teambus.bus.errors import BusError
from teambus.bus.events import Events
from teambus.bus.requests import Requests
from teambus.bus.waiter import RunEnd, Waiter
from teambus.contracts.ids import RunId, SessionId, TeamId, Tenant, new_id
from teambus.contracts.run import RunAccepted, RunRefused, request_digest
from teambus_gateway.problems import Problem, bus_problems
from teambus_gateway.submission import Submission

log = structlog.get_logger(__name__)

SOURCE = "/teambus/gateway"


@dataclass(frozen=True, slots=True)
class RunLimits:
    """How long and how much to wait."""

    reply_timeout_s: float = 300
    look_s: float = 3
    retry_after_s: int = 5
    waiting_max: int = 10_000


class Runs:
    """Submits runs and waits for their ends. Keeps nothing another gateway would miss."""

    def __init__(self, bus: Bus, limits: RunLimits) -> None:
        bodies = Bodies(bus)
        self.limits = limits
        self._waiter = Waiter(bus, bodies)
        self._events = Events(bus, bodies, source=SOURCE)
        self._requests = Requests(bus, bodies, SOURCE)
        self._places = 0

    @property
    def waiting(self) -> int:
        return self._places

    async def answer(self, asked: Submission) -> RunEnd:
        """Submit and wait for the end.

        Raises `Problem`; after 504 and after a caller that has gone, the run goes on.
        """
        run_id, request = asked.request.run_id, asked.request
        with self._place(), bus_problems(run_id, self.limits.retry_after_s):
            async with self._waiter.listening(asked.tenant, asked.team_id, run_id) as listener:
                if asked.origin != "fresh" and (end := await self._attach(asked)) is not None:
                    return _said(end, run_id)
                seq = await self._requests.submit(asked.tenant, asked.team_id, request)
                log.debug("run submitted", seq=seq)
                limits = self.limits
                found = await listener.ended(
                    seq, wait_s=limits.reply_timeout_s, look_s=limits.look_s
                )
        if found is None:
            raise await self._still_running(asked)
        return _said(found, run_id)

    async def start(self, asked: Submission) -> int:
        """Submit without waiting; returns the sequence of the request."""
        with bus_problems(asked.request.run_id, self.limits.retry_after_s):
            await self._attach(asked)
            return await self._requests.submit(asked.tenant, asked.team_id, asked.request)

    async def wait(
        self, tenant: Tenant, team_id: TeamId, run_id: RunId, wait_s: float
    ) -> RunEnd | None:
        """The end of a run whoever submitted it, or None when it has not come."""
        with self._place(), bus_problems(run_id, self.limits.retry_after_s):
            async with self._waiter.listening(tenant, team_id, run_id) as listener:
                if (end := await self._waiter.end_of(tenant, team_id, run_id)) is not None:
                    return end
                found = await listener.ended(None, wait_s=wait_s, look_s=self.limits.look_s)
        assert not isinstance(found, RunRefused), found
        return found

    def give_up(self) -> None:
        """Let everybody who waits have what there is."""
        self._waiter.give_up()

    async def _attach(self, asked: Submission) -> RunEnd | None:
        """Take responsibility for a submission that may be a repeat; its end if it has ended."""
        request = asked.request
        mine = _acceptance(asked)
        stored = await self._events.accept(mine)
        if stored.request_digest != mine.request_digest:
            raise _conflict(asked)
        end = await self._waiter.end_of(asked.tenant, asked.team_id, request.run_id)
        if end is not None and stored.event_id == mine.event_id:
            # Nobody accepted it before, so it ended as somebody else's run.
            raise _conflict(asked)
        return end

    async def _still_running(self, asked: Submission) -> Problem:
        """Make the run known to pollers, then send the caller to them."""
        request = asked.request
        assert request.session_id is not None, request
        try:
            await self._events.accept(_acceptance(asked))
        except BusError as error:
            log.warning("could not write that the run was accepted", error=str(error))
        return Problem(
            504,
            f"the run has not ended within {self.limits.reply_timeout_s:g} s and goes on; "
            "ask for it where `poll` says",
            "reply_timeout",
            run_id=request.run_id,
            session_id=request.session_id,
            poll=poll_path(asked.path, request.run_id, request.session_id),
        )

    @contextmanager
    def _place(self) -> Iterator[None]:
        if self._places >= self.limits.waiting_max:
            detail = "too many callers are waiting at this gateway; try again later"
            raise Problem(503, detail, "too_many_waiting", retry_after_s=self.limits.retry_after_s)
        self._places += 1
        try:
            yield
        finally:
            self._places -= 1


def poll_path(path: str, run_id: RunId, session_id: SessionId) -> str:
    """Where to ask for a run of the team or agent found under `path`."""
    return f"{path}/runs/{quote(run_id, safe='')}?session_id={quote(session_id, safe='')}"


def _acceptance(asked: Submission) -> RunAccepted:
    """With a new event id each time: the stream, not its memory of ids, tells who was first."""
    request = asked.request
    assert request.session_id is not None, request
    return RunAccepted(
        event_id=f"{asked.tenant}:{asked.team_id}:{request.run_id}:accepted:{new_id()}",
        tenant=asked.tenant,
        team_id=asked.team_id,
        run_id=request.run_id,
        session_id=request.session_id,
        request_digest=request_digest(request),
        accepted_at=time.time(),
    )


def _said(found: RunEnd | RunRefused, run_id: RunId) -> RunEnd:
    """The end as a reply; raises `Problem` for an end that HTTP has a status for."""
    if isinstance(found, RunRefused):
        raise Problem(409, found.detail, found.code, run_id=run_id)
    if found.code == "session_not_found":
        raise Problem(404, "Session not found")
    if found.code == "run_id_in_use":
        raise _in_use(run_id)
    return found


def _conflict(asked: Submission) -> Problem:
    run_id = asked.request.run_id
    if asked.origin != "keyed":
        return _in_use(run_id)
    detail = "this Idempotency-Key was sent with another request; use a new key"
    return Problem(409, detail, "idempotency_key_reused", run_id=run_id)


def _in_use(run_id: RunId) -> Problem:
    detail = "this run_id belongs to another run; leave it out or choose a new one"
    return Problem(409, detail, "run_id_in_use", run_id=run_id)
