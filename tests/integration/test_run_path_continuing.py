"""Runs that go on with others: found in their session, unlosable like every run."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from teambus.bus import topology
from teambus.contracts import subjects
from teambus.contracts.output import TeamRunOutput
from teambus.contracts.run import Continuation, RunCompleted
from teambus_team_runner.sessions import StoreSettings, open_store
from tests.integration.run_parts import DESK, NIGHT, POET, Faults, Runs, runs_in

pytestmark = pytest.mark.asyncio(loop_scope="module")

ASKED_ON = "And then?"
ANSWERS: list[dict[str, Any]] = [
    {"match": ["question", ASKED_ON], "reply": "And then nothing."},
    {"match": "question", "reply": "Done."},
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Runs]:
    async with runs_in(tmp_path_factory.mktemp("runs")) as runs:
        yield runs


@pytest_asyncio.fixture(loop_scope="module")
async def runs(shared: Runs) -> AsyncIterator[Runs]:
    await shared.model.reset()
    await shared.model.rules(ANSWERS)
    yield shared
    await shared.drained()


async def ended(runs: Runs, run_id: str, *, team: str = POET, **fields: Any) -> RunCompleted:
    await runs.submit(run_id, team=team, **{"session_id": f"s-{run_id}", **fields})
    return await runs.end(run_id, team=team)


async def gone_on(runs: Runs, run_id: str, before: str, **fields: Any) -> RunCompleted:
    team, asked = fields.pop("team", POET), fields.pop("input", ASKED_ON)
    session_id = fields.pop("session_id", f"s-{before}")
    continues = Continuation(run_id=before, **fields)
    await runs.submit(run_id, team=team, input=asked, session_id=session_id, continues=continues)
    return await runs.end(run_id, team=team)


async def stored(runs: Runs, session_id: str, run_id: str) -> TeamRunOutput | None:
    db = runs.app.agents[0].db
    assert db is not None
    store = await open_store(db, StoreSettings())
    try:
        return await store.run("default", session_id, run_id)
    finally:
        await store.close()


async def test_a_run_goes_on_with_one_of_its_session(runs: Runs) -> None:
    async with runs.runner():
        await ended(runs, "first", user_id="ann", metadata={"desk": "news"})
        end = await gone_on(runs, "second", "first")
        await runs.free("s-first")
    output = end.output
    assert (output.status, output.content, end.stored) == ("COMPLETED", "And then nothing.", True)
    assert (output.forked_from_run_id, output.forked_from_message_index) == ("first", 3)
    assert (output.user_id, output.metadata) == ("ann", {"desk": "news"})
    assert await stored(runs, "s-first", "second") == output
    untouched = await stored(runs, "s-first", "first")
    assert untouched is not None
    assert (untouched.status, untouched.content) == ("COMPLETED", "Done.")


async def test_a_run_that_goes_on_remembers_the_others_of_its_session(runs: Runs) -> None:
    both = ["question of old", "question of now", ASKED_ON]
    await runs.model.rules([{"match": both, "reply": "I remember."}, *ANSWERS])
    async with runs.runner():
        await ended(runs, "once", session_id="s-history", input="question of old")
        await ended(runs, "twice", session_id="s-history", input="question of now")
        end = await gone_on(runs, "thrice", "twice", session_id="s-history")
    assert end.output.content == "I remember."


@pytest.mark.parametrize(
    "place", ["before the row", "before the event", "before the close", "before the ack"]
)
async def test_a_death_while_a_run_goes_on_changes_nothing(runs: Runs, place: str) -> None:
    name = place.replace(" ", "-")
    faults = Faults()
    async with runs.runner(faults):
        await ended(runs, name)
        before = await runs.last_call()
        faults.planned.append(place)
        end = await gone_on(runs, f"{name}-on", name, regenerate=True)
        await runs.drained()
    assert faults.met == [place]
    assert (end.output.content, await runs.last_call() - before) == ("And then nothing.", 1)
    replaced = await stored(runs, f"s-{name}", name)
    assert replaced is not None
    assert (replaced.status, replaced.content) == ("REGENERATED", "Done.")
    subject = subjects.event("default", POET, f"{name}-on", "completed")
    assert len(await runs.stored(topology.EVENTS, subject)) == 1


async def test_what_was_replaced_is_history_no_more(runs: Runs) -> None:
    told: list[dict[str, Any]] = [
        {"match": ["question next", "Done."], "reply": "I saw the draft."},
        {"match": ["question next", "And then nothing."], "reply": "I saw what stands."},
    ]
    await runs.model.rules([*told, *ANSWERS])
    async with runs.runner():
        await ended(runs, "draft")
        await gone_on(runs, "final", "draft", regenerate=True)
        end = await ended(runs, "next", session_id="s-draft")
    assert end.output.content == "I saw what stands."


async def test_an_answer_that_could_not_be_made_anew_replaces_nothing(runs: Runs) -> None:
    async with runs.runner():
        await ended(runs, "good")
        await runs.model.rules([{"match": "", "status": 400, "error": "no such model"}])
        bad = await gone_on(runs, "bad", "good", regenerate=True)
        beside = await stored(runs, "s-good", "good")
    assert bad.output.status == "ERROR"
    assert beside is not None
    assert beside.status == "COMPLETED"


async def test_a_run_that_failed_goes_on_under_an_id_of_its_own(runs: Runs) -> None:
    async with runs.runner():
        await runs.model.rules([{"match": "", "status": 400, "error": "no such model"}])
        failed = await ended(runs, "broken")
        await runs.model.rules(ANSWERS)
        end = await gone_on(runs, "mended", "broken", input="")
    assert (failed.output.status, end.output.status) == ("ERROR", "COMPLETED")
    assert end.output.forked_from_run_id == "broken"
    untouched = await stored(runs, "s-broken", "broken")
    assert untouched is not None
    assert untouched.status == "ERROR"


async def test_a_run_at_work_is_gone_on_with_when_it_has_ended(runs: Runs) -> None:
    await runs.model.rules([{"match": "question", "hold": "work", "times": 1}, *ANSWERS])
    async with runs.runner():
        await runs.submit("work", team=POET, session_id="s-work")
        await runs.model.wait_for_calls(1, timeout_s=20)
        on = Continuation(run_id="work")
        await runs.submit("on", team=POET, input=ASKED_ON, session_id="s-work", continues=on)
        await runs.waiting("s-work", 1)
        await runs.model.release("work")
        end = await runs.end("on", team=POET)
    assert (end.output.status, end.output.forked_from_run_id) == ("COMPLETED", "work")


@pytest.mark.parametrize(
    ("before", "team", "session_id"),
    [("nobody", POET, "s-here"), ("here", NIGHT, "s-here"), ("here", POET, "s-elsewhere")],
)
async def test_a_run_that_is_not_there_is_not_gone_on_with(
    runs: Runs, before: str, team: str, session_id: str
) -> None:
    run_id = f"lost-{before}-{team}-{session_id}"
    async with runs.runner():
        if before == "here":
            await ended(runs, f"{before}-{team}-{session_id}", session_id="s-here")
            before = f"{before}-{team}-{session_id}"
        end = await gone_on(runs, run_id, before, team=team, session_id=session_id)
    assert (end.output.status, end.code, end.stored) == ("ERROR", "run_not_found", False)
    assert end.output.content == f"No runs found for run ID {before}"
    assert await stored(runs, session_id, run_id) is None


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"continues": Continuation(run_id="r")}, "needs its session_id"),
        ({"session_id": "s", "continues": Continuation(run_id="")}, "continues.run_id must have"),
        ({"session_id": "s", "input": ""}, "input must not be empty"),
    ],
)
async def test_a_request_that_names_no_run_to_go_on_with_is_malformed(
    runs: Runs, fields: dict[str, Any], says: str
) -> None:
    run_id = says.replace(" ", "-").replace(".", "-")
    async with runs.runner():
        await runs.submit(run_id, team=POET, **fields)
        end = await runs.end(run_id, team=POET)
    assert (end.output.status, end.code) == ("ERROR", "malformed_request")
    assert says in end.output.content


async def test_a_cancelled_run_is_not_gone_on_with(runs: Runs) -> None:
    async with runs.runner():
        await runs.cancel("unwanted", team=POET)
        await ended(runs, "unwanted")
        end = await gone_on(runs, "wanted", "unwanted")
    assert (end.output.status, end.code) == ("ERROR", "run_not_continuable")
    assert end.output.content == "Cannot continue run unwanted: run is cancelled"


async def test_a_team_goes_on_without_asking_its_members_again(runs: Runs) -> None:
    await runs.model.reset()
    async with runs.runner():
        first = await ended(runs, "whole", team=DESK)
        before = len(await runs.model.calls())
        end = await gone_on(runs, "whole-on", "whole", team=DESK, input="", regenerate=True)
    assert len(first.output.member_responses) > 0
    parents = {each.parent_run_id for each in end.output.member_responses}
    assert (end.output.status, parents) == ("COMPLETED", {"whole"})
    assert len(await runs.model.calls()) - before == 1
