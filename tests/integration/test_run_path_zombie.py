"""A runner that is stopped past its lease and wakes: real processes, watched from outside."""

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from teambus.bus import topology
from teambus.bus.bodies import Bodies
from teambus.bus.requests import Requests
from teambus.contracts.run import RunRequest
from tests.support.system import System, system_of, until

RECORDS = (topology.JOURNAL, topology.EVENTS, topology.SESSIONS, topology.DEAD)
APP = Path(__file__).parent.parent / "e2e" / "apps" / "story.py"


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[System]:
    """One runner, and another to be started."""
    longer_than_any_stall = {"TOPOLOGY_ACK_WAIT_S": "4"}
    async with system_of(APP, tmp_path, start=False, environment=longer_than_any_stall) as system:
        await system.provision()
        await system.runner.start()
        yield system


async def submit(pair: System, run_id: str) -> None:
    requests = Requests(pair.bus, Bodies(pair.bus), "test")
    request = RunRequest(
        run_id=run_id, input=f"question {run_id}", session_id=f"s-{run_id}", stream=True
    )
    await requests.submit("default", "content-team", request)


async def stopped_midway(pair: System, run_id: str) -> None:
    """A run with one call in flight, the others paid and journaled, and its runner stopped."""
    await submit(pair, run_id)
    await pair.model.wait_for_calls(3, timeout_s=30)

    async def has_journaled() -> bool:
        entries = await pair.stored(topology.JOURNAL, ">")
        return sum(entry.data.count(b'"record":"model"') for entry in entries) == 2

    await until(has_journaled, 20, pair.runner.tail)
    pair.runner.signal(signal.SIGSTOP)


async def written(pair: System) -> dict[str, int]:
    """How many messages each stream holds."""
    streams = (*RECORDS, topology.FRAMES)
    return {stream: len(await pair.stored(stream, ">")) for stream in streams}


async def woken(pair: System) -> None:
    """Wake the stopped runner; return once it has seen that it lost its run."""
    pair.runner.signal(signal.SIGCONT)

    async def has_seen() -> bool:
        return "lost the run to another runner" in pair.runner.tail(200)

    await until(has_seen, 20, pair.runner.tail)


async def test_a_zombie_writes_nothing_and_calls_no_model(pair: System) -> None:
    await pair.model.rules([{"match": "Give facts", "hold": "gate", "times": 1}])
    await stopped_midway(pair, "stopped")
    await pair.second_runner.start()
    end = await pair.completed("stopped", wait_s=30)
    assert end.output.status == "COMPLETED"
    await until(lambda: _is_empty(pair), 20, "the request is left")
    before, calls = await written(pair), len(await pair.model.calls())
    await pair.model.release("gate")
    await woken(pair)
    await submit(pair, "next")
    await pair.completed("next", wait_s=30)
    await until(lambda: _is_empty(pair), 20, "the request is left")
    after = await written(pair)
    for stream in (topology.JOURNAL, topology.FRAMES):
        of_next = [each for each in await pair.stored(stream, ">") if ".next" in each.subject]
        assert after[stream] - len(of_next) == before[stream]
    assert after[topology.EVENTS] == before[topology.EVENTS] + 1
    assert after[topology.DEAD] == 0
    paid = [each for each in await pair.model.calls() if "stopped" in each.last_content]
    assert len(await pair.model.calls()) == calls + 4, paid


async def test_a_zombie_does_not_disturb_the_holder_of_its_message(pair: System) -> None:
    await pair.model.rules([{"match": "Give facts", "hold": "gate"}])
    await stopped_midway(pair, "held")
    await pair.second_runner.start()
    await pair.model.wait_for_calls(4, timeout_s=30)
    before = await written(pair)
    await woken(pair)
    assert await written(pair) == before
    assert await pair.queued() == 1
    await pair.model.release("gate")
    assert (await pair.completed("held", wait_s=30)).output.status == "COMPLETED"
    past_calls = len(await pair.model.calls())
    assert past_calls == 5
    assert "lost the run" not in pair.second_runner.tail(200)


async def _is_empty(pair: System) -> bool:
    return await pair.queued() == 0
