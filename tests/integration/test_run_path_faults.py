"""Deaths and outages on a run's way: what was decided is projected again, what was paid is kept."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from teambus.contracts.run import RunCompleted
from teambus_team_runner.sessions import StoreSettings, open_store
from tests.integration.bus_parts import connected, disconnected
from tests.integration.run_parts import ACK_WAIT_S, DESK, Faults, Runs, runs_in, until

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


async def is_in_the_database(runs: Runs, end: RunCompleted) -> bool:
    db = runs.app.teams[0].db
    assert db is not None
    store = await open_store(db, StoreSettings())
    try:
        return await store.run("default", end.session_id, end.run_id) == end.output
    finally:
        await store.close()


@pytest.mark.parametrize(
    "place", ["before the row", "before the event", "before the close", "before the ack"]
)
async def test_a_death_after_the_end_is_made_good_without_the_engine(
    runs: Runs, place: str
) -> None:
    name = place.replace(" ", "-")
    faults = Faults([place])
    async with runs.runner(faults):
        await runs.submit(name, session_id=f"s-{name}")
        end = await runs.end(name)
        await runs.drained()
        assert await runs.is_free(f"s-{name}")
    assert faults.met == [place]
    assert end.output.status == "COMPLETED"
    assert await is_in_the_database(runs, end)
    assert len(await runs.model.calls()) == CALLS_OF_A_RUN
    past = await runs.past(name)
    assert past.ended is not None
    assert past.ended.completed == end


async def test_a_run_that_died_at_every_place_still_ends_once(runs: Runs) -> None:
    places = ["before the row", "before the event", "before the close", "before the ack"]
    faults = Faults(places.copy())
    async with runs.runner(faults):
        await runs.submit("unlucky", session_id="s-unlucky")
        end = await runs.end("unlucky", wait_s=30)
        await runs.drained()
    assert sorted(faults.met) == sorted(places)
    assert end.output.status == "COMPLETED"
    assert len(await runs.model.calls()) == CALLS_OF_A_RUN


async def test_a_database_that_is_away_before_the_first_call_is_waited_for(runs: Runs) -> None:
    faults = Faults(database_away=True)
    async with runs.runner(faults):
        await runs.submit("early")

        async def tried() -> bool:
            return (await runs.past("early")).stuck_since is not None

        await until(tried, 20, "not tried")
        await asyncio.sleep(0.5)
        assert await runs.model.calls() == []
        faults.database_away = False
        assert (await runs.end("early")).output.status == "COMPLETED"
    assert (await runs.past("early")).attempts == 0


async def test_a_database_that_stays_away_ends_the_run_unpaid(runs: Runs) -> None:
    async with runs.runner(Faults(database_away=True), store_give_up_s=0.5):
        await runs.submit("unpaid", session_id="s-unpaid")
        end = await runs.end("unpaid")
        await runs.free("s-unpaid")
    assert (end.output.status, end.code, end.stored) == ("ERROR", "store_unavailable", False)
    assert await runs.model.calls() == []


async def test_a_database_that_is_away_at_the_end_is_waited_for(runs: Runs) -> None:
    await runs.model.rules([{"match": "", "reply": "Done.", "hold": "late"}])
    faults = Faults()
    async with runs.runner(faults):
        await runs.submit("late", session_id="s-late")
        await runs.model.wait_for_calls(1, timeout_s=20)
        faults.database_away = True
        await runs.model.release("late")

        async def decided() -> bool:
            return (await runs.past("late")).ended is not None

        await until(decided, 20, "no end is decided")
        await asyncio.sleep(0.5)
        assert await runs.events.completed("default", DESK, "late") is None
        assert not await runs.is_free("s-late")
        faults.database_away = False
        end = await runs.end("late")
    assert end.output.status == "COMPLETED"
    assert await is_in_the_database(runs, end)
    assert len(await runs.model.calls()) == 1


async def test_a_run_that_cannot_be_stored_ends_as_an_error_and_a_letter_with_it(
    runs: Runs,
) -> None:
    await runs.model.rules([{"match": "", "reply": "Precious.", "hold": "unstored"}])
    faults = Faults()
    async with runs.runner(faults, store_give_up_s=0.5):
        await runs.submit("unstored", session_id="s-unstored")
        await runs.model.wait_for_calls(1, timeout_s=20)
        faults.database_away = True
        await runs.model.release("unstored")
        end = await runs.end("unstored")
        await runs.free("s-unstored")
    assert (end.output.status, end.code, end.stored) == ("ERROR", "store_unavailable", False)
    (letter,) = [each for each in await runs.letters(DESK) if each.run_id == "unstored"]
    assert letter.event is not None
    assert letter.event.output.content == "Precious."


async def test_a_redelivery_of_a_run_in_hand_is_taken_as_the_same(runs: Runs) -> None:
    await runs.model.rules([{"match": "", "hold": "crash"}])
    async with runs.runner() as runner:
        await runs.submit("in-hand")
        await runs.model.wait_for_calls(1, timeout_s=20)
        entries = await runs.entries("in-hand")
        for _ in range(2):
            await runs.nats.kill()
            await disconnected(runs.bus)
            await runs.nats.start()
            await connected(runs.bus)
        await asyncio.sleep(1.5 * ACK_WAIT_S)
        assert len(runner._in_hand) == 1
        await runs.model.release("crash")
        assert (await runs.end("in-hand")).output.status == "COMPLETED"
        assert await runs.entries("in-hand") >= entries
    assert len(await runs.model.calls()) == CALLS_OF_A_RUN
    past = await runs.past("in-hand")
    assert past.first == past.latest


async def test_an_answer_paid_for_in_an_outage_is_kept(runs: Runs) -> None:
    await runs.model.rules([{"match": "outage", "hold": "outage", "times": 1}])
    async with runs.runner():
        await runs.submit("outage")
        await runs.model.wait_for_calls(1, timeout_s=20)
        await runs.nats.kill()
        await disconnected(runs.bus)
        await runs.model.release("outage")
        await runs.model.wait_for_ended(1, timeout_s=20)
        await asyncio.sleep(2 * ACK_WAIT_S)
        await runs.nats.start()
        await connected(runs.bus)
        assert (await runs.end("outage", wait_s=30)).output.status == "COMPLETED"
    assert len(await runs.model.calls()) == CALLS_OF_A_RUN


async def test_a_runner_that_lost_the_run_stops_its_model_call(runs: Runs) -> None:
    await runs.model.rules([{"match": "", "hold": "lost", "reply": "Late."}])
    async with runs.runner():
        await runs.submit("lost", session_id="s-lost")
        await runs.model.wait_for_calls(1, timeout_s=20)
        await runs.dies("lost", 1, session_id="s-lost")
        (call,) = await runs.model.wait_for_ended(1, timeout_s=20)
        assert call.outcome == "client gone"
        await runs.model.release("lost")
        assert (await runs.end("lost")).output.status == "COMPLETED"
    assert len(await runs.model.calls()) == 2
