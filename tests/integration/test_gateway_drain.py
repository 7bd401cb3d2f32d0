"""A gateway that is told to stop: who is inside is answered, who comes is sent elsewhere."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import msgspec

from teambus.bus.api import NobodyAnswers, Reply, ask
from teambus.contracts import subjects
from tests.integration.gateway_parts import Served, system
from tests.support.system import until

RUNS = "/teams/content-team/runs"
WAIT = subjects.api("default", "run.wait")


@asynccontextmanager
async def draining(gateway: Served) -> AsyncIterator[None]:
    """The gateway was told to stop, and has heard it."""
    gateway.stop.set()
    async with asyncio.timeout(20):
        await gateway.parts.door.shut.wait()
    yield


async def wait_on_the_bus(gateway: Served, run_id: str) -> Reply:
    question = msgspec.json.encode({"team_id": "content-team", "run_id": run_id, "timeout_s": 60})
    return await ask(gateway.bus, WAIT, question, wait_s=30)


async def nobody_answers(gateway: Served) -> bool:
    try:
        reply = await wait_on_the_bus(gateway, "unknown")
    except NobodyAnswers:
        return True
    assert reply.error_code == "503"
    return False


async def inside(gateway: Served, count: int) -> None:
    async def enough() -> bool:
        return gateway.parts.door.inside >= count

    await until(enough, 20, f"fewer than {count} are inside")


async def test_what_comes_to_a_stopping_gateway_is_told_to_ask_again(tmp_path: Path) -> None:
    async with system(tmp_path, go=False) as here, here.gateway() as gateway:
        asking = asyncio.create_task(gateway.post())
        await here.runner.until_taken(1)
        async with draining(gateway), httpx2.AsyncClient(base_url=gateway.url) as other:
            form = {"message": "x" * 100_000, "stream": "false"}
            known, new = await gateway.post(), await other.post(RUNS, data=form)
            here.runner.go.set()
            assert (await asking).status_code == 200
        await gateway.serving
    for refused in (known, new):
        assert (refused.status_code, refused.json()["code"]) == (503, "stopping")
        assert int(refused.headers["retry-after"]) > 0
        assert refused.headers["connection"] == "close"
    assert len(here.runner.taken) == 1


async def test_a_browser_may_read_that_a_gateway_is_stopping(tmp_path: Path) -> None:
    async with system(tmp_path, go=False) as here, here.gateway() as gateway:
        asking = asyncio.create_task(gateway.post())
        await here.runner.until_taken(1)
        async with draining(gateway):
            headers = {"origin": "http://localhost:3000"}
            refused = await gateway.http.get("/teams", headers=headers)
            here.runner.go.set()
            await asking
    assert refused.status_code == 503
    assert refused.headers["access-control-allow-origin"] == "http://localhost:3000"


async def test_with_nobody_inside_a_gateway_stops_at_once(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway(drain_s=3600.0) as gateway:
        assert (await gateway.post()).status_code == 200
        gateway.stop.set()
        async with asyncio.timeout(30):
            await gateway.serving


async def test_a_request_that_is_not_whole_when_the_drain_is_over_is_told_to_ask_again(
    tmp_path: Path,
) -> None:
    async with system(tmp_path) as here, here.gateway(drain_s=0.3) as gateway:
        address = gateway.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(*address)
        head = f"POST {RUNS} HTTP/1.1\r\nhost: here\r\ncontent-length: 100\r\n"
        writer.write(f"{head}content-type: application/x-www-form-urlencoded\r\n\r\n".encode())
        await inside(gateway, 1)
        gateway.stop.set()
        async with asyncio.timeout(30):
            answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        writer.close()
    assert answer.startswith("http/1.1 503")
    assert "retry-after:" in answer


async def test_questions_on_the_bus_go_to_gateways_that_stay(tmp_path: Path) -> None:
    async with system(tmp_path, go=False) as here, here.gateway() as gateway:
        asking = asyncio.create_task(gateway.post())
        await here.runner.until_taken(1)
        async with here.gateway() as other, draining(gateway):
            run_id = here.runner.taken[0].run_id
            waits = [asyncio.create_task(wait_on_the_bus(other, run_id)) for _ in range(20)]
            here.runner.go.set()
            replies = await asyncio.gather(*waits)
        await asking
    # One may meet the door before the gateway is out of the queue; it is told so.
    assert [reply.error_code for reply in replies if reply.error_code not in (None, "503")] == []
    assert [reply for reply in replies if reply.error_code is None]


async def test_who_waits_on_the_bus_when_the_drain_is_over_is_told_to_ask_again(
    tmp_path: Path,
) -> None:
    async with system(tmp_path, go=False) as here, here.gateway(drain_s=0.3) as gateway:
        asking = asyncio.create_task(gateway.post())
        await here.runner.until_taken(1)
        waiting = asyncio.create_task(wait_on_the_bus(gateway, here.runner.taken[0].run_id))
        await inside(gateway, 2)
        gateway.stop.set()
        reply = await waiting
        await asking
    assert (reply.error_code, msgspec.json.decode(reply.data)["code"]) == ("503", "draining")


async def test_a_gateway_that_stopped_takes_no_questions(tmp_path: Path) -> None:
    async with system(tmp_path, go=False) as here, here.gateway() as gateway:
        asking = asyncio.create_task(gateway.post())
        await here.runner.until_taken(1)
        async with draining(gateway):
            await until(lambda: nobody_answers(gateway), 20, "it takes questions")
            here.runner.go.set()
            assert (await asking).status_code == 200
