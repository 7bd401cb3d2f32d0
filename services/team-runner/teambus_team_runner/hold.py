"""Holding a run: keeping its message alive, and letting go of the work when the run is lost."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import structlog

from teambus.bus.errors import BusError
from teambus.bus.journal import Fenced, Journal
from teambus.bus.pull import Delivery
from teambus.bus.sessions import Seen
from teambus_team_runner.asked import Asked
from teambus_team_runner.engine.cancellation import Cancellation
from teambus_team_runner.engine.tracing import RunTrace
from teambus_team_runner.steps import Alone

log = structlog.get_logger(__name__)

T = TypeVar("T")

SURE_SHARE = 0.8
"""The share of `ack_wait` after the last sign of life in which nobody else can have the message."""


class Handle:
    """The message of a run in hand, and what it asks.

    A redelivery to this process replaces the delivery: an answer to the older one would act on
    the newer one's. For the same reason nothing is said about a message that may be another's.
    """

    def __init__(self, delivery: Delivery, asked: Asked, *, ack_wait_s: float) -> None:
        self.asked = asked
        self.new = asked.new
        self.ack_wait_s = ack_wait_s
        self.began_at = time.time()
        """When a runner first took the run, as far as is known here."""
        self.trace: RunTrace | None = None
        """Told what the run does, where traces are sent."""
        self.opened: Seen | None = None
        self.cancellation = Cancellation(asked.run_id)
        self.alone: Alone | None = None
        """Where users' code of this run is called, when it is not to be beside other runs."""
        self._delivery = delivery
        self._touched_at = delivery.arrived_at
        self._dropped = False

    @property
    def dropped(self) -> bool:
        """Whether the run is left to another runner."""
        return self._dropped

    @property
    def lapsed(self) -> bool:
        """Whether the message may be somebody else's by now."""
        silent_s = time.monotonic() - self._touched_at
        return self._dropped or silent_s > self.ack_wait_s * SURE_SHARE

    def replace(self, delivery: Delivery) -> None:
        # Not by its number: a server that crashed counts deliveries anew.
        if delivery.arrived_at >= self._delivery.arrived_at:
            self._delivery = delivery
            self._touched_at = delivery.arrived_at

    def drop(self) -> None:
        """The run is another's: say nothing about its message any more."""
        self._dropped = True

    async def keep(self) -> None:
        if not self.lapsed:
            await self.renew()

    async def renew(self) -> None:
        """Keep it although it may have lapsed: only on a fresh proof that the run is held."""
        if not self._dropped and await self._delivery.in_progress():
            self._touched_at = time.monotonic()

    async def done(self) -> None:
        if not self._dropped:
            await self._delivery.ack()

    async def give_back(self, *, delay_s: float = 0) -> None:
        """Let it be delivered again; one not surely held is left to lapse by itself."""
        if not self.lapsed:
            await self._delivery.nak(delay_s)
            self.drop()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep the message while the block runs."""
        beat = Beat(self.ack_wait_s / 3, self.keep)
        try:
            yield
        finally:
            beat.stop()


class Beat:
    """Calls `beat` every so many seconds, first after as many. Mostly it is stopped before: so it
    is only a timer until then.
    """

    def __init__(self, every_s: float, beat: Callable[[], Awaitable[None]]) -> None:
        self._every_s = every_s
        self._beat = beat
        self._task: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(every_s, self._begin)

    def stop(self) -> None:
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _begin(self) -> None:
        self._task = asyncio.create_task(self._go_on(), name="beat")

    async def _go_on(self) -> None:
        while True:
            await self._beat()
            await asyncio.sleep(self._every_s)


async def hold(handle: Handle, journal: Journal, work: Coroutine[Any, Any, T]) -> T:
    """Do the work as long as the run is held; `Fenced` or `BusError` cuts it short.

    A stopped and woken process proves that it still holds the run before it touches the message.
    """
    working = asyncio.create_task(work, name="work on the run")

    def cut_short() -> None:
        handle.drop()
        working.cancel()

    journal.when_lost(cut_short)
    beat = Beat(handle.ack_wait_s / 3, partial(_renew, handle, journal))
    try:
        # Told to stop, the work ends first: it may yet write that it was, the message kept.
        return await working
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if journal.ours or (task is not None and task.cancelling()):
            raise
        await journal.settled()
        raise AssertionError("a lost journal settles by raising") from None
    finally:
        beat.stop()
        await journal.close()


async def _renew(handle: Handle, journal: Journal) -> None:
    try:
        await journal.prove(handle.ack_wait_s / 2)
        await handle.renew()
    except Fenced:
        log.debug("the run is another's; the journal tells")
    except BusError as error:
        # The journal gives up by itself when the bus stays away; a beat missed is no loss.
        log.warning("could not renew the hold", error=str(error))
