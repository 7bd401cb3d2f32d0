"""Pulling work from a durable consumer, never more than there are free hands."""

import asyncio
from collections import deque
from typing import Self

import msgspec
import structlog
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from teambus.bus.connection import Bus

log = structlog.get_logger(__name__)

SILENT_BEATS_MAX = 2.5


class Delivery:
    """One message handed to this process until it acknowledges, gives back or falls silent.

    Acknowledging is not awaited: a lost acknowledgement brings the message again.
    """

    __slots__ = ("_bus", "_reply", "attempt", "data", "headers", "seq", "subject")

    def __init__(self, bus: Bus, message: Msg) -> None:
        self._bus = bus
        self._reply = message.reply
        self.subject = message.subject
        self.data = message.data
        self.headers = dict(message.headers or {})
        self.attempt, self.seq = _counts(message.reply)

    async def ack(self) -> None:
        await self._answer(b"+ACK")

    async def nak(self, delay_s: float = 0) -> None:
        """Give it back, to be delivered again after `delay_s`."""
        body = b"-NAK" if delay_s <= 0 else b'-NAK {"delay": %d}' % int(delay_s * 1e9)
        await self._answer(body)

    async def term(self, reason: str) -> None:
        await self._answer(b"+TERM " + reason.encode()[:200])

    async def in_progress(self) -> None:
        """Start its `ack_wait` anew."""
        await self._answer(b"+WPI")

    async def _answer(self, body: bytes) -> None:
        if not self._bus.client.is_closed:
            await self._bus.client.publish(self._reply, body)


def _counts(reply: str) -> tuple[int, int]:
    """Delivery count and stream sequence from an acknowledgement subject, old form or new."""
    parts = reply.split(".")
    first = 4 if len(parts) >= 11 else 2
    return int(parts[first + 2]), int(parts[first + 3])


class Inbox:
    """A durable consumer's messages. Use as a context; `close` is idempotent.

    Pulls are kept open at the server; one that falls silent, or was open when the connection
    was lost, is given up and asked again under a new reply subject.
    """

    def __init__(
        self,
        bus: Bus,
        stream: str,
        consumer: str,
        *,
        expires_s: float = 5,
        heartbeat_s: float = 1,
    ) -> None:
        self._bus = bus
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._expires_s = expires_s
        self._heartbeat_s = heartbeat_s
        self._arrived: deque[Msg] = deque()
        self._asked = 0
        self._pulls = 0
        self._reply = ""
        self._subscription: Subscription | None = None
        self._wake = asyncio.Event()
        self._heard_at = 0.0
        self._stale = True

    async def __aenter__(self) -> Self:
        self._bus.reconnect_listeners.add(self._on_reconnect)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def fetch(self, count: int, stop: asyncio.Event) -> list[Delivery]:
        """Wait for work, for `expires_s` at most; [] when there is none or `stop` is set."""
        assert count >= 1, count
        if self._stale or self._silent():
            await self._renew()
        wanted = count - self._asked - len(self._arrived)
        if wanted > 0:
            await self._ask(wanted)
        if not self._arrived:
            await self._wait(stop)
        taken = [self._arrived.popleft() for _ in range(min(count, len(self._arrived)))]
        return [Delivery(self._bus, message) for message in taken]

    async def close(self) -> None:
        """Stop pulling; what arrived unasked-for goes back at once."""
        self._bus.reconnect_listeners.discard(self._on_reconnect)
        await self._drop_subscription()
        while self._arrived:
            await Delivery(self._bus, self._arrived.popleft()).nak()

    async def _wait(self, stop: asyncio.Event) -> None:
        self._wake.clear()
        stopping = asyncio.ensure_future(stop.wait())
        waking = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait(
                {stopping, waking},
                timeout=self._heartbeat_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            stopping.cancel()
            waking.cancel()

    async def _ask(self, batch: int) -> None:
        self._pulls += 1
        self._asked += batch
        if self._asked == batch:
            self._heard_at = asyncio.get_running_loop().time()
        body = {
            "batch": batch,
            "expires": int(self._expires_s * 1e9),
            "idle_heartbeat": int(self._heartbeat_s * 1e9),
        }
        reply = f"{self._reply}.{self._pulls}"
        await self._bus.client.publish(self._next, msgspec.json.encode(body), reply=reply)

    async def _on_message(self, message: Msg) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        status = (message.headers or {}).get("Status")
        if status is None:
            self._asked = max(0, self._asked - 1)
            self._arrived.append(message)
            self._wake.set()
        elif status != "100":
            self._on_pull_ended(message, status)

    def _on_pull_ended(self, message: Msg, status: str) -> None:
        headers = message.headers or {}
        self._asked = max(0, self._asked - int(headers.get("Nats-Pending-Messages", self._asked)))
        if status not in ("404", "408"):
            log.warning("pull ended", consumer=self._next, why=headers.get("Description"))
        self._wake.set()

    def _silent(self) -> bool:
        patience_s = SILENT_BEATS_MAX * self._heartbeat_s
        silent_s = asyncio.get_running_loop().time() - self._heard_at
        return self._asked > 0 and silent_s > patience_s

    def _on_reconnect(self) -> None:
        self._stale = True
        self._wake.set()

    async def _renew(self) -> None:
        """A new reply subject: the server stops sending to the old one and sends elsewhere."""
        await self._drop_subscription()
        self._reply = self._bus.client.new_inbox()
        self._asked = 0
        self._stale = False
        self._subscription = await self._bus.client.subscribe(
            f"{self._reply}.*", cb=self._on_message
        )

    async def _drop_subscription(self) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None and not self._bus.client.is_closed:
            await subscription.unsubscribe()
