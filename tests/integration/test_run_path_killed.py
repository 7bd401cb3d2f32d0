"""A runner killed before and after every step: each run ends once, what was paid for is kept."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from teambus import AsyncSqliteDb
from teambus.bus import topology
from teambus.contracts import subjects
from teambus.contracts.output import RunStatus
from teambus_team_runner.sessions import StoreSettings, open_store
from tests.integration.death_parts import (
    CASES,
    GATE,
    Case,
    Stage,
    staged,
)

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

TOOLS = ("look", "charge")
UNKNOWN = "The outcome of charge is unknown"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """Every run at its step when the runner was killed, and ended by another one since."""
    async with staged(tmp_path_factory.mktemp("death")) as stage:
        await stage.system.runner.kill()
        stage.lock.execute("ROLLBACK")
        await stage.system.model.release(GATE)
        await stage.system.second_runner.start()
        await stage.ended()
        yield stage


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_a_run_whose_runner_is_killed_there_ends_once(stage: Stage, case: Case) -> None:
    run = stage[case]
    end = await stage.system.completed(run.run_id, team=case.team)
    assert (end.output.status, end.output.content) == (RunStatus.COMPLETED, f"Done {run.run_id}.")
    ends = subjects.event("default", case.team, run.run_id, "completed")
    assert len(await stage.system.stored(topology.EVENTS, ends)) == 1
    assert await stage.is_free(run)
    db_file = stage.system.folder / f"{case.team.split('-')[0]}.db"
    store = await open_store(AsyncSqliteDb(db_file=str(db_file), id=case.team), StoreSettings())
    try:
        assert await store.run("default", run.session_id, run.run_id) == end.output
    finally:
        await store.close()
    heard = await stage.system.hook_lines(1, containing=run.run_id)
    assert heard == [f"{run.run_id} COMPLETED"]


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_only_what_was_under_way_is_done_again(stage: Stage, case: Case) -> None:
    run = stage[case]
    end = await stage.system.completed(run.run_id, team=case.team)
    told = [message.content or "" for message in end.output.messages or []]
    unknown = sum(content.startswith(UNKNOWN) for content in told)
    calls = await stage.model_calls(run)
    assert run.usual_calls <= len(calls) + unknown <= run.usual_calls + case.calls
    if case.place == "branches":
        return
    looks, charges = ([k for n, k in stage.tool_calls(run) if n == name] for name in TOOLS)
    assert 1 <= len(looks) <= 1 + case.looks
    assert len(set(looks)) == 1, "a call that is repeated has its key again"
    assert len(charges) <= 1 <= len(charges) + unknown


async def test_a_run_that_waited_for_its_session_comes_after_the_one_that_had_it(
    stage: Stage,
) -> None:
    (waited,) = [run for run in stage.runs if run.case.place == "waiting"]
    db = AsyncSqliteDb(db_file=str(stage.system.folder / "paying.db"), id="paying-team")
    store = await open_store(db, StoreSettings())
    try:
        session = await store.session("default", waited.session_id, runs_max=10)
    finally:
        await store.close()
    assert session is not None
    before = stage.runs[stage.runs.index(waited) - 1]
    assert [run.run_id for run in session.runs] == [before.run_id, waited.run_id]


async def test_what_was_under_way_was_really_done_again(stage: Stage) -> None:
    """Else the bounds above would say nothing."""
    exact = ("the leader's answer", "a tool's result", "a member's answer", "the final answer")
    for case in CASES:
        if case.side == "after" or not (case.place or case.name in exact):
            continue
        run = stage[case]
        calls, tools = await stage.model_calls(run), stage.tool_calls(run)
        looks = [name for name, _ in tools if name == "look"]
        unknown = case.place == "charge"
        assert len(calls) + unknown == run.usual_calls + case.calls, str(case)
        assert len(looks) == case.looks + (case.place != "branches"), str(case)
