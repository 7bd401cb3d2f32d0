"""A tap on the line between one process and its nats-server: it reads what is said, and can freeze
a run at an exact point, before or after something was said, until the process is killed or woken.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

LINE_BYTES_MAX = 1024 * 1024
WITH_BODY = (b"PUB", b"HPUB", b"MSG", b"HMSG")


@dataclass(frozen=True, slots=True)
class Frame:
    """One command of the protocol; `subject` is empty where there is none."""

    raw: bytes
    verb: bytes
    subject: str = ""
    reply: str = ""

    def says(self, subject: str, *texts: bytes) -> bool:
        return self.subject.startswith(subject) and all(text in self.raw for text in texts)


async def frames(reader: asyncio.StreamReader) -> AsyncIterator[Frame]:
    """What one side says, command by command."""
    while line := await reader.readline():
        words = line.split()
        verb = words[0].upper() if words else b""
        if verb not in WITH_BODY:
            yield Frame(line, verb)
            continue
        names = [word.decode() for word in words[1 : -2 if verb.startswith(b"H") else -1]]
        if "MSG" in verb.decode():
            del names[1]
        body = await reader.readexactly(int(words[-1]) + 2)
        yield Frame(line + body, verb, names[0], names[1] if len(names) > 1 else "")


@dataclass
class Point:
    """Where one run is frozen: before or after the process says what `at` recognises.

    From then on nothing of the run passes in either direction. `marks` tell its messages from all
    others; the first `skip` that `at` recognises pass. `request` is the sequence of its request,
    learnt when it is delivered.
    """

    at: Callable[[Frame], bool]
    side: Literal["before", "after"]
    marks: tuple[bytes, ...]
    skip: int = 0
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    _request: str = "none yet"
    _replies: set[str] = field(default_factory=set)
    _held: list[tuple[asyncio.StreamWriter, Frame]] = field(default_factory=list)

    def hears(self, frame: Frame, to: asyncio.StreamWriter) -> bool:
        """Whether what the server says is kept from the process."""
        if frame.subject in self._replies:
            self._replies.discard(frame.subject)
            return self._hold(frame, to)
        if frame.subject.startswith("teambus.v1.request.") and self._owns(frame):
            self._request = frame.reply.split(".")[5]
            if self.side == "before" and self.at(frame):
                return self._hold(frame, to)
            if self.at(frame):
                self.reached.set()
        return self.reached.is_set() and self._owns(frame) and self._hold(frame, to)

    def says(self, frame: Frame, to: asyncio.StreamWriter) -> bool:
        """Whether what the process says is kept from the server."""
        if not self._owns(frame):
            return False
        if self.reached.is_set():
            return self._hold(frame, to)
        if not self.at(frame):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.side == "before":
            return self._hold(frame, to)
        if frame.reply:
            self._replies.add(frame.reply)
        else:
            self.reached.set()
        return False

    def pass_on(self, *, lost: str) -> None:
        """Let everything go its way, in its order, but what is said under the subject `lost`."""
        self.marks, self._request = (), ""
        for writer, frame in self._held:
            if not (writer.is_closing() or frame.says(lost)):
                writer.write(frame.raw)
        self._held.clear()

    def _hold(self, frame: Frame, to: asyncio.StreamWriter) -> bool:
        self._held.append((to, frame))
        self.reached.set()
        return True

    def _owns(self, frame: Frame) -> bool:
        if frame.subject.startswith("$JS.ACK."):
            return frame.subject.split(".")[5] == self._request and b"+WPI" not in frame.raw
        return any(mark in frame.raw for mark in self.marks)


class Tap:
    """Passes commands both ways but those of frozen runs."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._pumps: set[asyncio.Task[None]] = set()
        self.points: list[Point] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(
            "127.0.0.1", self._target_port, limit=LINE_BYTES_MAX
        )
        for pump in (self._up(reader, there_writer), self._down(there_reader, writer)):
            task = asyncio.create_task(pump)
            self._pumps.add(task)
            task.add_done_callback(self._pumps.discard)

    async def close(self) -> None:
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._pump(reader, writer, lambda point, frame: point.says(frame, writer))

    async def _down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._pump(reader, writer, lambda point, frame: point.hears(frame, writer))

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        keeps: Callable[[Point, Frame], bool],
    ) -> None:
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                async for frame in frames(reader):
                    kept = [keeps(point, frame) for point in self.points]
                    if not any(kept):
                        writer.write(frame.raw)
                        await writer.drain()
        finally:
            writer.close()


@asynccontextmanager
async def tap_on(port: int) -> AsyncIterator[Tap]:
    tap = Tap(port)
    server = await asyncio.start_server(tap.accept, "127.0.0.1", 0, limit=LINE_BYTES_MAX)
    tap.port = server.sockets[0].getsockname()[1]
    try:
        yield tap
    finally:
        server.close()
        await tap.close()
