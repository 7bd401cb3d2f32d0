"""Pulling work from a durable consumer, never more than there are free hands."""

import asyncio
import time
from collections import deque
from functools import partial
from typing import Literal, Self

import msgspec
import structlog
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from teambus.bus.connection import Bus
from teambus.bus.errors import BusUnavailable
from teambus.bus.leaving import leave

log = structlog.get_logger(__name__)

SILENT_BEATS_MAX = 2.5
ORDINARY_ENDS = ("404", "408")


class Delivery:
    """One message handed to this process until it acknowledges, gives back or falls silent.

    Acknowledging is not awaited: a lost acknowledgement brings the message again. Without a
    connection nothing is said: said later, it would be about whoever holds the message then.
    """

    __slots__ = ("_bus", "_reply", "arrived_at", "attempt", "data", "headers", "seq", "subject")

    def __init__(self, bus: Bus, message: Msg) -> None:
        self._bus = bus
        self._reply = message.reply
        self.subject = message.subject
        self.data = message.data
        self.headers: dict[str, str] = message.headers or {}
        self.attempt, self.seq = _counts(message.reply)
        self.arrived_at = time.monotonic()

    @property
    def stored_at(self) -> float:
        """When the bus took the message, in seconds since 1970 by its clock."""
        parts = self._reply.split(".")
        return int(parts[_first(parts) + 5]) / 1e9

    async def ack(self) -> None:
        await self._answer(b"+ACK")

    async def nak(self, delay_s: float = 0) -> None:
        """Give it back, to be delivered again after `delay_s`."""
        body = b"-NAK" if delay_s <= 0 else b'-NAK {"delay": %d}' % int(delay_s * 1e9)
        await self._answer(body)

    async def term(self, reason: str) -> None:
        await self._answer(b"+TERM " + reason.encode()[:200])

    async def in_progress(self) -> bool:
        """Start its `ack_wait` anew; False when there is no connection to say it on."""
        return await self._answer(b"+WPI")

    async def _answer(self, body: bytes) -> bool:
        if not self._bus.connected:
            return False
        await self._bus.client.publish(self._reply, body)
        return True


def _counts(reply: str) -> tuple[int, int]:
    """Delivery count and stream sequence from an acknowledgement subject, old form or new."""
    parts = reply.split(".")
    first = _first(parts)
    return int(parts[first + 2]), int(parts[first + 3])


def _first(parts: list[str]) -> int:
    return 4 if len(parts) >= 11 else 2


class Inbox:
    """A durable consumer's messages. Use as a context; `close` is idempotent.

    Pulls are kept open at the server; one that falls silent, ended in trouble, or was open when
    the connection was lost, is given up and asked again under a new reply subject. Whatever
    arrives where nobody waits for it any more is given back at once. With `linger_s` the first
    message waits so long for more of those that were asked for.
    """

    def __init__(
        self,
        bus: Bus,
        stream: str,
        consumer: str,
        *,
        expires_s: float = 5,
        heartbeat_s: float = 1,
        trouble_pause_s: float = 1,
        linger_s: float = 0,
    ) -> None:
        self._bus = bus
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._expires_s = expires_s
        self._heartbeat_s = heartbeat_s
        self._trouble_pause_s = trouble_pause_s
        self._linger_s = linger_s
        self._arrived: deque[Delivery] = deque()
        self._asked = 0
        self._pulls = 0
        self._reply = ""
        self._subscription: Subscription | None = None
        self._wake = asyncio.Event()
        self._heard_at = 0.0
        self._stale = True
        self._taking = True
        self._going_back: set[asyncio.Task[None]] = set()
        self._trouble: str | None = None
        self._ask_after = 0.0

    async def __aenter__(self) -> Self:
        self._bus.reconnect_listeners.add(self._on_reconnect)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def asked(self) -> int:
        """How many messages the server may yet send."""
        return self._asked

    async def fetch(
        self, count: int, stop: asyncio.Event, *, stored_only: bool = False
    ) -> list[Delivery]:
        """Wait for work, for a heartbeat at most; [] when there is none or `stop` is set. With
        `stored_only` the server is asked for what it has, and not to wait for more.

        Raises `BusUnavailable` when the connection is closed for good.
        """
        assert count >= 1, count
        if self._bus.client.is_closed:
            raise BusUnavailable("the connection to the bus is closed")
        self._taking = True
        if self._may_ask():
            await self._keep_asked(count, stored_only=stored_only)
        if not self._arrived:
            await self._wait(stop, self._heartbeat_s)
            if self._linger_s and self._arrived and self._asked:
                await self._wait(stop, self._linger_s)
        return [self._arrived.popleft() for _ in range(min(count, len(self._arrived)))]

    async def hold_off(self) -> None:
        """Give back what arrives from now on until the next `fetch`."""
        self._taking = False
        while self._arrived:
            await self._arrived.popleft().nak()

    async def close(self) -> None:
        """Stop pulling; what arrived and was not fetched goes back at once."""
        self._bus.reconnect_listeners.discard(self._on_reconnect)
        self._taking = False
        await self._drop_subscription()
        await self.hold_off()
        await asyncio.gather(*self._going_back, return_exceptions=True)

    async def _keep_asked(self, count: int, *, stored_only: bool) -> None:
        if self._silent():
            self._stale = True
            self._bus.unanswered("pull")
        if not self._bus.connected:
            return
        if self._stale:
            await self._renew()
        wanted = count - self._asked - len(self._arrived)
        # Asked for one by one, every message would cost a question.
        if wanted > 0 and (stored_only or wanted >= self._asked):
            await self._ask(wanted, stored_only=stored_only)

    def _may_ask(self) -> bool:
        ready = self._bus.connected and not self._bus.full
        return ready and time.monotonic() >= self._ask_after

    async def _wait(self, stop: asyncio.Event, wait_s: float) -> None:
        self._wake.clear()
        stopping = asyncio.ensure_future(stop.wait())
        stopping.add_done_callback(self._on_stop)
        timer = asyncio.get_running_loop().call_later(wait_s, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            timer.cancel()
            stopping.cancel()

    async def _ask(self, batch: int, *, stored_only: bool) -> None:
        self._pulls += 1
        self._asked += batch
        if self._asked == batch:
            self._heard_at = time.monotonic()
        wait = {
            "expires": int(self._expires_s * 1e9),
            "idle_heartbeat": int(self._heartbeat_s * 1e9),
        }
        body = {"batch": batch, **({"no_wait": True} if stored_only else wait)}
        reply = f"{self._reply}.{self._pulls}"
        await self._bus.client.publish(self._next, msgspec.json.encode(body), reply=reply)

    def _on_message(self, inbox: str, message: Msg) -> None:
        status = (message.headers or {}).get("Status")
        if status is None:
            self._arrive(Delivery(self._bus, message), expected=inbox == self._reply)
        elif inbox == self._reply:
            self._on_status(message, status)

    def _arrive(self, delivery: Delivery, *, expected: bool) -> None:
        if expected:
            self._heard_at = time.monotonic()
            self._asked = max(0, self._asked - 1)
        if not (expected and self._taking):
            giving_back = asyncio.create_task(delivery.nak(), name="give back")
            self._going_back.add(giving_back)
            giving_back.add_done_callback(self._going_back.discard)
            return
        self._trouble = None
        self._arrived.append(delivery)
        if len(self._arrived) == 1 or not self._asked:
            self._wake.set()

    def _on_status(self, message: Msg, status: str) -> None:
        self._heard_at = time.monotonic()
        headers = message.headers or {}
        if status == "100":
            self._bus.answered("pull")
            self._trouble = None
        elif status in ORDINARY_ENDS:
            pending = int(headers.get("Nats-Pending-Messages", self._asked))
            self._asked = max(0, self._asked - pending)
            self._wake.set()
        else:
            self._on_trouble((headers.get("Description") or "").strip() or f"status {status}")

    def _on_trouble(self, why: str) -> None:
        """The consumer moved, went or is not there yet: ask anew, after a pause, saying it once."""
        if why != self._trouble:
            log.warning("pull ended", consumer=self._next, why=why)
        self._trouble = why
        self._stale = True
        self._bus.unanswered("pull")
        self._ask_after = time.monotonic() + self._trouble_pause_s

    def _silent(self) -> bool:
        silent_s = time.monotonic() - self._heard_at
        return self._asked > 0 and silent_s > SILENT_BEATS_MAX * self._heartbeat_s

    def _on_reconnect(self) -> None:
        self._stale = True
        self._wake.set()

    def _on_stop(self, stopping: asyncio.Future[Literal[True]]) -> None:
        if not stopping.cancelled():
            self._wake.set()

    async def _renew(self) -> None:
        """A new reply subject: the server stops sending to the old one and sends elsewhere."""
        self._reply = self._bus.client.new_inbox()
        await self._drop_subscription()
        self._asked = 0
        self._stale = False
        self._subscription = await self._bus.client.listen(
            f"{self._reply}.*", partial(self._on_message, self._reply)
        )

    async def _drop_subscription(self) -> None:
        """Unsubscribe, hearing out what is on its way; unheard it would wait out its `ack_wait`."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            await leave(self._bus, subscription)
