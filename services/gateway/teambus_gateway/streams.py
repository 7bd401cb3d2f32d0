"""Streams of runs, chunk by chunk: of one submitted now, one that goes on, one that has ended.

A chunk is bytes of server-sent events. Before the first chunk a `Problem` may be raised.
"""

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TypeAlias

import structlog

from teambus.bus.errors import BusError
from teambus.bus.frame_survey import Said
from teambus.bus.frames import Feed, ReaderTooSlow
from teambus.bus.waiter import RunEnd
from teambus.contracts.frames import Frame
from teambus.contracts.message import MalformedMessage
from teambus.contracts.run import RunRefused
from teambus_gateway.lookup import Standing
from teambus_gateway.outcomes import answered
from teambus_gateway.runs import Runs
from teambus_gateway.sse import KEEP_ALIVE, Chunks, meta_lines
from teambus_gateway.submission import Submission
from teambus_gateway.teller import Teller, kept_events

log = structlog.get_logger(__name__)

_Stop: TypeAlias = tuple[str, str]
_Say: TypeAlias = Callable[[list[Frame]], bytes]

TOO_SLOW = ("the client read too slowly", "reader_too_slow")
DRAINING = ("this gateway is stopping", "draining")
TOO_LONG = ("the stream was open for as long as is allowed", "stream_too_long")
BROKEN = ("the bus failed", "bus_failed")


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """How long a stream may be silent, open, and not taken by its client."""

    keepalive_s: float = 15
    max_s: float = 24 * 3600
    stall_s: float = 30


class Streams:
    """Makes streams; each may be read once."""

    def __init__(self, runs: Runs, limits: StreamLimits) -> None:
        self._runs = runs
        self.limits = limits

    async def submitted(self, teller: Teller, asked: Submission) -> Chunks:
        """Submit a run and tell all of it; one that was submitted before, from its start."""
        async with self._runs.streamed(asked) as feed:
            if isinstance(feed.end, RunEnd):
                answered(feed.end, asked.request.run_id)
                chunks = self._story(teller, feed, feed.end)
            else:
                chunks = self._told(teller, feed, asked=asked)
            async for chunk in chunks:
                yield chunk

    async def followed(self, teller: Teller, standing: Standing, after: int) -> Chunks:
        """Tell a run from after a frame to its end."""
        if standing.output is not None and standing.end is None:
            yield teller.lines(teller.kept_story(None, standing.output))
            return
        async with self._runs.followed(teller.run, standing.end, after=after) as feed:
            if standing.end is None:
                chunks = self._told(teller, feed)
            else:
                chunks = self._story(teller, feed, standing.end)
            async for chunk in chunks:
                yield chunk

    async def resumed(self, teller: Teller, standing: Standing, after: int) -> Chunks:
        """The same in the words of AgentOS, which say first what is to come."""
        if standing.output is not None and standing.end is None:
            yield _stored(teller, standing)
            return
        said = await self._runs.survey(teller.run, standing.end, after=after)
        async with self._runs.followed(teller.run, standing.end, after=after) as feed:
            if standing.end is not None:
                chunks = self._replayed(teller, standing, feed, said)
            else:
                yield teller.caught_up(said) or teller.subscribed(said)
                chunks = self._told(teller, feed, say=_Subscribing(teller, said).lines)
            async for chunk in chunks:
                yield chunk

    async def has_all(self, teller: Teller, standing: Standing, after: int) -> bool:
        """Whether a client who has had the frame `after` has had the last word of the run."""
        if after < 0 or standing.output is None:
            return False
        if standing.end is None:
            return after == teller.kept_story(None, standing.output)[-1].event_index
        said = await self._runs.survey(teller.run, standing.end, after=after)
        return after >= _last_number(standing.end, said)

    async def _story(self, teller: Teller, feed: Feed, end: RunEnd) -> AsyncIterator[bytes]:
        said = await self._runs.survey(teller.run, end, after=feed.after)
        if not said.whole:
            yield teller.lines(teller.kept_story(end, end.output))
            return
        async for chunk in self._told(teller, feed):
            yield chunk

    async def _replayed(
        self, teller: Teller, standing: Standing, feed: Feed, said: Said
    ) -> AsyncIterator[bytes]:
        assert standing.end is not None, standing
        after, number = feed.after, _last_number(standing.end, said)
        if number == 0 or not said.whole:
            yield _stored(teller, standing)
            return
        missed = said.after + (1 if after < number else 0)
        yield teller.replay(standing.status, missed, said.total + 1, after)
        if not missed:
            return
        async for chunk in self._told(teller, feed):
            yield chunk

    async def _told(
        self,
        teller: Teller,
        feed: Feed,
        *,
        asked: Submission | None = None,
        say: _Say | None = None,
    ) -> AsyncIterator[bytes]:
        """What a feed gives, and what there is to say when it gives no more."""
        nothing_yet = True
        stop: _Stop | None = None
        try:
            async for chunk in self._live(feed, say or teller.lines):
                nothing_yet = False
                yield chunk
        except ReaderTooSlow:
            stop = TOO_SLOW
        except (BusError, MalformedMessage) as error:
            log.error("a stream broke off", error=str(error))
            stop = BROKEN
        if feed.end is None or stop is not None:
            yield await self._stopped(teller, feed, asked, stop)
            return
        if asked is not None and nothing_yet:
            answered(feed.end, asked.request.run_id)
        yield _ending(teller, feed)

    async def _live(self, feed: Feed, say: _Say) -> AsyncIterator[bytes]:
        keepalive_s = self.limits.keepalive_s
        until = time.monotonic() + self.limits.max_s
        quiet_until = time.monotonic() + keepalive_s
        while not feed.over and time.monotonic() < until:
            chunk = say(await feed.next(max(0, quiet_until - time.monotonic())))
            if not chunk and time.monotonic() >= quiet_until:
                chunk = KEEP_ALIVE
            if chunk:
                yield chunk
                quiet_until = time.monotonic() + keepalive_s

    async def _stopped(
        self, teller: Teller, feed: Feed, asked: Submission | None, stop: _Stop | None
    ) -> bytes:
        """The run goes on and must be found, even while nobody has taken it."""
        if asked is not None:
            await self._runs.make_known(asked)
        if stop is None:
            stop = DRAINING if feed.given_up else TOO_LONG
        return teller.stopped(*stop, feed)


class _Subscribing:
    """Says between what was missed and what is new that now comes what is new."""

    def __init__(self, teller: Teller, said: Said) -> None:
        self._teller = teller
        self._said = said
        self._is_new = not said.after

    def lines(self, frames: list[Frame]) -> bytes:
        missed = [frame for frame in frames if frame.event_index <= self._said.last_index]
        told = self._teller.lines(missed)
        is_last = bool(frames) and frames[-1].event_index >= self._said.last_index
        if is_last and not self._is_new:
            self._is_new = True
            told += self._teller.subscribed(self._said)
        return told + self._teller.lines(frames[len(missed) :])


def _ending(teller: Teller, feed: Feed) -> bytes:
    if isinstance(feed.end, RunEnd):
        return teller.lines([teller.last_word(feed.end, number=feed.last_index)])
    assert isinstance(feed.end, RunRefused), feed.end
    refused = feed.end
    return meta_lines("error", error=refused.detail, code=refused.code, run_id=refused.run_id)


def _stored(teller: Teller, standing: Standing) -> bytes:
    assert standing.output is not None, standing
    if not kept_events(standing.output):
        return teller.stored_replay(standing.status, 0)
    story = teller.kept_story(standing.end, standing.output)
    return teller.stored_replay(standing.status, len(story)) + teller.lines(story)


def _last_number(end: RunEnd, said: Said) -> int:
    return max(end.frames, said.last_index + 1)
