"""One connection that speaks HTTP/1.1 to a provider, one exchange at a time.

Separate from the connections it is kept among: here is met whatever a provider may send.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import cast

import httpx2
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from teambus_team_runner.models.wire import UnreadableAnswer

HEAD_BYTES_MAX = 64 * 1024
HELD_BYTES_MAX = 256 * 1024

_FRAMING = {"content-length", "transfer-encoding"}


class Disconnected(ConnectionError):
    """The connection closed before the answer was whole."""


class NotHttp(ConnectionError):
    """What came is no answer in HTTP/1.1, or has a head without end."""


def post_head(url: httpx2.URL, headers: Mapping[str, str]) -> bytes:
    """A POST up to the number of its body's bytes, which alone differs from call to call."""
    given = {name.lower(): value for name, value in headers.items()}
    fields = {"host": url.netloc.decode(), **given}
    lines = [f"POST {url.raw_path.decode()} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in fields.items() if name not in _FRAMING]
    return "\r\n".join([*lines, "content-length: "]).encode()


class Connection(asyncio.Protocol):
    """Sends a request, then gives its answer whole or as it comes.

    An answer holds at most `bytes_max`. While the reader of a stream lags, at most about
    `HELD_BYTES_MAX` of it wait here and no more is taken from the provider.

    Names without an underscore beginning with `on_` are the parser's.
    """

    def __init__(self, bytes_max: int) -> None:
        self.idle_since = 0.0
        self._loop = asyncio.get_running_loop()
        self._bytes_max = bytes_max
        self._headers: dict[bytes, bytes] = {}
        self.on_header = self._headers.__setitem__
        self._parser = HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._paused = False
        self._begin()
        self._ended = True

    def _begin(self) -> None:
        self.status = 0
        self._headers.clear()
        self._chunks: list[bytes] = []
        self._size = self._held = self._fruitless = 0
        self._whole = self._ended = self._keeps_alive = False
        self._failure: Exception | None = None

    @property
    def reusable(self) -> bool:
        """Whether the last answer came whole, nothing is under way, and neither side is closing."""
        return (
            self._keeps_alive
            and not self._paused
            and not self._transport.is_closing()
            and not self._transport.get_write_buffer_size()
        )

    @property
    def headers(self) -> dict[str, str]:
        """The answer's, with names in lower case."""
        return {
            name.decode("latin-1").lower(): value.decode("latin-1")
            for name, value in self._headers.items()
        }

    def send(self, request: bytes) -> None:
        """Begin an exchange."""
        # Nobody would tell of a close that came before: the answer would be awaited for ever.
        if self._transport.is_closing():
            raise Disconnected
        self._begin()
        self._transport.write(request)

    async def head(self) -> int:
        """The status, as soon as it is known."""
        while not (self.status or self._ended):
            await self._change()
        if not self.status:
            raise self._failure or Disconnected
        return self.status

    async def whole(self) -> bytes:
        """The rest of the body."""
        self._whole = True
        self._resume()
        while not self._ended:
            await self._change()
        if self._failure is not None:
            raise self._failure
        chunks, self._chunks = self._chunks, []
        return b"".join(chunks)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes."""
        while self._chunks or not self._ended:
            if not self._chunks:
                await self._change()
                continue
            chunks, self._chunks, self._held = self._chunks, [], 0
            self._resume()
            yield b"".join(chunks)
        if self._failure is not None:
            raise self._failure

    def abort(self) -> None:
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._fruitless += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._fail(NotHttp(str(error)))
        if self._fruitless > HEAD_BYTES_MAX:
            self._fail(NotHttp(f"{HEAD_BYTES_MAX} bytes of head or trailer"))

    def eof_received(self) -> None:
        if not self._ended and self.status and not self._is_framed():
            self._end()  # A body that gives no length lasts until the connection closes.

    def connection_lost(self, error: Exception | None) -> None:
        if error is None:
            self.eof_received()
        if not self._ended:
            self._failure = Disconnected()
            self._failure.__cause__ = error
            self._end()

    def on_message_begin(self) -> None:
        # Raising stops the parser, so that what nobody asked for cannot pass for the next answer.
        if self._ended:
            raise NotHttp("more than the answer")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            self._headers.clear()
            return
        self.status = status
        self._fruitless = 0
        self._wake()

    def on_body(self, data: bytes) -> None:
        if self._ended:
            return
        self._fruitless = 0
        self._size += len(data)
        if self._size > self._bytes_max:
            self._fail(UnreadableAnswer(f"it is larger than {self._bytes_max} bytes"))
            return
        self._chunks.append(data)
        self._held += len(data)
        if self._held > HELD_BYTES_MAX and not (self._whole or self._paused):
            self._transport.pause_reading()
            self._paused = True
        self._wake()

    def on_message_complete(self) -> None:
        if self.status and not self._ended:
            self._keeps_alive = self._parser.should_keep_alive()
            self._end()

    def _is_framed(self) -> bool:
        return not _FRAMING.isdisjoint(self.headers)

    def _fail(self, error: Exception) -> None:
        self._transport.abort()
        if not self._ended:
            self._failure = error
            self._end()

    def _end(self) -> None:
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        """Let the reader go on, if there is anything for it."""
        if self._waiter is None or self._waiter.done() or (self._whole and not self._ended):
            return
        self._waiter.set_result(None)

    async def _change(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
