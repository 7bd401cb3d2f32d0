"""A provider that says byte for byte what a test tells it to, right or wrong."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Self

WAIT_S = 10


class Line:
    """One connection that a client opened."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def asked(self) -> bytes:
        """One request, as it came."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head.lower())
        return head + await self.reader.readexactly(int(length[1]) if length else 0)

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def gone(self) -> None:
        """Wait for the client to close."""
        async with asyncio.timeout(WAIT_S):
            with suppress(ConnectionError):
                while await self.reader.read(65536):
                    pass


Script = Callable[[Line], Awaitable[object]]


@dataclass
class Provider:
    """Follows its script on each connection, then closes it."""

    script: Script
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    scheme: str = "http"
    port: int = 0

    @property
    def base_url(self) -> str:
        return f"{self.scheme}://localhost:{self.port}/v1"

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await self.script(Line(reader, writer))
        finally:
            writer.close()

    @classmethod
    def answering(cls, *answers: bytes) -> Self:
        """Gives these answers in turn, on whatever connection, and the last from then on."""
        left = list(answers)

        async def script(line: Line) -> None:
            while True:
                provider.requests.append(await line.asked())
                await line.say(left.pop(0) if len(left) > 1 else left[0])

        provider = cls(script)
        return provider


@asynccontextmanager
async def serving(
    provider: Provider | Script, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Provider]:
    provider = provider if isinstance(provider, Provider) else Provider(provider)
    lines: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = asyncio.create_task(provider.accept(reader, writer))
        lines.add(line)
        line.add_done_callback(lines.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    provider.port = server.sockets[0].getsockname()[1]
    provider.scheme = "https" if tls else "http"
    try:
        yield provider
    finally:
        server.close()
        for line in tuple(lines):
            line.cancel()
        await asyncio.gather(*lines, return_exceptions=True)


def answer(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    head = [b"HTTP/1.1 " + status, *headers, b"content-length: %d" % len(body)]
    return b"\r\n".join([*head, b"", body])


def chunked(*parts: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    sizes = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    return b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + sizes + end
