"""HTTP/1.1 as a client of the model server speaks it: requests are read whole, one at a time.

Made for costing little: it shares two cores with what it serves.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from teambus.testing.model.connection import NOTHING, Connection, Request, refusal
from teambus.testing.model.wire import ApiError

# What a connection asks: answered when the call returns, or else by what is to be awaited.
App = Callable[[Connection], Coroutine[Any, Any, None] | None]


@dataclass(frozen=True, slots=True)
class Limits:
    # Longer than the client pools under test keep theirs, so that none meets a closing connection.
    idle_s: float = 300
    head_bytes_max: int = 64 * 1024
    body_bytes_max: int = 64 * 1024 * 1024


@dataclass(slots=True)
class House:
    """What all connections share, and who is in: so that a stop can reach them."""

    app: App
    limits: Limits = field(default_factory=Limits)
    clients: set["HttpProtocol"] = field(default_factory=set)
    answers: set[asyncio.Task[None]] = field(default_factory=set)

    def protocol(self) -> "HttpProtocol":
        return HttpProtocol(self)

    async def close(self, patience_s: float) -> None:
        """Stop every answer under way, then let go of every client."""
        for answer in self.answers:
            answer.cancel()
        if self.answers:
            await asyncio.wait(self.answers, timeout=patience_s)
        for client in tuple(self.clients):
            client.close()


class HttpProtocol(asyncio.Protocol):
    """One client. Requests that it sends before it has its answer wait their turn."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._loop = asyncio.get_running_loop()
        self._asked: deque[Request] = deque()
        self._busy = False
        self._heard_at = self._loop.time()
        self._reading: Literal["", "head", "body", "rest of body"] = ""
        self._head_bytes = 0
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._body_bytes = 0
        # Called for each header: this costs a quarter of what a method would.
        self.on_header = self._headers.__setitem__
        self._parser = HttpRequestParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._connection = Connection(self._transport, self._over)
        self._house.clients.add(self)
        self._clock = self._loop.call_later(self._house.limits.idle_s, self._close_if_idle)

    def connection_lost(self, exc: Exception | None) -> None:
        self._house.clients.discard(self)
        self._clock.cancel()
        self._asked.clear()
        self._connection.client_left()

    def data_received(self, data: bytes) -> None:
        self._heard_at = self._loop.time()
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self._refuse(ApiError(400, "this is not an HTTP/1.1 request"))
            return
        if self._reading:
            self._read_on(len(data))
        if self._asked:
            self._answer_next()

    def close(self) -> None:
        self._connection.stop()

    def on_message_begin(self) -> None:
        self._reading = "head"

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_headers_complete(self) -> None:
        self._reading = "body"

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._body_bytes <= self._house.limits.body_bytes_max:
            self._body.append(body)
        else:
            self._body.clear()

    def on_message_complete(self) -> None:
        parser = self._parser
        cut = self._body_bytes > self._house.limits.body_bytes_max
        self._asked.append(
            Request(
                parser.get_method(),
                self._target,
                self._headers.copy(),
                None if cut else b"".join(self._body),
                parser.should_keep_alive(),
            )
        )
        self._reading = ""
        self._head_bytes = self._body_bytes = 0
        self._target = b""
        self._headers.clear()
        self._body.clear()

    def _read_on(self, size: int) -> None:
        """What came did not end with the end of a request."""
        if self._reading == "head":
            self._limit_head(size)
        elif self._reading == "body":
            self._reading = "rest of body"
            if b"expect" in map(bytes.lower, self._headers) and not (self._busy or self._asked):
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _answer_next(self) -> None:
        if self._busy:
            self._transport.pause_reading()
            return
        if self._transport.is_closing():
            return
        self._busy = True
        connection = self._connection
        connection.request = request = self._asked.popleft()
        if request.body is None:
            most = self._house.limits.body_bytes_max
            connection.reply(refusal(ApiError(413, f"the request body is over {most} bytes")))
        elif later := self._house.app(connection):
            task = asyncio.create_task(self._see_through(later))
            self._house.answers.add(task)
            task.add_done_callback(self._house.answers.discard)

    async def _see_through(self, answer: Coroutine[Any, Any, None]) -> None:
        """A client whose answer came to nothing must see that."""
        try:
            await answer
        except BaseException:
            self._transport.close()
            raise

    def _over(self) -> None:
        self._busy = False
        if not self._connection.request.keep_alive:
            self._transport.close()
        elif self._asked:
            self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        if self._asked and not self._busy:
            self._answer_next()
        if not (self._asked or self._transport.is_closing()):
            self._transport.resume_reading()

    def _limit_head(self, size: int) -> None:
        self._head_bytes += size
        most = self._house.limits.head_bytes_max
        if self._head_bytes > most:
            self._refuse(ApiError(431, f"the request's head is over {most} bytes"))

    def _refuse(self, error: ApiError) -> None:
        """What comes after this cannot be read, so the connection ends with it."""
        if not (self._busy or self._asked):
            self._connection.request = NOTHING
            self._connection.reply(refusal(error))
        self._transport.close()

    def _close_if_idle(self) -> None:
        """A client that has said nothing for so long, and is owed nothing, is let go."""
        limit_s = self._house.limits.idle_s
        left_s = limit_s if self._busy else self._heard_at + limit_s - self._loop.time()
        if left_s > 0:
            self._clock = self._loop.call_later(left_s, self._close_if_idle)
        else:
            self._transport.close()
