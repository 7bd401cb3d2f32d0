"""Every process is replaced while clients ask without pause, and none of them loses anything."""

import asyncio
import signal
from pathlib import Path

import httpx2
import pytest

from tests.e2e.conftest import APPS
from tests.e2e.rolling_parts import EVERY_WAY, LAST, RUNS, Crowd, Pairs, pairs_of
from tests.support.processes import Process
from tests.support.sse import EventSource
from tests.support.system import System, system_of

pytestmark = pytest.mark.timeout(300)

SHORTER_THAN_A_RUN = {"GATEWAY_DRAIN_S": "0.4", "TEAM_RUNNER_DRAIN_S": "0.2"}
LONGER_THAN_THE_TEST_S = "3600"
CALLS_OF_A_RUN = 4


async def replace(process: Process, number: signal.Signals) -> None:
    process.signal(number)
    status = await process.ended()
    assert status == (0 if number == signal.SIGTERM else -number), process.tail()
    await process.start()


async def roll(pairs: Pairs, crowd: Crowd, number: signal.Signals, *, times: int) -> None:
    """Replace one of each service, then the other, while the crowd asks."""
    asking = [asyncio.create_task(crowd.ask(how)) for how in EVERY_WAY]
    for half in pairs.halves * times:
        await asyncio.gather(*(replace(process, number) for process in half))
    crowd.enough.set()
    await asyncio.gather(*asking)


async def uncut(system: System, run_id: str) -> list[str]:
    async with system.client.stream("GET", f"{RUNS}/{run_id}/events") as response:
        return [event.raw for event in await EventSource(response).rest()]


@pytest.mark.parametrize(
    ("number", "times", "ack_wait_s"),
    [(signal.SIGTERM, 2, LONGER_THAN_THE_TEST_S), (signal.SIGKILL, 1, "2")],
    ids=["twice", "by kill -9"],
)
async def test_a_rolling_restart_loses_nothing(
    tmp_path: Path, number: signal.Signals, times: int, ack_wait_s: str
) -> None:
    """Who is told to stop hands its work over; nobody waits until the bus takes it away."""
    settings = {**SHORTER_THAN_A_RUN, "TOPOLOGY_ACK_WAIT_S": ack_wait_s}
    async with system_of(
        APPS / "story.py", tmp_path, environment=settings, latency_ms=200, start=False
    ) as system:
        async with pairs_of(system) as pairs, httpx2.AsyncClient(timeout=60) as http:
            crowd = Crowd(system, pairs.urls, http)
            await roll(pairs, crowd, number, times=times)
            told = crowd.told
            assert told.wrong == []
            ends = [end.run_id for end in await system.every_completed()]
            assert sorted(ends) == sorted(told.runs)
            for run_id in told.runs:
                await system.hook_lines(1, containing=f"{run_id} COMPLETED", wait_s=30)
            for run_id, heard in told.streams.items():
                assert [event.raw for event in heard] == await uncut(system, run_id)
                assert [event.event for event in heard if event.event in LAST] == [heard[-1].event]
            calls = len(await system.model.calls())
    print(f"{len(told.runs)} runs, {calls - CALLS_OF_A_RUN * len(told.runs)} calls again,")
    print(f"{told.turned_away} answers that said to come again")
