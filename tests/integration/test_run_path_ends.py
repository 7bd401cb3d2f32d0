"""How a run request ends: once, whatever was asked, however often."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from teambus.bus import topology
from teambus.bus.reads import call
from teambus.contracts import subjects
from teambus.contracts.journal import ToolResult, ToolReturned
from teambus.contracts.message import decode
from teambus.contracts.run import RunRefused
from teambus_team_runner.sessions import StoreSettings, open_store
from tests.integration.bus_parts import journal_of
from tests.integration.run_parts import DESK, NIGHT, Runs, runs_in, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

CALLS_OF_A_RUN = 4


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Runs]:
    async with runs_in(tmp_path_factory.mktemp("runs")) as runs:
        yield runs


@pytest_asyncio.fixture(loop_scope="module")
async def runs(shared: Runs) -> AsyncIterator[Runs]:
    await shared.model.reset()
    yield shared
    await shared.drained()


async def refusals(runs: Runs, run_id: str) -> list[RunRefused]:
    subject = subjects.event("default", DESK, run_id, "refused")
    return [decode(RunRefused, each.data) for each in await runs.stored(topology.EVENTS, subject)]


async def test_a_run_ends_in_its_row_its_event_and_a_free_session(runs: Runs) -> None:
    async with runs.runner():
        await runs.submit("whole", session_id="s-whole", user_id="ann")
        end = await runs.end("whole")
        await runs.free("s-whole")
        await runs.drained()
    assert (end.output.status, end.code, end.stored) == ("COMPLETED", None, True)
    db = runs.app.teams[0].db
    assert db is not None
    store = await open_store(db, StoreSettings())
    assert await store.run("default", "s-whole", "whole") == end.output
    await store.close()
    assert len(await runs.model.calls()) == CALLS_OF_A_RUN


async def test_a_run_that_takes_too_long_ends_as_that(runs: Runs) -> None:
    await runs.model.rules([{"match": "", "hold": "long"}])
    async with runs.runner(run_timeout_s=0.5):
        await runs.submit("long", session_id="s-long")
        end = await runs.end("long")
        await runs.free("s-long")
    await runs.model.release("long")
    assert (end.output.status, end.code) == ("ERROR", "run_timeout")
    assert end.output.content == "the run took longer than 0.5 s"


async def test_a_repeat_of_a_run_in_hand_is_dropped(runs: Runs) -> None:
    await runs.model.rules([{"match": "", "hold": "repeat"}])
    async with runs.runner(), runs.runner():
        await runs.submit("again")
        await runs.model.wait_for_calls(1, timeout_s=20)
        for _ in range(4):
            await runs.submit("again")

        async def one_is_left() -> bool:
            reply = await call(runs.bus, f"$JS.API.STREAM.INFO.{topology.REQUESTS}", b"")
            return b'"messages":1,' in reply.data

        await until(one_is_left, 20, "the repeats were not dropped")
        await runs.model.release("repeat")
        await runs.end("again")
    assert len(await runs.model.calls()) == CALLS_OF_A_RUN
    assert (await runs.past("again")).first == (await runs.past("again")).latest


async def test_a_repeat_of_an_ended_run_is_dropped(runs: Runs) -> None:
    async with runs.runner():
        await runs.submit("ended")
        end = await runs.end("ended")
        await runs.drained()
        paid = len(await runs.model.calls())
        await runs.submit("ended")
        await runs.drained()
        assert await runs.end("ended") == end
    assert len(await runs.model.calls()) == paid


async def test_another_request_with_a_runs_id_is_refused_beside_it(runs: Runs) -> None:
    await runs.dies("mine", 1, input="first")
    async with runs.runner():
        seq = await runs.submit("mine", input="second")
        await runs.drained()
        (refused,) = await refusals(runs, "mine")
        assert (refused.code, refused.request_seq) == ("run_id_in_use", seq)
        await runs.submit("mine", input="first")
        assert (await runs.end("mine")).output.status == "COMPLETED"


async def test_another_request_with_the_id_of_a_run_in_hand_is_refused(runs: Runs) -> None:
    await runs.model.rules([{"match": "", "hold": "busy"}])
    async with runs.runner():
        await runs.submit("busy", input="first")
        await runs.model.wait_for_calls(1, timeout_s=20)
        await runs.submit("busy", input="second")
        await until(lambda: refusals(runs, "busy"), 20, "not refused")
        await runs.submit("busy", team=NIGHT)
        assert (await runs.end("busy", team=NIGHT)).code == "run_id_in_use"
        await runs.model.release("busy")
        assert (await runs.end("busy")).output.status == "COMPLETED"


async def test_another_teams_run_id_is_refused_as_that_teams_own_end(runs: Runs) -> None:
    async with runs.runner():
        await runs.submit("theirs")
        await runs.end("theirs")
        await runs.submit("theirs", team=NIGHT)
        end = await runs.end("theirs", team=NIGHT)
    assert (end.output.status, end.code) == ("ERROR", "run_id_in_use")


@pytest.mark.parametrize(
    ("body", "headers", "run_id"),
    [
        (b'{"kind":"run.request.v1","run_id":"bad-1","input":5}', {}, "bad-1"),
        (b'{"kind":"run.request.v2","run_id":"bad-2","input":"x"}', {}, "bad-2"),
        (b'{"kind":"run.request.v1","run_id":"bad-3","input":""}', {}, "bad-3"),
        (b"\xff\xfe", {"Teambus-Run-Id": "bad-4"}, "bad-4"),
        (b"", {"Teambus-Run-Id": "bad-5", "Teambus-Body": "lost/body"}, "bad-5"),
    ],
)
async def test_a_malformed_request_ends_as_an_error_and_the_queue_goes_on(
    runs: Runs, body: bytes, headers: dict[str, str], run_id: str
) -> None:
    async with runs.runner():
        await runs.put(body, **headers)
        await runs.submit(f"after-{run_id}")
        end = await runs.end(run_id)
        assert (end.output.status, end.code) == ("ERROR", "malformed_request")
        await runs.end(f"after-{run_id}")


async def test_a_request_that_names_no_run_becomes_a_dead_letter(runs: Runs) -> None:
    async with runs.runner():
        seq = await runs.put(b"not json", team=NIGHT)
        await runs.submit("after-unread")
        await runs.end("after-unread")
        await runs.drained()
    letter = next(each for each in await runs.letters(NIGHT) if each.about == "request")
    assert (letter.id, letter.body, letter.team_id) == (f"request-{seq}", "not json", NIGHT)


async def test_a_malformed_request_does_not_end_the_run_that_has_its_id(runs: Runs) -> None:
    await runs.model.rules([{"match": "", "hold": "kept"}])
    async with runs.runner():
        await runs.submit("kept")
        await runs.model.wait_for_calls(1, timeout_s=20)
        await runs.put(b'{"kind":"run.request.v1","run_id":"kept","input":7}')

        async def buried() -> Any:
            return [each for each in await runs.letters(DESK) if each.about == "request"]

        await until(buried, 20, "no dead letter")
        await runs.model.release("kept")
        assert (await runs.end("kept")).output.status == "COMPLETED"


async def test_attempts_used_up_end_as_an_error_a_letter_and_a_free_session(runs: Runs) -> None:
    await runs.dies("poison", 5, session_id="s-poison")
    async with runs.runner():
        await runs.submit("poison", session_id="s-poison")
        end = await runs.end("poison")
        await runs.free("s-poison")
        await runs.drained()
        await runs.submit("next", session_id="s-poison")
        assert (await runs.end("next")).output.status == "COMPLETED"
    assert (end.output.status, end.code) == ("ERROR", "attempts_used_up")
    letters = [each for each in await runs.letters(DESK) if each.run_id == "poison"]
    assert [each.event for each in letters] == [end]
    assert len(await runs.model.calls()) == CALLS_OF_A_RUN


async def test_a_run_one_death_from_the_limit_is_still_carried_out(runs: Runs) -> None:
    await runs.dies("last-chance", 4)
    async with runs.runner():
        await runs.submit("last-chance")
        assert (await runs.end("last-chance")).output.status == "COMPLETED"


async def test_a_step_made_since_pardons_earlier_deaths(runs: Runs) -> None:
    await runs.dies("moving", 5)
    step = ToolReturned(path="p", digest="d", result=ToolResult(content="c"))
    await (await journal_of(runs.bus, "moving")).append(step)
    async with runs.runner():
        await runs.submit("moving")
        assert (await runs.end("moving")).output.status == "COMPLETED"


async def test_a_journal_that_cannot_be_read_ends_the_run(runs: Runs) -> None:
    await runs.dies("lost-body", 1)
    journal = await journal_of(runs.bus, "lost-body")
    large = ToolResult(content="z" * 2 * 1024 * 1024)
    await journal.append(ToolReturned(path="p", digest="d", result=large))
    await call(runs.bus, f"$JS.API.STREAM.PURGE.{topology.BODIES}", b"")
    async with runs.runner():
        await runs.submit("lost-body")
        assert (await runs.end("lost-body")).code == "journal_unreadable"
    assert [e.run_id for e in await runs.letters(DESK) if e.run_id == "lost-body"]


async def test_another_users_session_is_not_found(runs: Runs) -> None:
    async with runs.runner():
        await runs.submit("anns", session_id="s-ann", user_id="ann")
        await runs.end("anns")
        await runs.submit("bobs", session_id="s-ann", user_id="bob")
        end = await runs.end("bobs")
        await runs.free("s-ann")
    assert (end.output.status, end.code, end.stored) == ("ERROR", "session_not_found", False)
