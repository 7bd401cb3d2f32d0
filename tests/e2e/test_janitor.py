"""What nobody serves ends, though the janitor dies; what everybody sees of it, by `doctor` too."""

import asyncio
import json
import os
import signal
import sys
import urllib.request
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from teambus.bus import topology
from teambus.bus.bodies import Bodies
from teambus.bus.leases import read_lease
from teambus.bus.requests import Requests
from teambus.contracts import subjects
from teambus.contracts.lease import JANITOR
from teambus.contracts.run import RunRequest
from tests.support.processes import Process
from tests.support.system import System, system_of, until

pytestmark = pytest.mark.timeout(180)

APP = Path(__file__).parent / "apps" / "story.py"
NOBODY = "nobody"
WAIT_S = 40
QUICK = {
    "TEAM_RUNNER_JANITOR_LEASE_S": "2",
    "TEAM_RUNNER_JANITOR_SWEEP_S": "0.3",
    "TEAM_RUNNER_JANITOR_ACTS_MAX": "5",
    "TEAM_RUNNER_UNSERVED_S": "3",
    "TEAM_RUNNER_LAG_AGE_MAX_S": "1",
}


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    async with system_of(APP, tmp_path, environment=QUICK, start=False) as made:
        await made.provision()
        yield made


async def ask_nobody(system: System, run_id: str) -> None:
    request = RunRequest(run_id=run_id, input="anybody there?", session_id=f"s-{run_id}")
    await Requests(system.bus, Bodies(system.bus), "test").submit("default", NOBODY, request)


async def janitor_is(system: System, process: Process) -> None:
    """Return once this process is the janitor."""
    await until(lambda: _is_janitor(system, process), WAIT_S, process.tail)


async def ended(system: System, run_id: str) -> None:
    """It ended once, as it should, and nothing is left of it."""
    end = await system.completed(run_id, team=NOBODY, wait_s=WAIT_S)
    assert (end.code, end.output.status) == ("unserved", "ERROR")

    async def is_empty() -> bool:
        return await system.queued() == 0

    await until(is_empty, WAIT_S, "the request is left")
    letters = await system.stored(topology.DEAD, f"{subjects.ROOT}.dead.*.run.{NOBODY}.*")
    assert sum(f'"run_id":"{run_id}"'.encode() in letter.data for letter in letters) >= 1
    assert len({letter.subject for letter in letters}) == len(letters)


async def doctor(system: System, *options: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "teambus", "doctor", *options),
        env={**os.environ, **system.environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def figures(process: Process) -> str:
    url = f"http://127.0.0.1:{process.facts['management_port']}/metrics"

    def read() -> bytes:
        with urllib.request.urlopen(url, timeout=10) as answer:
            found: bytes = answer.read()
            return found

    return (await asyncio.to_thread(read)).decode()


async def test_a_killed_janitor_is_followed_by_another_who_goes_on(system: System) -> None:
    await system.runner.start()
    await janitor_is(system, system.runner)
    await system.second_runner.start()
    await ask_nobody(system, "r-1")
    await system.runner.kill()
    await janitor_is(system, system.second_runner)
    await ended(system, "r-1")


async def test_janitors_killed_again_and_again_end_each_run_once(system: System) -> None:
    pair = [system.runner, system.second_runner]
    await asyncio.gather(*(each.start() for each in pair))
    runs = [f"r-{number}" for number in range(40)]
    for run_id in runs:
        await ask_nobody(system, run_id)
    for count in (1, 20):
        await until(partial(_are_ended, system, count), WAIT_S, "too few ended")
        janitor = pair[0] if await _is_janitor(system, pair[0]) else pair[1]
        await janitor.kill()
        await janitor.start()
    await ended(system, runs[-1])
    assert sorted(each.run_id for each in await system.every_completed()) == sorted(runs)
    assert len(await system.stored(topology.DEAD, ">")) == len(runs)


async def _are_ended(system: System, count: int) -> bool:
    return len(await system.stored(topology.EVENTS, ">")) >= count


async def _is_janitor(system: System, process: Process) -> bool:
    holder = (await read_lease(system.bus, JANITOR)).record.holder or ""
    return f"-{process.pid}-" in holder


async def test_a_stopped_janitor_that_wakes_does_no_harm(system: System) -> None:
    await system.runner.start()
    await janitor_is(system, system.runner)
    await system.second_runner.start()
    for number in range(20):
        await ask_nobody(system, f"r-{number}")
    system.runner.signal(signal.SIGSTOP)
    await janitor_is(system, system.second_runner)
    await ended(system, "r-0")
    await ask_nobody(system, "late")
    system.runner.signal(signal.SIGCONT)
    await ended(system, "late")
    await janitor_is(system, system.second_runner)
    completed = await system.every_completed()
    assert sorted(each.run_id for each in completed) == sorted(
        [*(f"r-{number}" for number in range(20)), "late"]
    )
    assert len(await system.stored(topology.DEAD, ">")) == 21


async def test_a_janitor_that_is_told_to_stop_leaves_the_lease_at_once(system: System) -> None:
    lasting = {"TEAM_RUNNER_JANITOR_LEASE_S": "600"}
    await system.runner.start(**lasting)
    await janitor_is(system, system.runner)
    assert await system.runner.stop() == 0
    await system.second_runner.start()
    await janitor_is(system, system.second_runner)


async def test_the_doctor_says_what_nobody_serves_and_what_became_of_it(system: System) -> None:
    patient = {"TEAM_RUNNER_UNSERVED_S": "600"}
    await system.runner.start(**patient)
    await janitor_is(system, system.runner)
    await asyncio.gather(system.gateway.start(), system.hook_runner.start())
    await system.run()
    code, said = await doctor(system)
    assert code == 0, said
    assert said.splitlines()[-1] == "nothing to mend"
    assert "served; 0 waiting, 0 in hand" in said
    await ask_nobody(system, "r-1")

    async def is_counted() -> bool:
        return "teambus_unserved_requests 1.0" in await figures(system.runner)

    await until(is_counted, WAIT_S, system.runner.tail)
    said = await figures(system.runner)
    assert "teambus_janitor 1.0" in said
    assert 'teambus_waiting{consumer="pool_story"} 0.0' in said
    assert 'teambus_waiting{consumer="note-run"} 0.0' in said
    assert "nobody serves these requests" in system.runner.tail(200)
    code, said = await doctor(system)
    assert code == 1
    assert "nobody of tenant default: 1 request, the oldest for" in said
    await system.runner.kill()
    await system.runner.start()
    await ended(system, "r-1")
    code, said = await doctor(system, "--json")
    assert code == 0, said
    letters = [each for each in found(said) if each["about"] == "dead letters"]
    assert [(each["level"], each["says"]) for each in letters] == [("note", "1 of run nobody")]


def found(said: str) -> list[dict[str, Any]]:
    findings: list[dict[str, Any]] = json.loads(said)["findings"]
    return findings
