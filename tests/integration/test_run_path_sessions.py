"""Sessions and hands: one run at a time, in order, and no more at once than there are hands."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from teambus.bus import topology
from teambus.bus.sessions import Sessions
from teambus.contracts.journal import AttemptReleased, AttemptStarted
from teambus.contracts.session import SessionClaim, SessionRecord
from tests.integration.bus_parts import journal_of
from tests.integration.run_parts import ACK_WAIT_S, DESK, NIGHT, Runs, runs_in, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

ONE_ANSWER = {"match": "", "reply": "Done."}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Runs]:
    async with runs_in(tmp_path_factory.mktemp("runs")) as runs:
        yield runs


@pytest_asyncio.fixture(loop_scope="module")
async def runs(shared: Runs) -> AsyncIterator[Runs]:
    await shared.model.reset()
    yield shared
    await shared.drained()


async def test_runs_of_a_busy_session_wait_and_follow_in_order(runs: Runs) -> None:
    await runs.model.rules([ONE_ANSWER | {"hold": "first"}])
    async with runs.runner(), runs.runner():
        await runs.submit("o-0", session_id="s-order")
        await runs.model.wait_for_calls(1, timeout_s=20)
        for number in range(1, 6):
            await runs.submit(f"o-{number}", session_id="s-order")
        await runs.waiting("s-order", 5)
        await runs.model.release("first")
        ends = [await runs.end(f"o-{number}") for number in range(6)]
    assert [end.completed_at for end in ends] == sorted(end.completed_at for end in ends)
    assert {end.output.status for end in ends} == {"COMPLETED"}
    assert await runs.is_free("s-order")


async def test_fifty_runs_of_one_session_are_never_two_at_once(runs: Runs) -> None:
    await runs.model.rules([ONE_ANSWER | {"delay_ms": 5}])
    names = [f"f-{number}" for number in range(50)]
    async with runs.runner(), runs.runner():
        await asyncio.gather(*(runs.submit(name, session_id="s-fifty") for name in names))
        ends = [await runs.end(name, wait_s=60) for name in names]
        await runs.drained()
    assert {end.output.status for end in ends} == {"COMPLETED"}
    calls = sorted(await runs.model.calls(), key=lambda each: each.at)
    assert len(calls) == 50
    for earlier, later in itertools.pairwise(calls):
        assert earlier.ended_at is not None
        assert later.at >= earlier.ended_at
    assert await runs.is_free("s-fifty")


async def test_more_runs_than_places_in_the_line_all_end(runs: Runs) -> None:
    await runs.model.rules([ONE_ANSWER])
    async with runs.runner(sessions_waiting_max=3):
        for number in range(12):
            await runs.submit(f"l-{number}", session_id="s-line")
        for number in range(12):
            assert (await runs.end(f"l-{number}")).output.status == "COMPLETED"
    assert await runs.is_free("s-line")


async def test_a_waiting_run_holds_no_hand(runs: Runs) -> None:
    await runs.model.rules([ONE_ANSWER | {"match": "h-0", "hold": "hand"}, ONE_ANSWER])
    async with runs.runner(hands=2) as runner:
        await runs.submit("h-0", session_id="s-hand")
        await runs.model.wait_for_calls(1, timeout_s=20)
        for number in range(1, 6):
            await runs.submit(f"h-{number}", session_id="s-hand")
        await runs.waiting("s-hand", 5)
        await runs.submit("other")
        await runs.end("other")

        async def only_the_holder() -> bool:
            return int(runner._hands.busy) == 1

        await until(only_the_holder, 5, "a waiting run holds a hand")
        await runs.model.release("hand")
        for number in range(6):
            await runs.end(f"h-{number}")


async def test_waiting_runs_are_kept_alive_longer_than_their_lease(runs: Runs) -> None:
    await runs.model.rules([ONE_ANSWER | {"match": "k-0", "hold": "alive"}, ONE_ANSWER])
    async with runs.runner():
        await runs.submit("k-0", session_id="s-alive")
        await runs.model.wait_for_calls(1, timeout_s=20)
        await runs.submit("k-1", session_id="s-alive")
        await runs.waiting("s-alive", 1)
        await asyncio.sleep(2.5 * ACK_WAIT_S)
        info = await runs.bus.client.jetstream().consumer_info(topology.REQUESTS, "pool_news")
        assert info.num_redelivered == 0
        await runs.model.release("alive")
        await runs.end("k-1")


async def test_over_the_limit_of_waiting_runs_a_run_is_given_back_and_still_ends(
    runs: Runs,
) -> None:
    await runs.model.rules([ONE_ANSWER | {"match": "p-0", "hold": "parked"}, ONE_ANSWER])
    async with runs.runner(parked_max=1) as runner:
        await runs.submit("p-0", session_id="s-parked")
        await runs.model.wait_for_calls(1, timeout_s=20)
        for number in range(1, 5):
            await runs.submit(f"p-{number}", session_id="s-parked")
        await runs.waiting("s-parked", 4)
        assert len(runner.parking._waiting) <= 1
        await runs.model.release("parked")
        for number in range(5):
            await runs.end(f"p-{number}")


async def test_resumed_runs_take_no_more_than_the_hands(runs: Runs) -> None:
    rules = [{"match": "first", "hold": "first"}, {"match": "then", "hold": "then"}]
    await runs.model.rules([ONE_ANSWER | rule for rule in rules])
    async with runs.runner(hands=8):
        for number in range(8):
            await runs.submit(f"first-{number}", session_id=f"s-many-{number}")
        await runs.model.wait_for_calls(8, timeout_s=20)
        async with runs.runner(hands=2) as few:
            for number in range(8):
                await runs.submit(f"then-{number}", session_id=f"s-many-{number}")
            for number in range(8):
                await runs.waiting(f"s-many-{number}", 1)
            await runs.model.release("first")
            for number in range(8):
                await runs.end(f"first-{number}")
            await runs.model.wait_for_calls(10, timeout_s=20)
            await asyncio.sleep(0.5)
            assert few._hands.busy == 2
            await runs.model.release("then")
            for number in range(8):
                assert (await runs.end(f"then-{number}")).output.status == "COMPLETED"


async def test_a_holder_that_ended_long_ago_is_cleared_away(runs: Runs) -> None:
    await runs.model.rules([ONE_ANSWER])
    async with runs.runner():
        await runs.submit("gone", session_id="s-gone")
        await runs.end("gone")
        await runs.free("s-gone")
        await hold_by(runs, "s-gone", "gone", seq=999_999)
        await runs.submit("after-gone", session_id="s-gone")
        assert (await runs.end("after-gone")).output.status == "COMPLETED"


async def test_a_holder_whose_request_is_gone_is_ended_first(runs: Runs) -> None:
    await runs.model.rules([ONE_ANSWER])
    await hold_by(runs, "s-orphan", "orphan", seq=999_999)
    async with runs.runner():
        asked_at = time.monotonic()
        await runs.submit("heir", session_id="s-orphan")
        assert (await runs.end("heir")).output.status == "COMPLETED"
        assert time.monotonic() - asked_at >= 0.5
    assert (await runs.end("orphan")).code == "orphaned"


async def test_a_waiting_run_that_ends_otherwise_leaves_the_line(runs: Runs) -> None:
    await runs.model.rules([ONE_ANSWER | {"match": "w-0", "hold": "line"}, ONE_ANSWER])
    async with runs.runner():
        await runs.submit("w-0", session_id="s-leave")
        await runs.model.wait_for_calls(1, timeout_s=20)
        await runs.submit("w-1", session_id="s-leave")
        await runs.waiting("s-leave", 1)
        await runs.submit("w-2", session_id="s-leave")
        await runs.waiting("s-leave", 2)
        await taken_by_another_request(runs, "w-1")
        await runs.model.release("line")
        await runs.end("w-2")
        await runs.drained()
    assert await runs.events.completed("default", DESK, "w-1") is None
    assert await runs.is_free("s-leave")


async def test_a_session_is_shared_by_the_teams_that_use_it(runs: Runs) -> None:
    await runs.model.rules([ONE_ANSWER | {"match": "t-0", "hold": "teams"}, ONE_ANSWER])
    async with runs.runner():
        await runs.submit("t-0", session_id="s-teams")
        await runs.model.wait_for_calls(1, timeout_s=20)
        await runs.submit("t-1", team=NIGHT, session_id="s-teams")
        await runs.waiting("s-teams", 1)
        await runs.model.release("teams")
        await runs.end("t-1", team=NIGHT)


async def test_no_run_is_taken_without_a_hand(runs: Runs) -> None:
    await runs.model.rules([ONE_ANSWER | {"hold": "hands"}])
    async with runs.runner(hands=3) as runner:
        for number in range(8):
            await runs.submit(f"n-{number}")
        await runs.model.wait_for_calls(3, timeout_s=20)
        await asyncio.sleep(0.5)
        assert runner._hands.busy == 3
        assert len(await runs.model.calls()) == 3
        await runs.model.release("hands")
        for number in range(8):
            await runs.end(f"n-{number}")


async def test_a_run_that_died_twice_asks_its_model_beside_others(runs: Runs) -> None:
    await runs.model.rules([ONE_ANSWER | {"match": "slow", "hold": "beside"}, ONE_ANSWER])
    await runs.dies("beside", 2)
    async with runs.runner():
        await runs.submit("slow-2")
        await runs.model.wait_for_calls(1, timeout_s=20)
        await runs.submit("beside")
        assert (await runs.end("beside")).output.status == "COMPLETED"
        await runs.model.release("beside")
        await runs.end("slow-2")


async def test_a_run_with_one_attempt_left_waits_for_empty_hands(runs: Runs) -> None:
    await runs.model.rules([ONE_ANSWER | {"match": "slow", "hold": "alone"}, ONE_ANSWER])
    await runs.dies("suspect", 4)
    async with runs.runner():
        await runs.submit("slow")
        await runs.model.wait_for_calls(1, timeout_s=20)
        before = await runs.entries("suspect")
        await runs.submit("suspect")
        await asyncio.sleep(2 * ACK_WAIT_S)
        assert await runs.entries("suspect") == before
        await runs.model.release("alone")
        await runs.end("slow")
        assert (await runs.end("suspect")).output.status == "COMPLETED"


async def test_a_drain_gives_back_what_waits_and_what_is_not_finished(tmp_path: Path) -> None:
    async with runs_in(tmp_path, ack_wait_s=60) as runs:
        held = ONE_ANSWER | {"match": "d-0", "hold": "drain", "times": 1}
        await runs.model.rules([held, ONE_ANSWER])
        async with runs.runner(drain_s=0.2):
            await runs.submit("d-0", session_id="s-drain")
            await runs.model.wait_for_calls(1, timeout_s=20)
            await runs.submit("d-1", session_id="s-drain")
            await runs.waiting("s-drain", 1)
        past = await runs.past("d-0")
        assert past.attempts == 0
        assert past.ended is None
        async with runs.runner():
            assert (await runs.end("d-0")).output.status == "COMPLETED"
            assert (await runs.end("d-1")).output.status == "COMPLETED"


async def hold_by(runs: Runs, session_id: str, run_id: str, *, seq: int) -> None:
    sessions = Sessions(runs.bus)
    seen = await sessions.read("default", session_id)
    claim = SessionClaim(run_id=run_id, team_id=DESK, request_seq=seq)
    held = msgspec.structs.replace(seen.record, fence=seen.record.fence + 1, holder=claim)
    assert isinstance(held, SessionRecord)
    assert await sessions.replace(seen, held)


async def taken_by_another_request(runs: Runs, run_id: str) -> None:
    journal = await journal_of(runs.bus, run_id)
    other = AttemptStarted(
        runner="other", request_seq=1, team_id=DESK, request_digest="another", at=time.time()
    )
    journal.add(other)
    await journal.append(AttemptReleased(reason="test"))
