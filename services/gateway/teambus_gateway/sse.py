"""Server-sent events: their lines, and the reply that carries them for as long as it is taken."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, TypeAlias

import structlog
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from teambus.contracts.frames import Frame

log = structlog.get_logger(__name__)

KEEP_ALIVE = b": keepalive\n\n"
CONNECTION = "teambus.connection"
"""The extension of a request's scope under which the server tells of its connection: `unsent()` is
how many bytes the client has not taken, and `cut()` ends it.
"""
CUT_S = 1
LINE_ENDS = {mark.encode(): b"\\u%04x" % ord(mark) for mark in ("\u0085", "\u2028", "\u2029")}
"""What JSON leaves as it is and many clients, AgentOS's own among them, take for ends of lines."""
HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]

Chunks: TypeAlias = AsyncGenerator[bytes, None]


def frame_lines(frame: Frame, *, indexed: bool) -> bytes:
    """One event of a run; `indexed`: its number stands in its data too."""
    data = bytes(frame.data)
    for mark, escaped in LINE_ENDS.items():
        data = data.replace(mark, escaped)
    if indexed:
        data = b'%s,"event_index":%d}' % (data[:-1], frame.event_index)
    return b"event: %s\nid: %d\ndata: %s\n\n" % (frame.event.encode(), frame.event_index, data)


def meta_lines(event: str, **fields: Any) -> bytes:
    """An event about the stream itself. It has no id: a client resumes after what the run said."""
    return f"event: {event}\ndata: {json.dumps({'event': event, **fields})}\n\n".encode()


class EventStream(Response):
    """Sends chunks as they come, starting with the first: until then a `Problem` may take the
    place of the whole reply. A client that leaves ends it; one that takes nothing for `stall_s`
    seconds is cut off.
    """

    def __init__(self, chunks: Chunks, *, stall_s: float) -> None:
        self.background = None
        self._chunks = chunks
        self._stall_s = stall_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = _Client(scope, send, self._stall_s)
        sending = asyncio.create_task(self._send_all(client), name="send a stream")
        leaving = asyncio.create_task(_until_left(receive), name="client of a stream")
        both = (sending, leaving)
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if sending.done() and not sending.result():
                client.cut()
                await asyncio.wait({leaving}, timeout=CUT_S)
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)

    async def _send_all(self, client: "_Client") -> bool:
        """Whether the client took all of it."""
        async with aclosing(self._chunks) as chunks:
            chunk = await anext(chunks, None)
            await client.take(_start())
            while chunk is not None:
                if not await client.take(_body(chunk, more=True)):
                    return False
                chunk = await anext(chunks, None)
            return await client.take(_body(b"", more=False))


class _Client:
    """The other side of one reply."""

    def __init__(self, scope: Scope, send: Send, stall_s: float) -> None:
        self._connection = scope.get("extensions", {}).get(CONNECTION)
        self._send = send
        self._stall_s = stall_s

    async def take(self, message: dict[str, Any]) -> bool:
        """Send; False when the client has taken nothing for too long of what was sent before.

        The server does not begin to send while that is so: sending may be given up and tried again.
        """
        while True:
            before = self._unsent()
            try:
                async with asyncio.timeout(self._stall_s):
                    await self._send(message)
                return True
            except TimeoutError:
                if self._unsent() >= before:
                    log.warning("a client takes nothing", waited_s=self._stall_s)
                    return False

    def cut(self) -> None:
        """What the client has not taken would keep the connection open, and is not waited for."""
        if self._connection is not None:
            self._connection["cut"]()

    def _unsent(self) -> int:
        return 0 if self._connection is None else int(self._connection["unsent"]())


def _start() -> dict[str, Any]:
    return {"type": "http.response.start", "status": 200, "headers": HEADERS}


def _body(chunk: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.response.body", "body": chunk, "more_body": more}


async def _until_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
