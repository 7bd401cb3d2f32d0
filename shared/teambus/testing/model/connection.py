"""One HTTP exchange: what was asked, its answer, noticing that the client has gone, breaking off.

Everything here is told in bytes written at once; only what has to let time pass is awaited.
"""

import asyncio
from collections.abc import Callable
from functools import lru_cache
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

from teambus.testing.model.wire import ApiError

JSON = b"content-type: application/json\r\n"
EVENT_STREAM = (
    b"content-type: text/event-stream\r\ncache-control: no-cache\r\ntransfer-encoding: chunked\r\n"
)
# Why a call has no answer.
CLIENT_GONE, STOPPED = "client gone", "stopped"
_STATUSES = frozenset(HTTPStatus)
_LAST_CHUNK = b"0\r\n\r\n"


class ClientGone(Exception):
    """The client closed the connection before it had its answer."""


class Request(NamedTuple):
    """What a client asked, whole. Of a body over the limit there is None."""

    method: bytes
    target: bytes
    headers: dict[bytes, bytes]
    body: bytes | None
    keep_alive: bool

    def header(self, name: bytes) -> bytes:
        """By its name in lower case; empty when it is not there."""
        for usual in (name, name.title()):
            if usual in self.headers:
                return self.headers[usual]
        return next((value for key, value in self.headers.items() if key.lower() == name), b"")

    @property
    def path(self) -> str:
        return unquote(self.target.partition(b"?")[0].decode("latin-1"))

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(self.target.partition(b"?")[2].decode("latin-1")))


NOTHING = Request(b"", b"", {}, b"", keep_alive=False)


class Reply(NamedTuple):
    """An answer that is there as a whole."""

    status: int
    body: bytes
    fields: bytes = JSON


def refusal(error: ApiError) -> Reply:
    fields = JSON
    if error.retry_after_s is not None:
        fields += f"retry-after: {error.retry_after_s:g}\r\n".encode()
    return Reply(error.status, error.body(), fields)


class Connection:
    """One client, and what it asks now. `when_over` is told once an answer is written."""

    __slots__ = ("_gone", "_later", "_pause", "_timer", "_transport", "_when_over", "request")

    def __init__(self, transport: asyncio.WriteTransport, when_over: Callable[[], None]) -> None:
        self.request = NOTHING
        self._transport = transport
        self._when_over = when_over
        self._gone = False
        self._pause: asyncio.Future[None] | None = None
        self._later: Callable[[str | None], None] | None = None

    def reply(self, reply: Reply) -> None:
        if reply.fields is EVENT_STREAM:
            self._start(reply, _chunk(reply.body) + _LAST_CHUNK)
        else:
            self._start(reply, reply.body)
        self._when_over()

    def call_after(self, seconds: float, later: Callable[[str | None], None]) -> None:
        """Without a task: most calls do nothing but wait once. `later` is told what cut that short,
        `CLIENT_GONE` or `STOPPED`, if something did.
        """
        self._later = later
        self._timer = asyncio.get_running_loop().call_later(seconds, self._call_now)

    async def reply_slowly(self, chunks: list[bytes], pause_s: float) -> None:
        """A stream with a pause before each chunk but the first."""
        await self._stream(chunks, pause_s)
        self._write(_LAST_CHUNK)
        self._when_over()

    async def break_off(self, reply: Reply) -> None:
        """Promise the whole body, send half of it, and close."""
        half = reply.body[: len(reply.body) // 2]
        self._start(reply, half)
        await self.drop()

    async def break_off_stream(self, chunks: list[bytes], pause_s: float) -> None:
        await self._stream(chunks[: len(chunks) // 2], pause_s)
        await self.drop()

    async def drop(self) -> None:
        """Close after what has been sent, with no proper end, and see it closed."""
        self.close()
        while not self._gone:
            await self._wait(None)

    def close(self) -> None:
        self._transport.close()

    def client_left(self) -> None:
        """For the server to say; whoever waits here hears of it."""
        self._gone = True
        self._wake()
        self._call_now(CLIENT_GONE)

    def stop(self) -> None:
        """The server ends, and with it what it is asked."""
        self._call_now(STOPPED)
        self.close()

    async def wait(self, seconds: float) -> None:
        """Let time pass, unless the client goes."""
        if not self._gone:
            await self._wait(seconds)
        if self._gone:
            raise ClientGone

    async def wait_for(self, event: asyncio.Event, seconds: float) -> bool:
        """Whether the event came in time. Raises when the client goes first."""
        coming = asyncio.create_task(event.wait())
        coming.add_done_callback(self._wake)
        try:
            await self.wait(seconds)
        except ClientGone:
            if not coming.done():
                raise
        finally:
            coming.remove_done_callback(self._wake)
            coming.cancel()
        return event.is_set()

    def _call_now(self, cut_short: str | None = None) -> None:
        later, self._later = self._later, None
        if later is None:
            return
        self._timer.cancel()
        try:
            later(cut_short)
        except BaseException:
            self.close()
            raise

    async def _wait(self, seconds: float | None) -> None:
        """Until woken, `seconds` at most."""
        loop = asyncio.get_running_loop()
        self._pause = loop.create_future()
        timer = None if seconds is None else loop.call_later(seconds, self._wake)
        try:
            await self._pause
        finally:
            self._pause = None
            if timer is not None:
                timer.cancel()

    def _wake(self, _: object = None) -> None:
        if self._pause is not None and not self._pause.done():
            self._pause.set_result(None)

    async def _stream(self, chunks: list[bytes], pause_s: float) -> None:
        first, *others = chunks if pause_s else [b"".join(chunks)]
        self._start(Reply(200, b"", EVENT_STREAM), _chunk(first))
        for chunk in others:
            await self.wait(pause_s)
            self._write(_chunk(chunk))

    def _start(self, reply: Reply, body: bytes) -> None:
        """All in one write, so that it goes as one packet where it can."""
        status, whole, fields = reply
        request = self.request
        head = _head(status, fields, request.keep_alive)
        if request.method == b"HEAD":
            body = b""
        if fields is EVENT_STREAM:
            self._write(b"%b\r\n%b" % (head, body))
        else:
            self._write(b"%bcontent-length: %d\r\n\r\n%b" % (head, len(whole), body))

    def _write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@lru_cache(maxsize=100)
def _head(status: int, fields: bytes, keep_alive: bool) -> bytes:
    reason = HTTPStatus(status).phrase if status in _STATUSES else ""
    connection = "keep-alive" if keep_alive else "close"
    return f"HTTP/1.1 {status} {reason}\r\nconnection: {connection}\r\n".encode() + fields
