"""The loops of one hook: pull as much as there are free hands, deliver, until told to stop.

One pulls completed events, one what is redriven; they take turns to call the hook.
"""

import asyncio
from dataclasses import dataclass, field

import structlog

from teambus.bus.connection import Bus
from teambus.bus.errors import BusError, BusUnavailable
from teambus.bus.provision import verify_consumer
from teambus.bus.pull import Delivery, Inbox
from teambus.bus.topology import EVENTS, REDRIVE, hook_consumer_name
from teambus.contracts.catalogue import HookDescription
from teambus.runtime.hands import Hands
from teambus_hook_runner.asked import Unavailable
from teambus_hook_runner.courier import Courier
from teambus_hook_runner.in_hand import Held, InHand
from teambus_hook_runner.keeper import Keeper
from teambus_hook_runner.metrics import IN_HAND

log = structlog.get_logger(__name__)

BEATS_OF_A_PULL = 5
LINGER_S = 0.01
"""A hook that is called in the background is in no hurry, and what comes singly costs twice."""
REDRIVE_BEAT_S = 5
"""Redrives are rare and in no hurry, so an empty queue is asked after less often."""


@dataclass(frozen=True, slots=True)
class Queue:
    """What a hook is delivered from one stream: as much at once as there are hands for it."""

    stream: str
    hands: Hands
    in_hand: InHand
    beat_s: float


@dataclass(slots=True)
class Worker:
    """Takes what the hook's consumers have and hands it to the courier."""

    bus: Bus
    hook: HookDescription
    keeper: Keeper
    courier: Courier
    drain_s: float
    verify_s: float
    reason: str | None = "the consumer was not looked for yet"
    pulling: asyncio.Event = field(default_factory=asyncio.Event)
    turns: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self.turns = asyncio.Semaphore(self.hook.concurrency_max)

    async def run(self, stop: asyncio.Event) -> None:
        """Until told to stop; then finish what is in hand within `drain_s`, give back the rest."""
        ack_wait_s = await self._verified(stop)
        if ack_wait_s is None:
            return
        events, redriven = self._queues(ack_wait_s)
        count = IN_HAND.labels(self.hook.name)
        count.set_function(lambda: len(events.in_hand) + len(redriven.in_hand))
        async with events.in_hand.heartbeats(), redriven.in_hand.heartbeats():
            async with asyncio.TaskGroup() as work:
                work.create_task(self._work(events, stop), name="events")
                work.create_task(self._work(redriven, stop), name="redriven")

    def _queues(self, ack_wait_s: float) -> tuple[Queue, Queue]:
        """Of what is redriven at most half as much is in hand, so that events are not starved."""
        at_once = self.hook.concurrency_max
        shares = ((EVENTS, at_once, 1.0), (REDRIVE, max(1, at_once // 2), REDRIVE_BEAT_S))
        events, redriven = (
            Queue(
                stream,
                Hands(count, patience_s=self.drain_s),
                InHand(self.bus, ack_wait_s),
                beat_s,
            )
            for stream, count, beat_s in shares
        )
        return events, redriven

    async def _work(self, queue: Queue, stop: asyncio.Event) -> None:
        async with queue.hands:
            while await self.keeper.ready(stop):
                await self._pull(queue, stop)

    async def _pull(self, queue: Queue, stop: asyncio.Event) -> None:
        """While there is a process to call the hook in: what is pulled without waits in vain."""
        async with Inbox(
            self.bus,
            queue.stream,
            hook_consumer_name(self.hook),
            expires_s=BEATS_OF_A_PULL * queue.beat_s,
            heartbeat_s=queue.beat_s,
            linger_s=LINGER_S,
        ) as inbox:
            self.pulling.set()
            while self.keeper.is_ready and (free := await queue.hands.free(stop)):
                for delivery in await _fetched(inbox, free, stop):
                    await self._take(delivery, queue, stop)

    async def _take(self, delivery: Delivery, queue: Queue, stop: asyncio.Event) -> None:
        if stop.is_set():
            await delivery.nak()
        elif (held := queue.in_hand.take(delivery)) is not None:
            queue.hands.take(self._deliver(held, queue.in_hand))

    async def _deliver(self, held: Held, in_hand: InHand) -> None:
        """Both queues wait here in one line for their turn to call the hook."""
        try:
            async with self.turns:
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

    async def _verified(self, stop: asyncio.Event) -> float | None:
        """The consumers' `ack_wait`; asked for until it is there, None when told to stop."""
        while (ack_wait_s := await self._look()) is None and not stop.is_set():
            await _either(stop, self.verify_s)
        return None if stop.is_set() else ack_wait_s

    async def _look(self) -> float | None:
        try:
            name = hook_consumer_name(self.hook)
            ack_wait_s = await verify_consumer(self.bus, EVENTS, name)
            ack_wait_s = min(ack_wait_s, await verify_consumer(self.bus, REDRIVE, name))
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
