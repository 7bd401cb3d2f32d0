"""Holding a run: keeping its message alive, and letting go of the work when the run is lost."""

import asyncio
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import structlog

from teambus.bus.errors import BusError
from teambus.bus.journal import Fenced, Journal
from teambus.bus.pull import Delivery
from teambus.bus.sessions import Seen
from teambus_team_runner.asked import Asked
from teambus_team_runner.engine.cancellation import Cancellation

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
        self.ack_wait_s = ack_wait_s
        self.opened: Seen | None = None
        self.cancellation = Cancellation(asked.run_id)
        self._delivery = delivery
        self._touched_at = delivery.arrived_at
        self._dropped = False

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
        if not self._dropped:
            await self._delivery.in_progress()
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
        keeping = asyncio.create_task(self._keep_on(), name="keep the message")
        try:
            yield
        finally:
            keeping.cancel()

    async def _keep_on(self) -> None:
        while True:
            await asyncio.sleep(self.ack_wait_s / 3)
            await self.keep()


async def hold(handle: Handle, journal: Journal, work: Coroutine[Any, Any, T]) -> T:
    """Do the work as long as the run is held; `Fenced` or `BusError` cuts it short.

    A stopped and woken process proves that it still holds the run before it touches the message.
    """
    working = asyncio.create_task(work, name="work on the run")
    watching = asyncio.create_task(_watch(handle, journal), name="watch the hold")
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        handle.drop()
        await _end(working)
        watching.result()
        raise AssertionError("the watch ends only by raising")
    finally:
        # The work ends first: it may yet write that it was cut short, under the watch's eye.
        await _end(working)
        await _end(watching)
        await journal.close()


async def _end(task: "asyncio.Task[Any]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _watch(handle: Handle, journal: Journal) -> None:
    """Ends only by raising."""
    while True:
        try:
            async with asyncio.timeout(handle.ack_wait_s / 3):
                await journal.lost.wait()
        except TimeoutError:
            await _beat(handle, journal)
        else:
            await journal.settled()
            raise AssertionError("a lost journal settles by raising")


async def _beat(handle: Handle, journal: Journal) -> None:
    try:
        await journal.prove(handle.ack_wait_s / 2)
        await handle.renew()
    except Fenced:
        raise
    except BusError as error:
        # The journal gives up by itself when the bus stays away; a beat missed is no loss.
        log.warning("could not renew the hold", error=str(error))
