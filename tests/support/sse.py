"""Reading a stream of server-sent events as a client does, event by event."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import httpx2
import msgspec

WITHIN_S = 20


@dataclass
class SseEvent:
    """One event; a comment has no name. `lines` are the names of its lines in their order."""

    event: str = ""
    id: int | None = None
    data: dict[str, Any] = field(default_factory=dict)
    raw: str = ""
    lines: list[str] = field(default_factory=list)

    @property
    def is_comment(self) -> bool:
        return self.lines == [""]

    def add(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        self.lines.append(name)
        if name == "event":
            self.event = value
        elif name == "id":
            self.id = int(value)
        elif name == "data":
            self.raw = value
            self.data = msgspec.json.decode(value)


class EventSource:
    """An open stream."""

    def __init__(self, response: httpx2.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()

    async def next(self, *, comments: bool = False) -> SseEvent | None:
        """The next event, None when the stream has ended."""
        async with asyncio.timeout(WITHIN_S):
            while (event := await self._next()) is not None:
                if comments or not event.is_comment:
                    return event
        return None

    async def take(self, count: int) -> list[SseEvent]:
        taken = [await self.next() for _ in range(count)]
        assert None not in taken, taken
        return [event for event in taken if event is not None]

    async def rest(self) -> list[SseEvent]:
        """Everything up to the end of the stream, without comments."""
        events: list[SseEvent] = []
        while (event := await self.next()) is not None:
            events.append(event)
        return events

    async def _next(self) -> SseEvent | None:
        event = SseEvent()
        async for line in self._lines:
            if not line:
                return event
            event.add(line)
        return None


def numbers(events: list[SseEvent]) -> list[int | None]:
    return [event.id for event in events]
