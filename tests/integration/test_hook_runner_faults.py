"""Hooks that block, hold the interpreter, never yield or end their process: only they suffer."""

import os
import signal
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.integration.hook_parts import Ground, ground

pytestmark = pytest.mark.asyncio(loop_scope="module")

TIMEOUT_S = 2
KILL_AFTER_S = 0.5


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def on(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ground]:
    """One hook-runner for all these tests; each has runs of its own."""
    async with ground(tmp_path_factory.mktemp("hooks")) as made:
        await made.started()
        yield made


@pytest.fixture
def run(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)


async def is_heard_meanwhile(on: Ground, run: str, hook: str) -> bool:
    """Whether another hook is delivered another run within half a second."""
    asked = time.monotonic()
    await on.complete(f"{run}-meanwhile", **{name: ["return"] for name in ("first", "plain")})
    await on.stands(hook, f"{run}-meanwhile", "delivered")
    return time.monotonic() - asked < 0.5


@pytest.mark.parametrize("act", ["block 1.5", "hold 1.5", "sleep 1.5"])
async def test_a_hook_that_is_slow_in_its_own_time_is_delivered_once(
    on: Ground, run: str, act: str
) -> None:
    """Longer than ack_wait: it is kept in hand from outside, whatever it does inside."""
    await on.complete(run, first=[act])
    await on.told(1, run=run, hook="first")
    assert await is_heard_meanwhile(on, run, "second")
    done = await on.stands("first", run, "delivered")
    await on.settled("first", "second")
    assert (done.attempt, done.failures) == (1, [])
    assert len(on.story(run=run, hook="first")) == 1


async def test_a_hook_over_its_time_is_cancelled_and_tried_again(on: Ground, run: str) -> None:
    await on.complete(run, first=["sleep 60", "return"])
    done = await on.stands("first", run, "delivered")
    assert [failure.code for failure in done.failures] == ["timeout"]
    lasted = done.failures[0].failed_at - done.failures[0].started_at
    assert TIMEOUT_S <= lasted < TIMEOUT_S + KILL_AFTER_S
    assert len({line["pid"] for line in on.story(run=run, hook="first")}) == 1


async def test_a_hook_that_cleans_up_when_cancelled_has_not_done_its_work(
    on: Ground, run: str
) -> None:
    await on.complete(run, first=["clean 60", "return"])
    done = await on.stands("first", run, "delivered")
    assert [failure.code for failure in done.failures] == ["timeout"]


@pytest.mark.parametrize(
    ("hook", "act"),
    [
        ("first", "block 60"),
        ("first", "hold 60"),
        ("first", "never"),
        ("plain", "block 60"),
        ("plain", "hold 60"),
    ],
)
async def test_a_hook_that_does_not_yield_is_killed_and_tried_again(
    on: Ground, run: str, hook: str, act: str
) -> None:
    await on.complete(run, **{hook: [act, "return"]})
    await on.told(1, run=run, hook=hook)
    assert await is_heard_meanwhile(on, run, "second")
    done = await on.stands(hook, run, "delivered")
    await on.settled(hook, "second")
    assert [failure.code for failure in done.failures] == ["timeout"]
    began = on.story(run=run, hook=hook)
    assert began[1]["at"] - began[0]["at"] >= TIMEOUT_S + KILL_AFTER_S
    assert len({line["pid"] for line in began}) == 2
    assert len(began) == 2


@pytest.mark.parametrize("act", ["exit", "crash"])
@pytest.mark.parametrize("hook", ["first", "plain"])
async def test_a_hook_that_ends_its_process_each_time_dies_alone(
    on: Ground, run: str, hook: str, act: str
) -> None:
    others = [f"{run}-other-{n}" for n in range(3)]
    await on.complete(run, **{hook: [act]})
    for each in others:
        await on.complete(each)
    dead = await on.stands(hook, run, "dead")
    assert [failure.code for failure in dead.failures] == ["crashed"] * 3
    assert await on.letter(hook, run) is not None
    for each in others:
        assert (await on.stands("second", each, "delivered")).attempt == 1
        await on.stands(hook, each, "delivered")
    second = await on.stands("second", run, "delivered")
    assert (second.attempt, second.failures) == (1, [])


async def test_the_time_of_a_call_begins_when_its_code_does(on: Ground, run: str) -> None:
    await on.complete(f"{run}-before", first=["block 1.5"])
    await on.told(1, run=f"{run}-before", hook="first")
    await on.complete(run, first=["sleep 1.5"])
    done = await on.stands("first", run, "delivered")
    assert (done.attempt, done.failures) == (1, [])


async def test_calls_beside_one_that_is_killed_are_called_again_uncounted(
    on: Ground, run: str
) -> None:
    await on.complete(f"{run}-guilty", first=["block 60", "return"])
    await on.told(1, run=f"{run}-guilty", hook="first")
    await on.complete(f"{run}-waiting", first=["return"])
    guilty = await on.stands("first", f"{run}-guilty", "delivered")
    waiting = await on.stands("first", f"{run}-waiting", "delivered")
    assert [failure.code for failure in guilty.failures] == ["timeout"]
    assert (waiting.attempt, waiting.failures) == (1, [])


async def test_a_call_that_was_frozen_by_another_is_not_to_blame(on: Ground, run: str) -> None:
    """Both are over their time when the process is killed; only one of them had the loop."""
    await on.complete(f"{run}-frozen", first=["sleep 1", "return"])
    await on.told(1, run=f"{run}-frozen", hook="first")
    await on.complete(f"{run}-guilty", first=["block 60", "return"])
    guilty = await on.stands("first", f"{run}-guilty", "delivered")
    frozen = await on.stands("first", f"{run}-frozen", "delivered")
    assert [failure.code for failure in guilty.failures] == ["timeout"]
    assert (frozen.attempt, frozen.failures) == (1, [])


async def test_threads_beside_one_that_ends_the_process_survive_it(on: Ground, run: str) -> None:
    """Nobody knows which thread did it, so all have failed once; then each is called alone."""
    beside = [f"{run}-beside-{n}" for n in range(3)]
    for each in beside:
        await on.complete(each, plain=["block 1"])
        await on.told(1, run=each, hook="plain")
    await on.complete(run, plain=["exit"])
    assert (await on.stands("plain", run, "dead")).attempt == 3
    for each in beside:
        assert (await on.stands("plain", each, "delivered")).attempt <= 2


async def test_a_killed_hook_process_is_replaced(on: Ground, run: str) -> None:
    await on.complete(f"{run}-1")
    [before] = await on.told(1, run=f"{run}-1", hook="second")
    os.kill(before["pid"], signal.SIGKILL)
    await on.complete(f"{run}-2")
    [after] = await on.told(1, run=f"{run}-2", hook="second")
    assert after["pid"] != before["pid"]


async def test_no_delivery_ran_twice_at_a_time(on: Ground) -> None:
    """Of all deliveries of all tests here: each began only when its last attempt had ended."""
    await on.settled("first", "second", "plain")
    began = on.story()
    assert began
    tries = [(line["hook"], line["run"], line["attempt"]) for line in began]
    twice = {each for each in tries if tries.count(each) > 1}
    uncounted = {each for each in twice if "waiting" in each[1] or "frozen" in each[1]}
    assert twice == uncounted
