"""One connection of a client, kept within limits that uvicorn does not know: how large the head of
a request may be, how long head and body may take to come, how many connections there may be.
"""

import asyncio
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import msgspec
import structlog
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from teambus_gateway.sse import CONNECTION

log = structlog.get_logger(__name__)

BODY_GRACE_S = 5
"""An endpoint that reads a body gives up itself, with an answer; this is for those that do not."""
STALL_GRACE_S = 2
"""A stream gives up such a client itself, and says so."""
HELD_BYTES_MAX = 64 * 1024
FLUSH_S = 5
"""What a connection that is closed gets to take its last answer."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The head of a request is its first line and its headers."""

    head_timeout_s: float = 10
    body_timeout_s: float = 30
    stall_s: float = 30
    head_bytes_max: int = 32 * 1024
    headers_max: int = 100
    connections_max: int = 10_000
    retry_after_s: int = 5


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer to what never became a request."""

    status: int
    detail: str
    code: str
    retry_after_s: int | None = None

    def reply(self) -> bytes:
        body = msgspec.json.encode({"detail": self.detail, "code": self.code})
        after = "" if self.retry_after_s is None else f"retry-after: {self.retry_after_s}\r\n"
        head = (
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
            f"x-content-type-options: nosniff\r\n{after}connection: close\r\n\r\n"
        )
        return STATUS_LINE[self.status] + head.encode() + body


class Outgoing:
    """A connection's transport that sends what is written in one turn of the loop in one go, as
    uvicorn writes the head and the body of each answer by themselves.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held: list[bytes] = []
        self._held_bytes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._held:
            self._loop.call_soon(self._go)
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes > HELD_BYTES_MAX:
            self._go()

    def close(self) -> None:
        self._go()
        self._transport.close()

    def abort(self) -> None:
        self._transport.abort()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def get_write_buffer_size(self) -> int:
        return self._held_bytes + self._transport.get_write_buffer_size()

    def _go(self) -> None:
        if self._held and not self._transport.is_closing():
            self._transport.write(b"".join(self._held))
        self._held.clear()
        self._held_bytes = 0


class _HeadTooLarge(Exception):
    """stops the parser"""


class Connection(HttpToolsProtocol):
    """Lets an endpoint see that its client takes nothing any more, and cut the connection."""

    limits: ClassVar[ConnectionLimits] = ConnectionLimits()

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._waiting: asyncio.TimerHandle | None = None
        """Until when the head or the body under way has to be there."""
        self._is_head = True
        self._head_bytes = 0
        self._fields_bytes = 0
        self._refusal: Refusal | None = None
        self._stalling: asyncio.TimerHandle | None = None

    def connection_made(  # type: ignore[override] # uvicorn's own way: it is always a Transport
        self, transport: asyncio.Transport
    ) -> None:
        limits = self.limits
        if len(self.connections) >= limits.connections_max:
            self.transport = transport
            log.warning("too many connections", connections_max=limits.connections_max)
            detail = f"{limits.connections_max} connections are open; try again later"
            self._refuse(Refusal(503, detail, "too_many_connections", limits.retry_after_s))
            return
        super().connection_made(transport)
        self.transport = cast(asyncio.Transport, Outgoing(transport, self.loop))
        self._wait(limits.head_timeout_s, self._head_is_late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        if self._stalling is not None:
            self._stalling.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        super().data_received(data)
        if self._waiting is None and not self._is_head:
            self._wait(self.limits.body_timeout_s + BODY_GRACE_S, self._body_is_late)
        elif self._waiting is None and self._head_bytes:
            self._wait(self.limits.head_timeout_s, self._head_is_late)
        if self._is_head and self._head_bytes > self.limits.head_bytes_max:
            self._refuse(self._too_large())

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._fields_bytes = 0
        connection = self.transport
        known: dict[object, object] = {
            "unsent": connection.get_write_buffer_size,
            "cut": connection.abort,
        }
        self.scope["extensions"] = {CONNECTION: known}

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._count(len(name) + len(value))

    def on_headers_complete(self) -> None:
        self._is_head = False
        self._stop_waiting()
        super().on_headers_complete()
        if self.parser.should_upgrade():
            # It is answered as if it had not asked for another protocol, and is the last.
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._is_head, self._head_bytes = True, 0
        self._stop_waiting()

    def send_400_response(self, msg: str) -> None:
        if self._refusal is None:
            super().send_400_response(msg)
        else:
            self._refuse(self._refusal)

    def _unsupported_upgrade_warning(self) -> None:
        log.debug("no other protocol is spoken here")

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self.loop.call_later(FLUSH_S, self.transport.abort)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_unsent(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalling is not None:
            self._stalling.cancel()

    def _watch_unsent(self, unsent: int) -> None:
        wait_s = self.limits.stall_s + STALL_GRACE_S
        self._stalling = self.loop.call_later(wait_s, self._cut_if_stalled, unsent)

    def _cut_if_stalled(self, unsent_before: int) -> None:
        unsent = self.transport.get_write_buffer_size()
        if unsent < unsent_before:
            self._watch_unsent(unsent)
            return
        log.warning("a client takes nothing", unsent_bytes=unsent)
        self.transport.abort()

    def _count(self, size: int) -> None:
        self._fields_bytes += size
        limits = self.limits
        if self._fields_bytes > limits.head_bytes_max or len(self.headers) > limits.headers_max:
            self._refusal = self._too_large()
            raise _HeadTooLarge

    def _too_large(self) -> Refusal:
        limits = self.limits
        detail = (
            f"the first line and the headers of a request are at most {limits.head_bytes_max} "
            f"bytes and {limits.headers_max} headers"
        )
        return Refusal(431, detail, "head_too_large")

    def _head_is_late(self) -> None:
        cycle: Any = self.cycle  # None before the first request, whatever uvicorn says.
        if cycle is not None and not cycle.response_complete:
            # The answer to the request before is not there yet, and is not to be cut off.
            self._wait(self.limits.head_timeout_s, self._head_is_late)
            return
        if not self._head_bytes:
            self.transport.abort()
            return
        log.info("a request's head comes too slowly", bytes=self._head_bytes)
        detail = f"the request's head did not arrive within {self.limits.head_timeout_s:g} s"
        self._refuse(Refusal(408, detail, "request_timeout"))

    def _body_is_late(self) -> None:
        log.info("a request's body comes too slowly")
        self.transport.abort()

    def _refuse(self, refusal: Refusal) -> None:
        if self.transport.is_closing():
            return
        self.transport.write(refusal.reply())
        self.transport.close()
        self.loop.call_later(FLUSH_S, self.transport.abort)

    def _wait(self, wait_s: float, late: Any) -> None:
        self._waiting = self.loop.call_later(wait_s, late)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None


def connection_within(limits: ConnectionLimits) -> type[Connection]:
    """What uvicorn makes for each client."""
    return type("LimitedConnection", (Connection,), {"limits": limits})
