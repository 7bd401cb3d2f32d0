"""Streams under load: how soon the first event comes, how many runs a second, what an open one
costs in memory.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlencode

import psutil

READ_S = 120
LINE_BYTES_MAX = 4 * 1024 * 1024
LAST_EVENTS = (b"event: TeamRunCompleted", b"event: TeamRunError", b"event: TeamRunCancelled")


@dataclass(slots=True)
class StreamLoad:
    """What a round of streams gave: seconds to the first event and to the end of each."""

    first_s: list[float] = field(default_factory=list)
    whole_s: list[float] = field(default_factory=list)
    events: list[int] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    took_s: float = 0

    @property
    def rate(self) -> float:
        return len(self.whole_s) / self.took_s if self.took_s else 0


async def run_streams(
    port: int, path: str, form: Callable[[int], dict[str, str]], *, count: int, concurrency: int
) -> StreamLoad:
    """Stream `count` runs, `concurrency` at once, each over a connection of its own."""
    load = StreamLoad()
    numbers = iter(range(count))

    async def one_after_another() -> None:
        for number in numbers:
            await _one(port, path, {**form(number), "stream": "true"}, load)

    began = time.perf_counter()
    await asyncio.gather(*(one_after_another() for _ in range(concurrency)))
    load.took_s = time.perf_counter() - began
    return load


async def memory_of_open(
    port: int, path: str, form: Callable[[int], dict[str, str]], *, pid: int, count: int
) -> float:
    """KiB of memory that one open stream costs the gateway, of `count` that are open at once."""
    process = psutil.Process(pid)
    before = process.memory_info().rss
    forms = [{**form(number), "stream": "true"} for number in range(count)]
    opened = [await _open(port, path, each) for each in forms]
    for reader, _ in opened:
        async with asyncio.timeout(READ_S):
            await reader.readuntil(b"data: ")
    during = process.memory_info().rss
    for reader, writer in opened:
        async with asyncio.timeout(READ_S):
            await reader.read(-1)
        writer.close()
    return (during - before) / count / 1024


async def _one(port: int, path: str, form: dict[str, str], load: StreamLoad) -> None:
    asked = time.perf_counter()
    try:
        reader, writer = await _open(port, path, form)
        async with asyncio.timeout(READ_S):
            await reader.readuntil(b"data: ")
            first_s = time.perf_counter() - asked
            body = await reader.read(-1)
    except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError) as error:
        load.failures.append(repr(error))
        return
    writer.close()
    load.first_s.append(first_s)
    load.whole_s.append(time.perf_counter() - asked)
    load.events.append(1 + body.count(b"\ndata: "))
    if not any(last in body for last in LAST_EVENTS[:1]):
        load.failures.append(f"no end: {body[-200:]!r}")


async def _open(
    port: int, path: str, form: dict[str, str]
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=LINE_BYTES_MAX)
    body = urlencode(form).encode()
    writer.write(b"\r\n".join([*_head(path, len(body)), b"", body]))
    return reader, writer


def _head(path: str, length: int) -> Iterator[bytes]:
    yield f"POST {path} HTTP/1.1".encode()
    yield b"host: bench"
    yield b"connection: close"
    yield b"content-type: application/x-www-form-urlencoded"
    yield f"content-length: {length}".encode()
