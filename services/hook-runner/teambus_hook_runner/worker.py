"""The loop of one hook: pull as much as there are free hands, deliver, until told to stop."""

import asyncio
from dataclasses import dataclass, field

import structlog

from teambus.bus.connection import Bus
from teambus.bus.errors import BusError, BusUnavailable
from teambus.bus.provision import verify_consumer
from teambus.bus.pull import Delivery, Inbox
from teambus.bus.topology import EVENTS, hook_consumer_name
from teambus.contracts.catalogue import HookDescription
from teambus.runtime.hands import Hands
from teambus_hook_runner.asked import Unavailable
from teambus_hook_runner.courier import Courier
from teambus_hook_runner.in_hand import Held, InHand
from teambus_hook_runner.keeper import Keeper
from teambus_hook_runner.metrics import IN_HAND

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Worker:
    """Takes what the hook's consumer has and hands it to the courier."""

    bus: Bus
    hook: HookDescription
    keeper: Keeper
    courier: Courier
    drain_s: float
    verify_s: float
    reason: str | None = "the consumer was not looked for yet"
    pulling: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, stop: asyncio.Event) -> None:
        """Until told to stop; then finish what is in hand within `drain_s`, give back the rest."""
        ack_wait_s = await self._verified(stop)
        if ack_wait_s is None:
            return
        in_hand = InHand(self.bus, ack_wait_s)
        hands = Hands(self.hook.concurrency_max, patience_s=self.drain_s)
        async with in_hand.heartbeats(), hands:
            while await self.keeper.ready(stop):
                await self._pull(in_hand, hands, stop)

    async def _pull(self, in_hand: InHand, hands: Hands, stop: asyncio.Event) -> None:
        """While there is a process to call the hook in: what is pulled without waits in vain."""
        async with Inbox(self.bus, EVENTS, hook_consumer_name(self.hook)) as inbox:
            self.pulling.set()
            while self.keeper.is_ready and (free := await hands.free(stop)):
                for delivery in await _fetched(inbox, free, stop):
                    await self._take(delivery, in_hand, hands, stop)

    async def _take(
        self, delivery: Delivery, in_hand: InHand, hands: Hands, stop: asyncio.Event
    ) -> None:
        if stop.is_set():
            await delivery.nak()
        elif (held := in_hand.take(delivery)) is not None:
            IN_HAND.labels(self.hook.name).inc()
            hands.take(self._deliver(held, in_hand))

    async def _deliver(self, held: Held, in_hand: InHand) -> None:
        try:
            await self.courier.deliver(held)
        except asyncio.CancelledError:
            # The drain is over. The call was ended before this is raised.
            log.info("given back unfinished")
            await held.nak(0)
            raise
        except Unavailable as error:
            log.warning("given back uncalled", reason=str(error))
            await held.nak(self.keeper.retry_s)
        finally:
            in_hand.let_go(held)
            IN_HAND.labels(self.hook.name).dec()

    async def _verified(self, stop: asyncio.Event) -> float | None:
        """The consumer's `ack_wait`; asked for until it is there, None when told to stop."""
        while (ack_wait_s := await self._look()) is None and not stop.is_set():
            await _either(stop, self.verify_s)
        return None if stop.is_set() else ack_wait_s

    async def _look(self) -> float | None:
        try:
            ack_wait_s = await verify_consumer(self.bus, EVENTS, hook_consumer_name(self.hook))
        except BusError as error:
            if str(error) != self.reason:
                log.error("cannot deliver to the hook yet", hook=self.hook.name, reason=str(error))
            self.reason = str(error)
            return None
        self.reason = None
        return ack_wait_s


async def _fetched(inbox: Inbox, free: int, stop: asyncio.Event) -> list[Delivery]:
    try:
        return await inbox.fetch(free, stop)
    except BusUnavailable:
        # Closed for good, which stops the whole service; it must not stop in disorder before.
        await stop.wait()
        return []


async def _either(stop: asyncio.Event, wait_s: float) -> None:
    """Return when stopped, or after `wait_s`."""
    try:
        async with asyncio.timeout(wait_s):
            await stop.wait()
    except TimeoutError:
        pass
