"""A run from the asking side: submitted, waited for, attached to. Says nothing of HTTP."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from urllib.parse import quote

import structlog

from teambus.bus.bodies import Bodies
from teambus.bus.connection import Bus
from teambus.bus.errors import BusError, BusUnavailable, QuotaExceeded, StreamFull
from teambus.bus.events import Events
from teambus.bus.frame_stream import FeedLimits
from teambus.bus.frame_survey import Said
from teambus.bus.frames import Feed, Feeds
from teambus.bus.requests import Requests
from teambus.bus.waiter import Listener, RunEnd, RunKey, Waiter
from teambus.contracts.ids import SessionId, new_id
from teambus.contracts.media import FILES_BUCKET
from teambus.contracts.output import RunStatus
from teambus.contracts.run import RunAccepted, RunRefused, request_digest
from teambus_gateway.outcomes import answered, conflict, in_use_or_reused, status_of
from teambus_gateway.problems import BusProblems, Problem
from teambus_gateway.refusals import Refusals
from teambus_gateway.room import Places
from teambus_gateway.submission import Submission, run_path

log = structlog.get_logger(__name__)

SOURCE = "/teambus/gateway"


@dataclass(frozen=True, slots=True)
class RunLimits:
    """How long and how much to wait."""

    reply_timeout_s: float = 300
    look_s: float = 3
    retry_after_s: int = 5
    waiting_max: int = 10_000
    streams_max: int = 5_000


@dataclass(frozen=True, slots=True)
class _Before:
    """What had become of a submission before: how it ended, and whether it was asked for."""

    end: RunEnd | None = None
    is_repeat: bool = False


class Runs:
    """Submits runs and waits for their ends. Keeps nothing another gateway would miss."""

    def __init__(self, bus: Bus, limits: RunLimits, feed_limits: FeedLimits) -> None:
        bodies = Bodies(bus)
        self.limits = limits
        self._waiter = Waiter(bus, bodies)
        self.feeds = Feeds(bus, bodies, self._waiter, feed_limits)
        self._events = Events(bus, bodies, source=SOURCE)
        self._requests = Requests(bus, bodies, SOURCE)
        self._files = Bodies(bus, FILES_BUCKET)
        remember_s = limits.retry_after_s + 1
        self._refusals = Refusals(self._requests, self._events, remember_s=remember_s)
        places = partial(Places, retry_after_s=limits.retry_after_s)
        self._waiting = places(limits.waiting_max, "callers are waiting", "too_many_waiting")
        self.streams = places(limits.streams_max, "streams are open", "too_many_streams")
        self._given_up = False

    async def answer(self, asked: Submission) -> RunEnd:
        """Submit and wait for the end.

        Raises `Problem`; after 504 and after a caller that has gone, the run goes on.
        """
        run_id = asked.request.run_id
        with self._waiting, BusProblems(run_id, self.limits.retry_after_s):
            async with self._waiter.listening(asked.key) as listener:
                if asked.may_be_repeated and (before := await self._attach(asked)).end:
                    return answered(before.end, run_id)
                seq = await self._request(asked)
                log.debug("run submitted", seq=seq)
                limits = self.limits
                found = await listener.ended(
                    seq, wait_s=limits.reply_timeout_s, look_s=limits.look_s
                )
        if found is None:
            raise await self._still_running(asked)
        return answered(found, run_id)

    async def start(self, asked: Submission) -> int:
        """Submit without waiting; returns the sequence of the request."""
        with BusProblems(asked.request.run_id, self.limits.retry_after_s):
            await self._attach(asked)
            return await self._request(asked)

    async def begin(self, asked: Submission) -> RunStatus:
        """Submit without waiting; where the run stands. Once this returns the run is accepted."""
        with BusProblems(asked.request.run_id, self.limits.retry_after_s):
            before = await self._attach(asked)
            if before.end is not None:
                return status_of(before.end)
            await self._request(asked)
            if before.is_repeat and await self._events.is_begun(asked.tenant, asked.request.run_id):
                return RunStatus.RUNNING
            return RunStatus.PENDING

    @asynccontextmanager
    async def streamed(self, asked: Submission) -> AsyncIterator[Feed]:
        """Submit, and read what the run says from its first word while the block runs."""
        with self.streams:
            is_new = not asked.may_be_repeated
            async with self.feeds.reading(asked.key, is_new=is_new) as (feed, listener):
                await self._submit(asked, feed, listener)
                yield feed

    @asynccontextmanager
    async def followed(self, run: RunKey, end: RunEnd | None, *, after: int) -> AsyncIterator[Feed]:
        """Read what a run says after a frame while the block runs; `end` if that is known."""
        with self.streams:
            async with self.feeds.reading(run, after=after) as (feed, listener):
                if end is None:
                    feed.follow(listener, None)
                else:
                    feed.has_ended(end)
                yield feed

    async def survey(self, run: RunKey, end: RunEnd | None, *, after: int) -> Said:
        """How much the run has said and is still stored; `end` if that is known."""
        try:
            return await self.feeds.survey(run, after=after, end=end)
        except BusUnavailable as error:
            detail = "the run cannot be read now; try again later"
            raise Problem(
                503, detail, "bus_unavailable", retry_after_s=self.limits.retry_after_s
            ) from error

    async def wait(self, run: RunKey, wait_s: float) -> RunEnd | None:
        """The end of a run whoever submitted it, or None when it has not come."""
        with self._waiting, BusProblems(run.run_id, self.limits.retry_after_s):
            async with self._waiter.listening(run) as listener:
                if (end := await self._waiter.end_of(run)) is not None:
                    return end
                found = await listener.ended(None, wait_s=wait_s, look_s=self.limits.look_s)
        assert not isinstance(found, RunRefused), found
        return found

    async def make_known(self, asked: Submission) -> None:
        """Let the run be found by its id, also while nobody has taken it."""
        try:
            await self._events.accept(_acceptance(asked))
        except BusError as error:
            log.warning("could not write that the run was accepted", error=str(error))

    def give_up(self) -> None:
        """Let everybody who waits, now or later, have what there is."""
        self._given_up = True
        self._waiter.give_up()

    async def _submit(self, asked: Submission, feed: Feed, listener: Listener) -> None:
        """Submit, and tell a feed what to wait for. A client that leaves meanwhile changes nothing:
        a run that is known to be accepted and never asked for would be PENDING for ever.
        """
        with BusProblems(asked.request.run_id, self.limits.retry_after_s):
            found = await asyncio.shield(self._attach_or_submit(asked))
            if isinstance(found, RunEnd):
                feed.has_ended(found)
            else:
                feed.follow(listener, found)

    async def _attach_or_submit(self, asked: Submission) -> RunEnd | int:
        """How a repeated run ended, else the sequence of the request."""
        if asked.may_be_repeated and (end := (await self._attach(asked)).end) is not None:
            return end
        return await self._request(asked)

    async def _request(self, asked: Submission) -> int:
        try:
            return await self._requests.submit(
                asked.tenant, asked.team_id, asked.request, new=asked.new
            )
        except (QuotaExceeded, StreamFull):
            await self._turned_away(asked)
            raise

    async def _look_for_room(self, asked: Submission) -> None:
        try:
            await self._refusals.look(asked)
        except (QuotaExceeded, StreamFull):
            await self._turned_away(asked)
            raise

    async def _turned_away(self, asked: Submission) -> None:
        self._refusals.note(asked)
        await self._forget_files(asked)

    async def _forget_files(self, asked: Submission) -> None:
        """Of a request that was turned away, unless it can come again under the same run id: else
        clients that try and try would fill the store with what nobody reads.
        """
        names = {each.object for each in asked.request.media if each.object}
        for name in names if asked.origin == "fresh" else ():
            await self._files.forget(name)

    async def _attach(self, asked: Submission) -> _Before:
        """Take responsibility for a submission that may be a repeat; what became of it before."""
        mine = _acceptance(asked)
        await self._look_for_room(asked)
        stored = await self._events.accept(mine)
        if stored.request_digest != mine.request_digest:
            raise conflict(asked, stored)
        is_repeat = stored.event_id != mine.event_id
        end = await self._waiter.end_of(asked.key)
        if end is not None and not is_repeat:
            # Nobody accepted it before, so it ended as somebody else's run.
            raise in_use_or_reused(asked)
        return _Before(end, is_repeat)

    async def _still_running(self, asked: Submission) -> Problem:
        """Make the run known to pollers, then send the caller to them."""
        await self.make_known(asked)
        if self._given_up:
            detail = (
                "this gateway is stopping and the run goes on; ask for it where `poll` says, or "
                "send the same request again with its Idempotency-Key"
            )
            return _goes_on(asked, 503, detail, "draining", self.limits.retry_after_s)
        detail = (
            f"the run has not ended within {self.limits.reply_timeout_s:g} s and goes on; "
            "ask for it where `poll` says"
        )
        return _goes_on(asked, 504, detail, "reply_timeout")


def _goes_on(
    asked: Submission, status: int, detail: str, code: str, retry_after_s: int | None = None
) -> Problem:
    request = asked.request
    assert request.session_id is not None, request
    return Problem(
        status,
        detail,
        code,
        retry_after_s=retry_after_s,
        run_id=request.run_id,
        session_id=request.session_id,
        poll=poll_path(asked, request.session_id),
    )


def poll_path(asked: Submission, session_id: SessionId) -> str:
    """Where to ask for a run that was submitted."""
    path = run_path(asked.kind, asked.team_id, asked.request.run_id)
    return f"{path}?session_id={quote(session_id, safe='')}"


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
        user_id=request.user_id,
    )
