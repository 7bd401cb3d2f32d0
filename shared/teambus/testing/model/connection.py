"""One HTTP exchange: read the request, answer it, notice that the client has gone, or break off."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl

from teambus.testing.model.wire import ApiError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = Iterable[tuple[bytes, bytes]]

BODY_BYTES_MAX = 64 * 1024 * 1024
# The ASGI extension by which the server lets the app close the connection without an answer.
CLOSE = "teambus.close"

JSON = (b"content-type", b"application/json")
EVENT_STREAM = ((b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache"))


class ClientGone(Exception):
    """The client closed the connection before it had its answer."""


class Connection:
    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self.method: str = scope["method"]
        self.path: str = scope["path"]

    @cached_property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self._scope["headers"])

    @cached_property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(self._scope["query_string"].decode("latin-1")))

    async def body(self) -> bytes:
        body, more = b"", True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            body += message["body"]
            more = message["more_body"]
            if len(body) > BODY_BYTES_MAX:
                raise ApiError(413, f"the request body is over {BODY_BYTES_MAX} bytes")
        return body

    async def reply(self, status: int, body: bytes, headers: Headers = (JSON,)) -> None:
        await self._start(status, [*headers, (b"content-length", b"%d" % len(body))])
        await self._send({"type": "http.response.body", "body": body})

    async def reply_error(self, error: ApiError) -> None:
        headers = [JSON]
        if error.retry_after_s is not None:
            headers.append((b"retry-after", f"{error.retry_after_s:g}".encode()))
        await self.reply(error.status, error.body(), headers)

    async def reply_stream(self, chunks: list[bytes], *, pause_s: float) -> None:
        await self._start(200, EVENT_STREAM)
        await self._send_chunks(chunks, pause_s)
        await self._send({"type": "http.response.body", "body": b""})

    async def break_off_reply(self, body: bytes) -> None:
        """Promise the whole body, send half of it, and close."""
        await self._start(200, [JSON, (b"content-length", b"%d" % len(body))])
        half = body[: len(body) // 2]
        await self._send({"type": "http.response.body", "body": half, "more_body": True})
        await self.drop()

    async def break_off_stream(self, chunks: list[bytes], *, pause_s: float) -> None:
        await self._start(200, EVENT_STREAM)
        await self._send_chunks(chunks[: len(chunks) // 2], pause_s)
        await self.drop()

    async def drop(self) -> None:
        """Close after what has been sent, with no proper end, and see it closed."""
        self.close()
        await self._gone()

    def close(self) -> None:
        self._scope["extensions"][CLOSE]["close"]()

    async def wait(self, seconds: float) -> None:
        """Let time pass, unless the client goes."""
        try:
            async with asyncio.timeout(seconds):
                await self._gone()
        except TimeoutError:
            return
        raise ClientGone

    async def wait_for(self, event: asyncio.Event, seconds: float) -> bool:
        """Whether the event came in time. Raises when the client goes first."""
        coming = asyncio.create_task(event.wait())
        going = asyncio.create_task(self._gone())
        try:
            await asyncio.wait((coming, going), timeout=seconds, return_when="FIRST_COMPLETED")
            if going.done() and not coming.done():
                raise ClientGone
            return coming.done()
        finally:
            coming.cancel()
            going.cancel()

    async def _start(self, status: int, headers: Headers) -> None:
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def _send_chunks(self, chunks: list[bytes], pause_s: float) -> None:
        if not pause_s:
            chunks = [b"".join(chunks)]
        for at, chunk in enumerate(chunks):
            if at:
                await self.wait(pause_s)
            await self._send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def _gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
