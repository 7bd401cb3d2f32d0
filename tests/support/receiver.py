"""Stands in for whoever gets webhooks: a real HTTP server that answers as it is told to."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeAlias

from tests.support.system import until

Answer: TypeAlias = Callable[[asyncio.StreamWriter], Awaitable[None]]
TOLD_S = 40


@dataclass
class Told:
    """One request that came in."""

    head: str
    headers: dict[str, str]
    body: bytes


def plain(status: int, *headers: str, body: bytes = b"") -> Answer:
    """An answer that is whole."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status} Said", *headers, f"Content-Length: {len(body)}", "", ""]
        writer.write("\r\n".join(lines).encode() + body)
        await writer.drain()

    return answer


def raw(data: bytes) -> Answer:
    """These bytes, and then the connection ends."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return answer


def stalled(data: bytes = b"") -> Answer:
    """These bytes, and then nothing for ever."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        await asyncio.Event().wait()

    return answer


def endless(data: bytes) -> Answer:
    """The head, and then as much body as is taken."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        while True:
            writer.write(b"x" * 64 * 1024)
            await writer.drain()

    return answer


@dataclass
class Receiver:
    """Answers with the next of `answers`, then with 204."""

    answers: list[Answer] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    port: int = 0
    reads_bodies: bool = True
    scheme: str = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/told?token=hidden"

    async def until_told(self, count: int) -> list[Told]:
        async def enough() -> bool:
            return len(self.told) >= count

        await until(enough, TOLD_S, lambda: f"told {len(self.told)} times, not {count}")
        return self.told

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._exchange(reader, writer)
            writer.close()
        except (OSError, asyncio.IncompleteReadError):
            pass  # The sender has gone, which is its right.
        finally:
            if not writer.is_closing():
                writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        text = (await reader.readuntil(b"\r\n\r\n")).decode()
        head, *lines = text.strip().split("\r\n")
        headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
        size = int(headers["content-length"]) if self.reads_bodies else 0
        body = await reader.readexactly(size)
        self.told.append(Told(head, headers, body))
        answer = self.answers.pop(0) if self.answers else plain(204)
        await answer(writer)


@asynccontextmanager
async def receiving(
    *answers: Answer, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[Receiver]:
    receiver = Receiver(list(answers), scheme="https" if tls else "http")
    going: set[asyncio.Task[None]] = set()

    def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(receiver.serve(reader, writer))
        going.add(task)
        task.add_done_callback(going.discard)

    server = await asyncio.start_server(meet, host, 0, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for task in going:
            task.cancel()
        await asyncio.gather(*going, return_exceptions=True)
