"""Reading streams over HTTP as a client does, event by event."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import msgspec

from tests.integration.frame_parts import Speaker
from tests.integration.gateway_parts import TEAM, Served, System

WITHIN_S = 10


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


@asynccontextmanager
async def streaming(
    gateway: Served, message: str = "Hello", *, key: str | None = None, **fields: str
) -> AsyncIterator[EventSource]:
    """Submit a run and read what is answered."""
    headers = {} if key is None else {"Idempotency-Key": key}
    form = {"message": message, **fields}
    asked = gateway.http.stream("POST", f"/teams/{TEAM.id}/runs", data=form, headers=headers)
    async with asked as response:
        yield EventSource(response)


@asynccontextmanager
async def resuming(
    gateway: Served, run_id: str, *, team: str = TEAM.id, **fields: str
) -> AsyncIterator[EventSource]:
    path = f"/teams/{team}/runs/{run_id}/resume"
    async with gateway.http.stream("POST", path, data=fields) as response:
        yield EventSource(response)


@asynccontextmanager
async def following(
    gateway: Served, run_id: str, last: int | None = None, **query: str
) -> AsyncIterator[EventSource]:
    """`GET …/events` as a browser asks after it was cut off."""
    headers = {} if last is None else {"Last-Event-ID": str(last)}
    path = f"/teams/{TEAM.id}/runs/{run_id}/events"
    async with gateway.http.stream("GET", path, params=query, headers=headers) as response:
        yield EventSource(response)


async def speaker_of(here: System, number: int = 0) -> Speaker:
    """Speaks for the run that the stand-in runner took."""
    await here.runner.until_taken(number + 1)
    request = here.runner.taken[number]
    assert request.stream
    assert request.session_id is not None
    return Speaker(here.bus, request.run_id, TEAM.id, request.session_id)


def numbers(events: list[SseEvent]) -> list[int | None]:
    return [event.id for event in events]
