"""Requests that are pulled although no hand is free, so that one tenant's flood stops no other.

The queue gives requests in the order they came, so behind a flood nobody would be seen. While
requests of several tenants wait and no hand is free, they are pulled ahead and held in a line for
each tenant; a hand that becomes free goes to the tenant with the fewest. What is held is kept alive
like a parked run, without its body, which is read again when its turn comes.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias

import structlog

from teambus.bus.backlog import Backlog
from teambus.bus.errors import BusError
from teambus.bus.pull import Delivery, Inbox
from teambus.contracts.ids import Tenant
from teambus.contracts.subjects import RequestSubject
from teambus.domain.turns import Turns, Waiting
from teambus.runtime.hands import Hands
from teambus_team_runner.hold import SURE_SHARE, Handle

log = structlog.get_logger(__name__)

PULLED_AT_ONCE = 64
"""Bodies that are in memory until they are put aside."""
BEATS_IN_A_ROW = 200


@dataclass(frozen=True, slots=True)
class AheadLimits:
    """`look_s`: how often a runner without a free hand looks who is waiting."""

    ack_wait_s: float
    ahead_max: int = 20_000
    look_s: float = 0.25


class Held:
    """A delivery in a line, its body put aside."""

    def __init__(self, delivery: Delivery) -> None:
        self.replace(delivery)

    def replace(self, delivery: Delivery) -> None:
        delivery.data, delivery.headers = b"", {}
        self.delivery = delivery

    def lapsed(self, ack_wait_s: float) -> bool:
        """Whether it may be somebody else's by now."""
        return time.monotonic() - self.delivery.arrived_at > ack_wait_s * SURE_SHARE

    async def keep(self) -> None:
        if await self.delivery.in_progress():
            self.delivery.arrived_at = time.monotonic()


class Resumed:
    """A run that was parked and waits for a hand; its own handle keeps it alive."""

    def __init__(self, handle: Handle) -> None:
        self.handle = handle
        self.begun = asyncio.Event()

    def replace(self, delivery: Delivery) -> None:
        self.handle.replace(delivery)


Line: TypeAlias = Held | Resumed
Begin: TypeAlias = Callable[[Tenant, Delivery | Handle], None]


class Ahead:
    """The lines in front of the hands; `begin` gives one hand to what it is called with."""

    def __init__(
        self, inbox: Inbox, hands: Hands, backlog: Backlog, limits: AheadLimits, begin: Begin
    ) -> None:
        self.backlog = backlog
        self.limits = limits
        self._inbox = inbox
        self._hands = hands
        self._begin = begin
        self._turns: Turns[Line] = Turns()
        self._to_pull = 0
        self._look_at = 0.0
        self._closed = False
        hands.first = self._serve

    @property
    def held(self) -> int:
        return len(self._turns)

    async def wait(self, stop: asyncio.Event) -> list[Delivery]:
        """Return when a hand is free, or with requests to be held ahead, or after `look_s`."""
        if time.monotonic() >= self._look_at:
            await self._look()
            self._look_at = time.monotonic() + self.limits.look_s
        if (count := min(self._to_pull, self._room, PULLED_AT_ONCE)) > 0:
            pulled = await self._inbox.fetch(count, stop, stored_only=True)
            self._to_pull -= len(pulled) or self._to_pull
            if pulled:
                return pulled
        else:
            await self._inbox.hold_off()
        await self._hands.free(stop, wait_s=self.limits.look_s)
        return []

    async def add(self, delivery: Delivery) -> None:
        """Hold it until its turn; one that comes when there is no room is given back."""
        if (known := self._turns.get(delivery.seq)) is not None:
            known.replace(delivery)
        elif self._closed or self._room <= 0:
            await delivery.nak()
        else:
            tenant = RequestSubject.parse(delivery.subject).tenant
            self._turns.add(tenant, delivery.seq, Held(delivery))

    async def turn(self, handle: Handle, *stops: asyncio.Event) -> bool:
        """Have a parked run begun when it is its turn; False once one of `stops` is set before."""
        asked = handle.asked
        resumed = Resumed(handle)
        again = self._turns.drop(asked.request_seq)
        if again is not None and isinstance(again.work, Held):
            handle.replace(again.work.delivery)
        self._turns.add(asked.tenant, asked.request_seq, resumed)
        self._serve()
        waits = [asyncio.ensure_future(each.wait()) for each in (resumed.begun, *stops)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            # What has begun is in a hand and no longer the waiter's to give back.
            if not resumed.begun.is_set():
                raise
        finally:
            for each in waits:
                each.cancel()
            if not resumed.begun.is_set():
                self._turns.drop(asked.request_seq)
        return resumed.begun.is_set()

    async def keep(self) -> None:
        """Keep what is held alive, for ever; what has lapsed all the same is let go."""
        while True:
            await asyncio.sleep(self.limits.ack_wait_s / 3)
            for number, waiting in enumerate(self._turns.all()):
                if isinstance(waiting.work, Held):
                    await self._keep(waiting, waiting.work)
                if number % BEATS_IN_A_ROW == 0:
                    await asyncio.sleep(0)

    async def close(self) -> None:
        """Begin nothing more, and give back at once what was pulled ahead."""
        self._closed = True
        await self._give_back(self._turns.all())

    @property
    def _room(self) -> int:
        return self.limits.ahead_max - len(self._turns)

    def _serve(self) -> None:
        while self._hands.spare and not self._closed:
            waiting = self._turns.next(self._hands.held_for)
            if waiting is None:
                return
            if isinstance(waiting.work, Held):
                self._begin(waiting.tenant, waiting.work.delivery)
            else:
                waiting.work.begun.set()
                self._begin(waiting.tenant, waiting.work.handle)

    async def _look(self) -> None:
        """See what there is to pull, and whether another runner has hands for what is held."""
        self._to_pull = 0
        with suppress(BusError):
            standing = await self.backlog.standing()
            if standing.undelivered:
                self._to_pull = standing.undelivered if await self._are_several() else 0
            elif standing.pulls and not self._inbox.asked:
                # The oldest, to be begun at once: so the order within a session stays.
                await self._give_back(self._turns.oldest(self._hands.count))

    async def _are_several(self) -> bool:
        """Whether several tenants have requests; the bus, which has to list them, is asked only
        when nothing here shows it.
        """
        here = self._hands.owners | self._turns.tenants
        return len(here) > 1 or len(await self.backlog.tenants()) > 1

    async def _give_back(self, found: list[Waiting[Line]]) -> None:
        for waiting in found:
            if not isinstance(waiting.work, Held):
                continue
            self._turns.drop(waiting.seq)
            if not waiting.work.lapsed(self.limits.ack_wait_s):
                await waiting.work.delivery.nak()

    async def _keep(self, waiting: Waiting[Line], held: Held) -> None:
        if self._turns.get(waiting.seq) is not held:
            return
        if held.lapsed(self.limits.ack_wait_s):
            log.warning("a request held ahead has lapsed", tenant=waiting.tenant, seq=waiting.seq)
            self._turns.drop(waiting.seq)
        else:
            await held.keep()
