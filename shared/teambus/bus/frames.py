"""Reading what a run says while it runs: from the stream what was said, then live what is said.

The order of the stream is the order of the run. What is heard live is only a quicker copy: whatever
was missed, in an outage or because it came too early, is read from the stream.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog
from nats.aio.msg import Msg

from teambus.bus.bodies import Bodies
from teambus.bus.connection import Bus
from teambus.bus.errors import BusUnavailable
from teambus.bus.frame_stream import FeedLimits, FrameStream, heard, is_repeated, place
from teambus.bus.frame_survey import Said, survey
from teambus.bus.reads import Stored
from teambus.bus.unread import Heard, Unread
from teambus.bus.waiter import Listener, RunEnd, RunKey, Waiter
from teambus.contracts.frames import Frame
from teambus.contracts.run import RunRefused
from teambus.domain.frame_order import Order

log = structlog.get_logger(__name__)


class ReaderTooSlow(Exception):
    """frames came faster than they were read"""


class Feed:
    """The frames of one run after one of them, each once and in order, and then its end.

    Made by `Feeds.reading`. Whoever reads must say what to wait for: `follow` or `has_ended`.
    """

    def __init__(
        self,
        stream: FrameStream,
        order: Order,
        limits: FeedLimits,
        unread: Unread,
        *,
        is_new: bool,
    ) -> None:
        self._stream = stream
        self._order = order
        self._limits = limits
        self._now = asyncio.get_running_loop().time
        self._given: list[Frame] = []
        self._heard = Heard(limits, unread)
        self._changed = asyncio.Event()
        self._must_look = not is_new
        self._look_at = self._now() + limits.look_s
        self._seq = 0
        self._goal = 0
        self._is_too_slow = False
        self._is_confirmed = False
        self._following: asyncio.Task[RunEnd | RunRefused | None] | None = None
        self.end: RunEnd | RunRefused | None = None
        self.given_up = False

    def follow(self, listener: Listener, request_seq: int | None) -> None:
        """Wait for the end of the run; a refusal counts only if it is of this request. Without one
        the run may have ended before.
        """
        if request_seq is None:
            listener.wake()
        ended = listener.ended(request_seq, wait_s=float("inf"), look_s=self._limits.look_s)
        self._following = asyncio.create_task(ended, name="follow a run")
        self._following.add_done_callback(self._on_end)

    def has_ended(self, end: RunEnd | RunRefused | None) -> None:
        """The run has ended like this; None: waiting for it was given up."""
        self.end = end
        self.given_up = end is None
        if not 0 < self._frames_before_end <= self._order.highest + 1:
            self.look()
        self._changed.set()

    @property
    def over(self) -> bool:
        """Whether all was given that ever will be."""
        if self.given_up or isinstance(self.end, RunRefused):
            return True
        all_read = not self._must_look and self._goal <= self._seq and not self._heard
        return self.end is not None and all_read and not self._given and not self._misses_some

    @property
    def after(self) -> int:
        """The number of the last frame given; of the one asked for while none was."""
        return self._order.after

    @property
    def last_index(self) -> int:
        """The number of the frame that the end of the run is: above all that was said before."""
        return max(self._frames_before_end, self._order.highest + 1)

    @property
    def _frames_before_end(self) -> int:
        return self.end.frames if isinstance(self.end, RunEnd) else 0

    @property
    def _misses_some(self) -> bool:
        """Whether the end tells of frames that the stream's leader, true or not, does not have."""
        had = max(self._order.highest, self._order.after) + 1
        return self._frames_before_end > had and not self._is_confirmed

    async def next(self, wait_s: float) -> list[Frame]:
        """What comes next within `wait_s` seconds; nothing also when it is `over`.

        Raises `ReaderTooSlow` when more came meanwhile than is kept, and what made waiting for the
        end fail.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._fill()
        given, self._given = self._given, []
        return given

    def look(self) -> None:
        """Look into the stream: something may have been missed."""
        self._must_look = True
        self._changed.set()

    def hear(self, message: Msg) -> None:
        """Keep a batch as it is repeated live. With no room, a reader that is still catching up
        will read it from the stream; one that was up to date is too slow.
        """
        if not is_repeated(message):
            return
        if not self._heard.keep(message):
            self._overflow(place(message).seq)
        self._look_at = self._now() + self._limits.look_s
        self._changed.set()

    async def close(self) -> None:
        self._heard.clear()
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)

    def _overflow(self, seq: int) -> None:
        if self._must_look or self._goal > self._seq:
            self._goal = max(self._goal, seq)
        else:
            self._is_too_slow = True
        self._heard.clear()

    def _on_end(self, following: "asyncio.Task[RunEnd | RunRefused | None]") -> None:
        if following.cancelled() or following.exception() is not None:
            self._changed.set()
        else:
            self.has_ended(following.result())

    async def _fill(self) -> None:
        while not self._given and not self.over:
            self._raise_failure()
            try:
                await self._step()
            except BusUnavailable as error:
                log.debug("could not read frames", error=str(error))
                self._must_look = True
                await self._change(self._now() + self._limits.look_s)

    def _raise_failure(self) -> None:
        if self._is_too_slow:
            raise ReaderTooSlow("frames came faster than they were read")
        following = self._following
        if following is not None and following.done() and not following.cancelled():
            following.result()

    async def _step(self) -> None:
        """Do one thing: look, read what is behind, take what was heard, or wait."""
        if self._must_look:
            await self._find_goal()
        elif self._goal > self._seq:
            await self._read_page()
        elif self._heard:
            await self._take_heard()
        elif self._misses_some:
            await self._confirm()
        elif not await self._change(self._look_at):
            self._look_at = self._now() + self._limits.look_s
            self._goal = max(self._goal, await self._stream.reach_nearby())

    async def _change(self, until: float) -> bool:
        """Wait for something to happen; False when nothing did."""
        self._changed.clear()
        try:
            async with asyncio.timeout_at(until):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True

    async def _find_goal(self) -> None:
        """How far the stream reaches by its leader: after an end, to all that was said."""
        self._must_look = False
        try:
            self._goal = max(self._goal, await self._stream.reach())
        except BaseException:
            self._must_look = True
            raise

    async def _confirm(self) -> None:
        await self._stream.confirm()
        self._is_confirmed = True
        self._must_look = True

    async def _read_page(self) -> None:
        """What the leader does not have is gone."""
        page = await self._stream.next(self._seq, until=self._goal)
        for stored in page:
            await self._accept(stored)
        if not page:
            self._seq = self._goal

    async def _take_heard(self) -> None:
        while self._heard:
            message = self._heard.first
            at = place(message)
            if at.before > self._seq:
                self._goal = max(self._goal, at.seq)
                return
            if at.seq > self._seq:
                await self._accept(heard(message))
            self._heard.drop(message)

    async def _accept(self, stored: Stored) -> None:
        """Once the body is there this does not wait: a reader that stops waiting loses nothing."""
        batch = await self._stream.batch(stored)
        self._seq = max(self._seq, stored.seq)
        if batch is not None:
            self._given += self._order.put(batch)


class Feeds:
    """Opens feeds: one for each reader."""

    def __init__(self, bus: Bus, bodies: Bodies, waiter: Waiter, limits: FeedLimits) -> None:
        self._bus = bus
        self._bodies = bodies
        self._waiter = waiter
        self._limits = limits
        self.unread = Unread(limits.unread_bytes_max_of_all)

    @asynccontextmanager
    async def reading(
        self, run: RunKey, *, after: int = -1, is_new: bool = False
    ) -> AsyncIterator[tuple[Feed, Listener]]:
        """Read while the block runs; `after` is the number of the last frame the reader has. A run
        that `is_new` has said nothing before the block.
        """
        order = Order(run.team_id, after=after)
        feed = Feed(self._stream(run), order, self._limits, self.unread, is_new=is_new)
        async with self._waiter.listening(run, hear_frames=feed.hear) as listener:
            self._bus.reconnect_listeners.add(feed.look)
            try:
                yield feed, listener
            finally:
                self._bus.reconnect_listeners.discard(feed.look)
                await feed.close()

    async def survey(self, run: RunKey, *, after: int, end: RunEnd | None) -> Said:
        """What a reader who has the frames up to `after` can still get; `end` if there is one."""
        frames = 0 if end is None else end.frames
        return await survey(self._stream(run), run.team_id, after=after, frames=frames)

    def _stream(self, run: RunKey) -> FrameStream:
        return FrameStream(self._bus, self._bodies, run, self._limits)
