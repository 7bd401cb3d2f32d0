"""The deliveries a worker holds, kept from being delivered again while they are worked on."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from teambus.bus.connection import Bus
from teambus.bus.pull import Delivery

log = structlog.get_logger(__name__)

BEATS_PER_ACK_WAIT = 3


class Held:
    """A delivery in hand. It is renewed when the bus, after an outage, delivers it again."""

    def __init__(self, bus: Bus, delivery: Delivery, ack_wait_s: float) -> None:
        self.delivery = delivery
        self._bus = bus
        self._ack_wait_s = ack_wait_s
        self._fresh_at = delivery.arrived_at

    def renew(self, delivery: Delivery) -> None:
        self.delivery = delivery
        self._fresh_at = delivery.arrived_at

    @property
    def lost(self) -> bool:
        """The bus has not heard of it for so long that someone else may hold it.

        Whatever is said of it then would be said of the other's delivery.
        """
        return time.monotonic() - self._fresh_at > self._ack_wait_s

    async def beat(self) -> None:
        if self.lost or not self._bus.connected:
            return
        await self.delivery.in_progress()
        self._fresh_at = time.monotonic()

    async def ack(self) -> None:
        """Said even when it was lost: what is done is done for every holder."""
        await self.delivery.ack()

    async def nak(self, delay_s: float) -> None:
        if not self.lost:
            await self.delivery.nak(delay_s)

    async def term(self, reason: str) -> None:
        """Said even when it was lost, as `ack` is: the dead letter is written."""
        await self.delivery.term(reason)


class InHand:
    """Everything one worker holds, by its sequence in the stream."""

    def __init__(self, bus: Bus, ack_wait_s: float) -> None:
        self._bus = bus
        self._ack_wait_s = ack_wait_s
        self._held: dict[int, Held] = {}

    def __len__(self) -> int:
        return len(self._held)

    def take(self, delivery: Delivery) -> Held | None:
        """None when it is in hand already: then only its handle is replaced."""
        held = self._held.get(delivery.seq)
        if held is not None:
            log.info("delivered again while in hand", seq=delivery.seq)
            held.renew(delivery)
            return None
        held = self._held[delivery.seq] = Held(self._bus, delivery, self._ack_wait_s)
        return held

    def let_go(self, held: Held) -> None:
        self._held.pop(held.delivery.seq, None)

    @asynccontextmanager
    async def heartbeats(self) -> AsyncIterator[None]:
        """While inside, the bus is told of everything in hand well within `ack_wait`."""
        async with asyncio.TaskGroup() as side:
            beating = side.create_task(self._beat(), name="heartbeats")
            try:
                yield
            finally:
                beating.cancel()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._ack_wait_s / BEATS_PER_ACK_WAIT)
            for held in tuple(self._held.values()):
                await held.beat()
