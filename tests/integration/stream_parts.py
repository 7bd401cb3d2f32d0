"""Reading streams over HTTP as a client does, event by event."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.integration.frame_parts import Speaker
from tests.integration.gateway_parts import TEAM, Served, System
from tests.support.sse import EventSource


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
