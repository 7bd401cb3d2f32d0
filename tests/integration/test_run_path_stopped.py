"""A runner stopped before and after every step, past its lease, and woken when others were done."""

import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from teambus.bus import reads, topology
from teambus.bus.bodies import Bodies
from teambus.bus.requests import Requests
from teambus.contracts import subjects
from teambus.contracts.run import RunRequest
from tests.integration.death_parts import CASES, GATE, Stage, Staged, staged

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

STREAMS = (
    topology.REQUESTS,
    topology.EVENTS,
    topology.JOURNAL,
    topology.FRAMES,
    topology.SESSIONS,
    topology.CONTROL,
    topology.HOOKS,
    topology.DEAD,
)
DATABASES = ("paying", "locked")


@dataclass
class Seen:
    """All that a runner may write or cause."""

    streams: dict[str, int]
    databases: dict[str, list[str]]
    model_calls: int
    tool_calls: str
    heard: str


@dataclass
class Woken:
    """What there was before the stopped runner woke, and after it had its hands empty again."""

    stage: Stage
    before: Seen
    after: Seen
    exit_status: int


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def woken(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Woken]:
    # As in production, a runner stopped past its lease is stopped past the patience of its frames.
    environment = {"TEAM_RUNNER_FRAMES_PATIENCE_S": "1", "TEAM_RUNNER_DRAIN_S": "30"}
    async with staged(tmp_path_factory.mktemp("death"), environment) as stage:
        system = stage.system
        system.runner.signal(signal.SIGSTOP)
        stage.lock.execute("ROLLBACK")
        await system.second_runner.start()
        await stage.ended()
        await goes_on(stage)
        before = await seen(stage)
        await system.model.release(GATE)
        for point in stage.tap.points:
            point.pass_on(lost=f"{subjects.ROOT}.frame.")
        system.runner.signal(signal.SIGCONT)
        # It ends when it has nothing in hand any more.
        exit_status = await system.runner.stop()
        yield Woken(stage, before, await seen(stage), exit_status)


async def goes_on(stage: Stage) -> None:
    """Each session has its next run."""
    requests = Requests(stage.system.bus, Bodies(stage.system.bus), "test")
    for run in stage.runs:
        request = RunRequest(run_id=_next(run), input="go on", session_id=run.session_id)
        await requests.submit("default", run.case.team, request)
    for run in stage.runs:
        await stage.system.completed(_next(run), team=run.case.team, wait_s=60)
    await stage.quiet(hooks=2 * len(stage.runs))


def _next(run: Staged) -> str:
    """No part of it is the id of the run before."""
    return f"next-{run.run_id[1:-1]}"


async def seen(stage: Stage) -> Seen:
    system = stage.system
    streams = {stream: (await reads.bounds(system.bus, stream)).last_seq for stream in STREAMS}
    databases = {name: dump(system.folder / f"{name}.db") for name in DATABASES}
    calls = len(await system.model.calls())
    tools = (system.folder / "tools.log").read_text()
    return Seen(streams, databases, calls, tools, system.hook_log.read_text())


def dump(path: Any) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


@pytest.mark.parametrize("stream", STREAMS)
async def test_a_woken_runner_adds_nothing_to_a_stream(woken: Woken, stream: str) -> None:
    assert woken.after.streams[stream] == woken.before.streams[stream]


@pytest.mark.parametrize("database", DATABASES)
async def test_a_woken_runner_changes_no_row(woken: Woken, database: str) -> None:
    assert woken.before.databases[database]
    assert woken.after.databases[database] == woken.before.databases[database]


async def test_a_woken_runner_calls_no_model_and_no_tool_and_tells_no_hook(woken: Woken) -> None:
    assert woken.after.model_calls == woken.before.model_calls
    assert woken.after.tool_calls == woken.before.tool_calls
    assert woken.after.heard == woken.before.heard


async def test_a_woken_runner_lets_go_of_what_it_lost_by_itself(woken: Woken) -> None:
    assert woken.exit_status == 0
    log = woken.stage.system.runner.log.read_text()
    assert log.count("lost the run to another runner") >= len(CASES) / 2
    assert "lost the run" not in woken.stage.system.second_runner.log.read_text()


async def test_what_was_sent_before_the_stop_is_all_that_is_paid_twice(woken: Woken) -> None:
    """At most one call for each branch: between the proof and the sending nothing can be asked."""
    stage = woken.stage
    for case in CASES:
        calls = await stage.model_calls(stage[case])
        assert len(calls) <= stage[case].usual_calls + case.calls, str(case)
    (branches,) = [run for run in stage.runs if run.case.place == "branches"]
    assert len(await stage.model_calls(branches)) == branches.usual_calls + 2
