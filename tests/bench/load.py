"""A load generator light enough to share two cores with what it measures."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlencode

READ_S = 120


@dataclass(slots=True)
class Load:
    """What a round of requests gave: seconds each, and how long the round took."""

    times_s: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    took_s: float = 0

    @property
    def rate(self) -> float:
        return len(self.times_s) / self.took_s if self.took_s else 0

    def percentile_ms(self, share: float) -> float:
        ordered = sorted(self.times_s)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000


class Connection:
    """One HTTP/1.1 connection kept alive; answers must say their length or be chunked."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, form: dict[str, str]) -> tuple[int, bytes]:
        reader, writer = await self._open()
        body = urlencode(form).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nhost: bench\r\n"
            "content-type: application/x-www-form-urlencoded\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        async with asyncio.timeout(READ_S):
            return await self._read(reader)

    async def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address, limit=4 * 1024 * 1024)
        return self._streams

    async def _read(self, reader: asyncio.StreamReader) -> tuple[int, bytes]:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        status = int(head.split(" ", 2)[1])
        fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        if "content-length" in fields:
            return status, await reader.readexactly(int(fields["content-length"]))
        body = b""
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readexactly(2)
        return status, body


async def run_load(
    port: int, path: str, form: Callable[[int], dict[str, str]], *, count: int, concurrency: int
) -> Load:
    """Send `count` requests over `concurrency` connections, one after another on each."""
    load = Load()
    numbers = iter(range(count))

    async def one_connection() -> None:
        connection = Connection("127.0.0.1", port)
        for number in numbers:
            await _one(connection, path, form(number), load)
        await connection.close()

    began = time.perf_counter()
    await asyncio.gather(*(one_connection() for _ in range(concurrency)))
    load.took_s = time.perf_counter() - began
    return load


async def _one(connection: Connection, path: str, form: dict[str, str], load: Load) -> None:
    asked = time.perf_counter()
    try:
        status, body = await connection.post(path, form)
    except (OSError, EOFError, TimeoutError) as error:
        load.failures.append(repr(error))
        await connection.close()
        return
    load.times_s.append(time.perf_counter() - asked)
    if status != 200 or b'"ERROR"' in body[:2000]:
        load.failures.append(f"{status} {body[:200]!r}")
