"""A run that kills its runner, again and again: it is given up, and nobody else has to pay."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from teambus.bus import topology
from teambus.bus.bodies import Bodies
from teambus.bus.requests import Requests
from teambus.bus.sessions import Sessions
from teambus.contracts import subjects
from teambus.contracts.hook import DeadLetter
from teambus.contracts.journal import JournalEntry
from teambus.contracts.message import decode
from teambus.contracts.run import RunRequest
from teambus.domain.replay import read_past
from tests.support.system import System, system_of, until

APP = Path(__file__).parent / "apps" / "deadly.py"
ATTEMPTS_MAX = 3
DEATHS_IN_COMPANY = 1
BESIDE = [f"beside-{number}" for number in range(4)]
RULES: list[dict[str, Any]] = [
    {"match": "beside", "hold": "slow", "reply": "Well."},
    {"match": "", "reply": "Well."},
]


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    environment = {
        "TEAM_RUNNER_ATTEMPTS_MAX": str(ATTEMPTS_MAX),
        "TEAM_RUNNER_DEATHS_MAX": str(DEATHS_IN_COMPANY),
        "TEAM_RUNNER_ALONE_WAIT_S": "120",
    }
    async with system_of(APP, tmp_path, start=False, environment=environment) as system:
        await system.model.rules(RULES)
        await system.provision()
        await asyncio.gather(system.runner.start(), system.hook_runner.start())
        yield system


@asynccontextmanager
async def started_again(system: System) -> AsyncIterator[list[int]]:
    """Whenever the runner dies it is started again; the exit statuses so far."""
    deaths: list[int] = []

    async def go_on() -> None:
        while True:
            status = await system.runner.ended(wait_s=300)
            deaths.append(status)
            await system.runner.start()

    task = asyncio.create_task(go_on())
    try:
        yield deaths
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def submit(system: System, run_id: str, team: str, session_id: str | None = None) -> None:
    requests = Requests(system.bus, Bodies(system.bus), "test")
    request = RunRequest(run_id=run_id, input=f"please {run_id}", session_id=session_id)
    await requests.submit("default", team, request)


@pytest.mark.timeout(300)
async def test_a_run_that_kills_its_runner_is_given_up_and_nobody_else(system: System) -> None:
    for run_id in BESIDE:
        await submit(system, run_id, "calm-team")
    await system.model.wait_for_calls(len(BESIDE), timeout_s=30)
    async with started_again(system) as deaths:
        await submit(system, "kill", "deadly-team", "s")
        # Those it had died with are under way again, and now it dies only when they are done.
        await system.model.wait_for_calls((1 + DEATHS_IN_COMPANY) * len(BESIDE), timeout_s=120)
        await system.model.release("slow")
        end = await system.completed("kill", team="deadly-team", wait_s=120)
        for run_id in BESIDE:
            ended = await system.completed(run_id, team="calm-team", wait_s=60)
            assert (ended.output.status, ended.output.content) == ("COMPLETED", "Well.")
        await submit(system, "later", "deadly-team", "s")
        later = await system.completed("later", team="deadly-team", wait_s=60)
    assert (end.output.status, end.code) == ("ERROR", "attempts_used_up")
    assert deaths == [1] * ATTEMPTS_MAX
    assert later.output.status == "COMPLETED"
    record = (await Sessions(system.bus).read("default", "s")).record
    assert record.holder is None
    assert await until(lambda: is_empty(system), 30, "a request is left, and its quota with it")
    (letter,) = await letters(system)
    assert (letter.about, letter.run_id, letter.event) == ("run", "kill", end)
    heard = await system.hook_lines(len(BESIDE) + 2)
    assert sorted(heard) == sorted(
        ["kill ERROR", "later COMPLETED", *(f"{run_id} COMPLETED" for run_id in BESIDE)]
    )
    for run_id in BESIDE:
        assert await deaths_of(system, run_id) == DEATHS_IN_COMPANY


async def deaths_of(system: System, run_id: str) -> int:
    """Attempts that ended without a step, the one that made it not counted."""
    stored = await system.stored(topology.JOURNAL, subjects.journal("default", run_id))
    entries = [decode(JournalEntry, each.data) for each in stored]
    before_the_step = [
        entry
        for entry in entries
        if not any(type(r).__name__ == "ModelAnswered" for r in entry.records)
    ]
    return read_past(before_the_step).attempts - 1


async def letters(system: System) -> list[DeadLetter]:
    stored = await system.stored(topology.DEAD, f"{subjects.ROOT}.dead.>")
    return [decode(DeadLetter, message.data) for message in stored]


async def is_empty(system: System) -> bool:
    return await system.queued() == 0
