"""A run is cancelled from any gateway, whatever it is doing, and ends exactly once."""

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from teambus.testing.model.calls import ScriptedCall
from tests.e2e.conftest import APPS
from tests.support.processes import Process
from tests.support.system import System, free_port, system_of, until

RUNS, AT_ONCE = 50, 8
CALLS_OF_A_RUN = 4


@dataclass
class Desk:
    """The whole system with a second gateway, which no run is submitted to."""

    system: System
    other: httpx2.AsyncClient

    async def cancel(self, run_id: str) -> None:
        answer = await self.other.post(f"/teams/content-team/runs/{run_id}/cancel")
        assert (answer.status_code, answer.content) == (200, b"{}"), answer.text

    async def calls_of(self, run_id: str) -> list[ScriptedCall]:
        asked = question(run_id)
        return [each for each in await self.system.model.calls() if asked in each.last_content]

    def submit(self, run_id: str, **form: str) -> "asyncio.Task[httpx2.Response]":
        return asyncio.create_task(self.system.post(question(run_id), run_id=run_id, **form))


def question(run_id: str) -> str:
    return f"Question ({run_id})"


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with system_of(APPS / "cancels.py", tmp_path, latency_ms=30) as system:
        port = free_port()
        gateway = Process(
            "teambus_gateway",
            {**system.environment, "GATEWAY_PORT": str(port)},
            tmp_path / "other-gateway.log",
        )
        await gateway.start()
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as other:
            try:
                yield Desk(system, other)
            finally:
                await gateway.close()


async def output_of(posted: "asyncio.Task[httpx2.Response]") -> dict[str, Any]:
    answer = await posted
    assert answer.status_code == 200, answer.text
    output: dict[str, Any] = answer.json()
    return output


async def test_fifty_runs_cancelled_at_random_moments_end_once_and_pay_nothing_after(
    desk: Desk,
) -> None:
    seed = int(os.environ.get("CANCEL_SEED", time.time_ns() % 1_000_000))
    print(f"CANCEL_SEED={seed}")
    chance = random.Random(seed)
    await desk.system.second_runner.start()
    began = time.monotonic()
    await desk.system.run(question("whole"))
    whole_s = time.monotonic() - began

    few = asyncio.Semaphore(AT_ONCE)

    async def cancelled(run_id: str, session_id: str, after_s: float) -> dict[str, Any]:
        async with few:
            posted = desk.submit(run_id, session_id=session_id)
            await asyncio.sleep(after_s)
            await desk.cancel(run_id)
            return await output_of(posted)

    names = [f"run-{number:02}" for number in range(RUNS)]
    # Of some sessions several runs are asked for, so that they wait for each other.
    sessions = {name: f"session-{chance.randrange(AT_ONCE)}" for name in names}
    moments = {name: chance.uniform(0, 1.5 * whole_s) for name in names}
    outputs = await asyncio.gather(*(cancelled(n, sessions[n], moments[n]) for n in names))
    await until(lambda: nothing_is_queued(desk), 30, "requests are left")

    ends = Counter(event.run_id for event in await desk.system.every_completed())
    assert {name: ends[name] for name in names} == dict.fromkeys(names, 1), seed
    statuses = {output["run_id"]: output["status"] for output in outputs}
    print(Counter(statuses.values()))
    assert set(statuses.values()) <= {"CANCELLED", "COMPLETED"}, seed
    assert "CANCELLED" in statuses.values(), seed
    for name in names:
        event = await desk.system.completed(name)
        assert event.output.status == statuses[name]
        # A call hung up on before a busy server came to read it was made before.
        late = [
            call
            for call in await desk.calls_of(name)
            if call.at > event.completed_at and call.outcome != "client gone"
        ]
        assert late == [], (seed, name, event.completed_at)
        polled = await desk.other.get(
            f"/teams/content-team/runs/{name}", params={"session_id": sessions[name]}
        )
        assert polled.json()["status"] == statuses[name]
    lines = await desk.system.hook_lines(RUNS + 1)
    heard = {line.split()[1]: line.split()[0] for line in lines}
    expected = {n: "mourn" if statuses[n] == "CANCELLED" else "cheer" for n in names}
    assert {name: heard[name] for name in names} == expected
    assert len(lines) == RUNS + 1


async def nothing_is_queued(desk: Desk) -> bool:
    return await desk.system.queued() == 0


async def test_a_run_not_taken_yet_is_cancelled_when_it_is(desk: Desk) -> None:
    await desk.system.runner.kill()
    posted = desk.submit("queued")
    await until(lambda: one_is_queued(desk), 20, "nothing is queued")
    await desk.cancel("queued")
    await desk.system.runner.start()
    output = await output_of(posted)
    assert (output["status"], output["cancellation_stage"]) == ("CANCELLED", "PENDING")
    assert output["content"] == "Run queued was cancelled"
    assert await desk.calls_of("queued") == []
    assert await desk.system.hook_lines(1) == ["mourn queued CANCELLED PENDING"]


async def one_is_queued(desk: Desk) -> bool:
    return await desk.system.queued() == 1


async def test_a_runner_killed_before_it_heard_the_order_leaves_the_run_cancelled(
    desk: Desk,
) -> None:
    await desk.system.model.rules([{"match": "Edit prose", "hold": "gate"}])
    posted = desk.submit("orphan", session_id="s-orphan")
    await desk.system.model.wait_for_calls(3, timeout_s=20)
    await until(lambda: scout_is_journaled(desk), 20, "the scout's answer was not journaled")
    desk.system.runner.signal(signal.SIGSTOP)
    await desk.cancel("orphan")
    await desk.system.second_runner.start()
    await desk.system.runner.kill()
    output = await output_of(posted)
    assert (output["status"], output["cancellation_stage"]) == ("CANCELLED", "EXECUTING")
    members = {each["agent_id"]: each["status"] for each in output["member_responses"]}
    assert members == {"scout": "COMPLETED", "editor": "CANCELLED"}
    assert len(await desk.system.model.calls()) == CALLS_OF_A_RUN - 1
    assert len(await desk.system.every_completed()) == 1
    assert await desk.system.hook_lines(1) == ["mourn orphan CANCELLED EXECUTING"]


async def scout_is_journaled(desk: Desk) -> bool:
    stored = await desk.system.stored("TEAMBUS_JOURNAL", "teambus.v1.journal.*.*.*")
    return sum(message.data.count(b'"record":"model"') for message in stored) >= 2


async def test_the_model_call_in_flight_is_hung_up_on(desk: Desk) -> None:
    await desk.system.model.rules([{"match": "", "hang": True}])
    posted = desk.submit("hung")
    await desk.system.model.wait_for_calls(1, timeout_s=20)
    await desk.cancel("hung")
    (call,) = await desk.system.model.wait_for_ended(1, timeout_s=20)
    assert call.outcome == "client gone"
    assert (await output_of(posted))["status"] == "CANCELLED"


async def test_a_cancel_before_the_run_is_asked_for_holds_over_a_restart_of_everything(
    desk: Desk,
) -> None:
    await desk.cancel("later")
    await desk.system.runner.kill()
    await desk.system.nats.kill()
    await desk.system.nats.start()
    await desk.system.runner.start()

    async def answered() -> dict[str, Any] | None:
        answer = await desk.system.post(question("later"), run_id="later")
        return answer.json() if answer.status_code == 200 else None

    output = await until(answered, 30, "never answered")
    assert output is not None
    assert (output["status"], output["cancellation_stage"]) == ("CANCELLED", "PENDING")
    assert await desk.system.model.calls() == []
