"""Requests whose asker says that their ids are new: nothing is looked for, and nothing trusted
that the bus does not confirm.
"""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from teambus.contracts.headers import NEW
from teambus.contracts.message import encode
from teambus.contracts.run import RunRequest
from tests.integration.run_parts import Runs, runs_in

ONE_ANSWER = {"match": "", "reply": "Done."}
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Runs]:
    async with runs_in(tmp_path_factory.mktemp("runs")) as runs:
        yield runs


@pytest_asyncio.fixture(loop_scope="module")
async def runs(shared: Runs) -> AsyncIterator[Runs]:
    await shared.model.reset()
    yield shared
    await shared.drained()


async def ask(runs: Runs, run_id: str, *, session_id: str, new: str) -> None:
    request = RunRequest(run_id=run_id, input=f"question {run_id}", session_id=session_id)
    await runs.put(encode(request), **{NEW: new})


async def test_a_new_run_of_a_new_session_ends_like_any_other(runs: Runs) -> None:
    async with runs.runner():
        await ask(runs, "first", session_id="s-new", new="run session")
        end = await runs.end("first")
        await runs.free("s-new")
        await ask(runs, "second", session_id="s-new", new="run")
        assert (await runs.end("second")).output.status == "COMPLETED"
        await runs.drained()
    assert (end.output.status, end.stored) == ("COMPLETED", True)
    past = await runs.past("first")
    assert (past.attempts, len(past.answers)) == (0, 4)


async def test_a_run_that_is_called_new_and_is_not_is_not_done_again(runs: Runs) -> None:
    async with runs.runner():
        await ask(runs, "old", session_id="s-old", new="run session")
        end = await runs.end("old")
        calls = len(await runs.model.calls())
        await ask(runs, "old", session_id="s-old", new="run session")
        await runs.drained()
    assert await runs.end("old") == end
    assert len(await runs.model.calls()) == calls


async def test_a_session_that_is_called_new_and_is_busy_is_waited_for(runs: Runs) -> None:
    await runs.model.rules([ONE_ANSWER | {"match": "holder", "hold": "busy"}, ONE_ANSWER])
    async with runs.runner(), runs.runner():
        await ask(runs, "holder", session_id="s-busy", new="run")
        await runs.model.wait_for_calls(1)
        await ask(runs, "hasty", session_id="s-busy", new="run session")
        await runs.waiting("s-busy", 1)
        await runs.model.release("busy")
        first, second = await runs.end("holder"), await runs.end("hasty")
    assert (first.output.status, second.output.status) == ("COMPLETED", "COMPLETED")
    assert first.completed_at < second.completed_at
