"""One tenant's flood: requests of others are found behind it and have their turn; nothing of the
flood is lost, and hands elsewhere get of it what they can hold.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from teambus.bus import topology
from tests.integration.run_parts import ACK_WAIT_S, Runs, runs_in, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

HEAVY, LIGHT = "heavy", "light"
ONE_ANSWER = {"match": "", "reply": "Done."}
FLOOD = 40
QUICK: dict[str, Any] = {"hands": 2, "ahead_look_s": 0.05}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Runs]:
    # So long that a busy machine lets no lease lapse by itself.
    async with runs_in(tmp_path_factory.mktemp("runs"), ack_wait_s=30) as runs:
        yield runs


@pytest_asyncio.fixture(loop_scope="module")
async def runs(shared: Runs) -> AsyncIterator[Runs]:
    await shared.model.reset()
    yield shared
    await shared.drained()


async def test_a_light_tenants_run_is_next_behind_a_flood(runs: Runs) -> None:
    await runs.model.rules([ONE_ANSWER | {"hold": "next"}])
    async with runs.runner(**QUICK) as runner:
        await flood(runs, "a")
        await runs.model.wait_for_calls(2, timeout_s=20)
        await runs.submit("a-light", tenant=LIGHT)
        await held(runner, FLOOD + 1 - 2)
        await runs.model.rules([ONE_ANSWER])
        await runs.model.release("next")
        await ended(runs, "a")
        await runs.end("a-light", tenant=LIGHT)
    # Both hands are free at about the same time, so one of the flood may be called beside it.
    assert position(await questions(runs), "a-light") <= 4


async def test_a_flood_is_carried_out_in_the_order_of_its_requests(runs: Runs) -> None:
    await runs.model.rules([ONE_ANSWER | {"hold": "order"}])
    async with runs.runner(**{**QUICK, "hands": 1}) as runner:
        await flood(runs, "b")
        await runs.submit("b-light", tenant=LIGHT)
        await held(runner, FLOOD)
        await runs.model.rules([ONE_ANSWER])
        await runs.model.release("order")
        await ended(runs, "b")
        await runs.end("b-light", tenant=LIGHT)
    asked = [each for each in await questions(runs) if "light" not in each]
    assert asked == [f"question b-{number}" for number in range(FLOOD)]


async def test_what_one_tenant_sends_is_not_pulled_ahead(runs: Runs) -> None:
    await runs.model.rules([ONE_ANSWER | {"hold": "alone"}])
    looks = 0
    async with runs.runner(**QUICK) as runner:
        look = runner.ahead._look

        async def counted() -> None:
            nonlocal looks
            await look()
            looks += 1

        runner.ahead._look = counted
        await flood(runs, "c")
        await runs.model.wait_for_calls(2, timeout_s=20)

        async def has_looked() -> bool:
            return looks >= 5

        await until(has_looked, 20, "nobody looks who is waiting")
        assert runner.ahead.held == 0
        info = await runs.bus.client.jetstream().consumer_info(topology.REQUESTS, "pool_news")
        assert (info.num_pending, info.num_ack_pending) == (FLOOD - 2, 2)
        await runs.model.rules([ONE_ANSWER])
        await runs.model.release("alone")
        await ended(runs, "c")


async def test_what_is_held_is_kept_alive_longer_than_its_lease(tmp_path: Path) -> None:
    async with runs_in(tmp_path, ack_wait_s=2 * ACK_WAIT_S) as runs:
        await runs.model.rules([ONE_ANSWER | {"hold": "kept"}])
        async with runs.runner(**QUICK) as runner:
            await flood(runs, "d")
            await runs.submit("d-light", tenant=LIGHT)
            await held(runner, FLOOD + 1 - 2)
            await asyncio.sleep(4 * ACK_WAIT_S)
            info = await runs.bus.client.jetstream().consumer_info(topology.REQUESTS, "pool_news")
            assert (info.num_redelivered, runner.ahead.held) == (0, FLOOD + 1 - 2)
            await runs.model.rules([ONE_ANSWER])
            await runs.model.release("kept")
            await ended(runs, "d")
            await runs.end("d-light", tenant=LIGHT)


async def test_a_runner_with_free_hands_gets_what_another_holds(runs: Runs) -> None:
    await runs.model.rules([ONE_ANSWER | {"hold": "given"}])
    async with runs.runner(**QUICK) as full:
        await flood(runs, "e")
        await runs.submit("e-light", tenant=LIGHT)
        await held(full, FLOOD + 1 - 2)
        async with runs.runner(**{**QUICK, "hands": 8}) as empty:

            async def busy() -> bool:
                return bool(empty._hands.busy == 8)

            await until(busy, 20, "the free hands got nothing")
            await runs.model.rules([ONE_ANSWER])
            await runs.model.release("given")
            await ended(runs, "e")
            await runs.end("e-light", tenant=LIGHT)


async def test_no_more_is_held_than_there_is_room_for(runs: Runs) -> None:
    await runs.model.rules([ONE_ANSWER | {"hold": "room"}])
    async with runs.runner(**QUICK, ahead_max=10) as runner:
        await flood(runs, "f")
        await runs.submit("f-light", tenant=LIGHT)
        await held(runner, 10)
        assert runner.ahead.held == 10
        info = await runs.bus.client.jetstream().consumer_info(topology.REQUESTS, "pool_news")
        assert info.num_pending == FLOOD + 1 - 12
        await runs.model.rules([ONE_ANSWER])
        await runs.model.release("room")
        await ended(runs, "f")
        await runs.end("f-light", tenant=LIGHT)


async def test_a_parked_run_waits_for_its_tenants_turn(runs: Runs) -> None:
    """The flood's sessions become free again and again; that alone must not feed it every hand."""
    rules = [{"match": "first", "hold": "first"}, {"match": "then", "hold": "then"}]
    await runs.model.rules([ONE_ANSWER | rule for rule in rules])
    async with runs.runner(**QUICK) as runner:
        for number in (0, 1):
            await runs.submit(f"first-{number}", tenant=HEAVY, session_id=f"t-{number}")
        await runs.model.wait_for_calls(2, timeout_s=20)
        await runs.submit("then-light", tenant=LIGHT)
        await held(runner, 1)
        parked = [f"then-{number}" for number in (0, 1)]
        for number, run_id in enumerate(parked):
            await runs.submit(run_id, tenant=HEAVY, session_id=f"t-{number}")
        await held(runner, 3)
        await runs.model.release("first")
        await runs.model.wait_for_calls(4, timeout_s=20)
        assert "question then-light" in (await questions(runs))[2:4]
        await runs.model.release("then")
        for run_id in parked:
            await runs.end(run_id, tenant=HEAVY)
        await runs.end("then-light", tenant=LIGHT)


async def test_a_drain_gives_back_at_once_what_is_held_ahead(tmp_path: Path) -> None:
    async with runs_in(tmp_path, ack_wait_s=60) as runs:
        await runs.model.rules([ONE_ANSWER | {"hold": "drain"}])
        async with runs.runner(**QUICK, drain_s=0.2) as runner:
            await flood(runs, "g")
            await runs.submit("g-light", tenant=LIGHT)
            await held(runner, FLOOD + 1 - 2)
        await runs.model.rules([ONE_ANSWER])
        async with runs.runner():
            # Far sooner than the lease of 60 s, or this would not end within its 20.
            await ended(runs, "g")
            await runs.end("g-light", tenant=LIGHT)


async def test_what_a_dead_runner_held_is_carried_out_by_the_next(tmp_path: Path) -> None:
    async with runs_in(tmp_path) as runs:
        await runs.model.rules([ONE_ANSWER | {"hold": "dead"}])
        async with runs.runner(**QUICK, drain_s=0.0) as runner:
            await flood(runs, "h")
            await runs.submit("h-light", tenant=LIGHT)
            await held(runner, FLOOD + 1 - 2)
            runner.ahead._give_back = forgotten
        await runs.model.rules([ONE_ANSWER])
        async with runs.runner():
            await ended(runs, "h")
            await runs.end("h-light", tenant=LIGHT)


async def test_a_bus_that_was_away_brings_again_what_is_held_and_it_ends_once(
    tmp_path: Path,
) -> None:
    async with runs_in(tmp_path) as runs:
        await runs.model.rules([ONE_ANSWER | {"hold": "away"}])
        async with runs.runner(**QUICK) as runner:
            await flood(runs, "i")
            await runs.submit("i-light", tenant=LIGHT)
            await held(runner, FLOOD + 1 - 2)
            await runs.nats.kill()
            await asyncio.sleep(2 * ACK_WAIT_S)
            await runs.nats.start()
            await runs.model.rules([ONE_ANSWER])
            await runs.model.release("away")
            await ended(runs, "i", wait_s=60)
            await runs.end("i-light", tenant=LIGHT)
            await runs.drained()
        assert len(await runs.stored(topology.EVENTS, "teambus.v1.event.*.*.*.completed")) == 41


async def forgotten(found: object) -> None:
    """What a killed process says of what it held."""


async def flood(runs: Runs, name: str) -> None:
    for number in range(FLOOD):
        await runs.submit(f"{name}-{number}", tenant=HEAVY)


async def ended(runs: Runs, name: str, *, wait_s: float = 20) -> None:
    for number in range(FLOOD):
        end = await runs.end(f"{name}-{number}", tenant=HEAVY, wait_s=wait_s)
        assert end.output.status == "COMPLETED"


async def held(runner: Any, count: int) -> None:
    async def enough() -> bool:
        return bool(runner.ahead.held >= count)

    await until(enough, 20, f"fewer than {count} are held ahead")


async def questions(runs: Runs) -> list[str]:
    """What the model was asked, in the order it was."""
    calls = sorted(await runs.model.calls(), key=lambda each: each.at)
    return [call.last_content for call in calls]


def position(asked: list[str], run_id: str) -> int:
    """Which call it was, counted from 1."""
    return asked.index(f"question {run_id}") + 1
