"""Orders to cancel runs: they stay on the bus, and each runner remembers them all.

So taking a run costs no look at the bus for an order that is hardly ever there.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TypeAlias

import nats.errors
import structlog
from nats.aio.msg import Msg

from teambus.bus import reads
from teambus.bus.connection import Bus
from teambus.bus.errors import BusError, BusUnavailable
from teambus.bus.publish import Publication, publish
from teambus.bus.topology import CONTROL
from teambus.contracts import headers as names
from teambus.contracts import subjects
from teambus.contracts.control import CancelRun
from teambus.contracts.ids import RunId, TeamId, Tenant, new_id
from teambus.contracts.message import MalformedMessage, decode, encode

log = structlog.get_logger(__name__)

REASON_CHARS_MAX = 1000
"""Of a longer reason only this much is remembered."""
ORDERS = f"{subjects.ROOT}.control.>"

Tell: TypeAlias = Callable[[str | None], None]
"""Told the reason of an order, once or more often."""


async def order_cancel(bus: Bus, order: CancelRun, *, source: str) -> None:
    """Put an order on the bus, where it outlives everybody; the newest replaces older ones.

    Raises `StreamFull`, `BusRefused` or, the outcome unknown, `BusUnavailable`.
    """
    nonce = new_id()
    headers = names.cloud_event(nonce, "run.cancel.v1", source)
    subject = subjects.control(order.tenant, order.team_id, order.run_id)
    await publish(bus, Publication(subject, encode(order), nonce, headers=headers))


async def order_for(bus: Bus, tenant: Tenant, team_id: TeamId, run_id: RunId) -> CancelRun | None:
    """The order to cancel a run, if there is one that can be read, as the stream's leader knows."""
    stored = await reads.last(bus, CONTROL, subjects.control(tenant, team_id, run_id))
    try:
        return None if stored is None else decode(CancelRun, stored.data)
    except MalformedMessage:
        return None


@dataclass(frozen=True, slots=True)
class WatchLimits:
    """`orders_max` bounds the memory, at about 400 bytes and a reason each: of older ones the bus
    is asked, run by run. `look_s`: how often what was not heard is looked for.
    """

    orders_max: int = 20_000
    look_s: float = 2


@dataclass(frozen=True, slots=True)
class _Order:
    seq: int
    reason: str | None


class CancelWatch:
    """Every order on the bus, by the run it is about.

    Orders are heard as they are committed; what was missed is read from the stream's leader, in
    order: at the start, after a lost connection, and every `look_s`. What the stream has let go
    by age is forgotten here too.
    """

    def __init__(self, bus: Bus, limits: WatchLimits) -> None:
        self._bus = bus
        self._limits = limits
        self._orders: dict[str, _Order] = {}
        self._told: dict[str, Tell] = {}
        self._first_seq = 0
        self._read_to = 0
        self._forgotten_to = 0
        self._outages = 0
        self._current = asyncio.Event()
        self._wake = asyncio.Event()

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Know all orders before the block begins, and hear of new ones while it runs."""
        heard = await self._bus.client.subscribe(subjects.cancel_signals(), cb=self._hear)
        self._bus.reconnect_listeners.add(self._on_reconnect)
        try:
            await self._bus.barrier()
            await self._catch_up()
            following = asyncio.create_task(self._follow(), name="follow the cancels")
            try:
                yield
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
        finally:
            self._bus.reconnect_listeners.discard(self._on_reconnect)
            with suppress(nats.errors.Error):
                await heard.unsubscribe()

    def listen(self, tenant: Tenant, team_id: TeamId, run_id: RunId, tell: Tell) -> None:
        """Tell of an order for this run, at once if there is one, until `ignore`."""
        subject = subjects.control(tenant, team_id, run_id)
        self._told[subject] = tell
        if (order := self._orders.get(subject)) is not None:
            tell(order.reason)

    def ignore(self, tenant: Tenant, team_id: TeamId, run_id: RunId) -> None:
        self._told.pop(subjects.control(tenant, team_id, run_id), None)

    async def check(self, tenant: Tenant, team_id: TeamId, run_id: RunId) -> None:
        """Return once whoever listens for this run was told of all that was ordered before.

        After an outage that waits until what was missed is read; raises `BusUnavailable` when
        that is not so in time.
        """
        await self._until_current()
        subject = subjects.control(tenant, team_id, run_id)
        is_all_known = self._forgotten_to == 0 or self._first_seq > self._forgotten_to
        if is_all_known or subject in self._orders:
            return
        if (stored := await reads.last(self._bus, CONTROL, subject)) is not None:
            self._note(stored.subject, stored.seq, stored.data)

    async def _until_current(self) -> None:
        limit_s = self._bus.settings.publish_patience_s
        try:
            async with asyncio.timeout(limit_s):
                await self._current.wait()
        except TimeoutError as error:
            raise BusUnavailable(f"the cancels could not be read within {limit_s:g} s") from error

    async def _hear(self, message: Msg) -> None:
        headers = message.headers or {}
        subject, seq = headers.get("Nats-Subject"), int(headers.get("Nats-Sequence", 0))
        if subject is None:
            return
        self._note(subject, seq, message.data)
        if seq == self._read_to + 1:
            self._read_to = seq

    def _on_reconnect(self) -> None:
        self._outages += 1
        self._current.clear()
        self._wake.set()

    async def _follow(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._limits.look_s):
                    await self._wake.wait()
            self._wake.clear()
            await self._try_to_catch_up()

    async def _try_to_catch_up(self) -> None:
        try:
            await self._catch_up()
        except BusError as error:
            log.warning("could not look for cancels", why=str(error))

    async def _catch_up(self) -> None:
        outages = self._outages
        reach = await reads.bounds(self._bus, CONTROL)
        if reach.last_seq < self._read_to:
            self._begin_anew()
        self._forget_before(reach.first_seq)
        start = max(self._read_to + 1, reach.first_seq)
        if (newest := reach.last_seq - self._limits.orders_max + 1) > start:
            self._forgotten_to = newest - 1
            start = newest
        if start <= reach.last_seq:
            await self._read(start, reach.last_seq)
        if outages == self._outages:
            self._current.set()

    async def _read(self, start: int, until: int) -> None:
        stored = reads.history(
            self._bus,
            CONTROL,
            ORDERS,
            start=start,
            until=until,
            messages_max=self._limits.orders_max,
        )
        async for message in stored:
            self._note(message.subject, message.seq, message.data)
        self._read_to = max(self._read_to, until)

    def _begin_anew(self) -> None:
        """The stream is not the one that was read: the bus was set up anew."""
        log.warning("the cancels on the bus begin anew")
        self._orders.clear()
        self._read_to = self._forgotten_to = 0

    def _forget_before(self, first_seq: int) -> None:
        self._first_seq = first_seq
        while self._orders and (oldest := next(iter(self._orders.items())))[1].seq < first_seq:
            del self._orders[oldest[0]]

    def _note(self, subject: str, seq: int, data: bytes) -> None:
        known = self._orders.get(subject)
        if known is not None and known.seq >= seq:
            return
        try:
            reason = decode(CancelRun, data).reason
        except MalformedMessage as error:
            log.warning("an order that cannot be read is ignored", subject=subject, why=str(error))
            return
        self._remember(subject, _Order(seq, reason and reason[:REASON_CHARS_MAX]))

    def _remember(self, subject: str, order: _Order) -> None:
        self._orders.pop(subject, None)
        self._orders[subject] = order
        if len(self._orders) > self._limits.orders_max:
            oldest = next(iter(self._orders))
            self._forgotten_to = max(self._forgotten_to, self._orders.pop(oldest).seq)
        if (tell := self._told.get(subject)) is not None:
            tell(order.reason)
