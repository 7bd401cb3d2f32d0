"""A completed event reaches each hook, whatever other hooks do, until it is done or given up."""

import itertools
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.integration.hook_parts import TENANT, Ground, completed, ground

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONCURRENCY_MAX = 16
"""What a hook allows unless it says otherwise."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def on(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ground]:
    """One hook-runner for all these tests; each has a run of its own."""
    async with ground(tmp_path_factory.mktemp("hooks")) as made:
        await made.started()
        yield made


@pytest.fixture
def run(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)


async def test_each_hook_hears_of_a_run_once(on: Ground, run: str) -> None:
    await on.complete(run)
    for name in ("first", "second", "plain"):
        await on.stands(name, run, "delivered")
    await on.settled("first", "second", "plain")
    assert sorted(line["hook"] for line in on.story(run=run)) == ["first", "plain", "second"]


async def test_a_hook_that_raises_does_not_stop_another_that_runs(on: Ground, run: str) -> None:
    await on.complete(run, first=["raise", "return"], second=["sleep 1"])
    second = await on.stands("second", run, "delivered")
    first = await on.stands("first", run, "delivered")
    assert (first.attempt, [f.code for f in first.failures]) == (2, ["raised"])
    assert second.attempt == 1
    assert len(on.story(run=run, hook="second")) == 1


async def test_a_failure_says_what_why_and_when_next(on: Ground, run: str) -> None:
    await on.complete(run, first=["raise", "return"])
    done = await on.stands("first", run, "delivered")
    assert done.failures[0].error == "ValueError: the hook said no"
    [line] = [line for line in on.log() if line.get("run_id") == run]
    assert {
        "hook": "first",
        "event": "hook failed",
        "team_id": "desk",
        "tenant": TENANT,
    }.items() <= line.items()
    assert line["attempt"] == 1
    assert 0 < line["next_try_in_s"] <= 0.2


async def test_attempts_that_are_used_up_end_as_a_dead_letter(on: Ground, run: str) -> None:
    await on.complete(run, plain=["raise"])
    dead = await on.stands("plain", run, "dead")
    await on.settled("plain")
    letter = await on.letter("plain", run)
    assert letter is not None
    assert letter.event is not None
    assert (dead.attempt, letter.attempts, letter.event.run_id) == (3, 3, run)
    assert [failure.attempt for failure in letter.failures] == [1, 2, 3]
    assert letter.reason == "gave up after 3 attempts: ValueError: the hook said no"
    assert letter.traceback is not None
    assert "raise ValueError" in letter.traceback
    assert len(on.story(run=run, hook="plain")) == 3


async def test_a_permanent_failure_is_not_tried_again(on: Ground, run: str) -> None:
    await on.complete(run, first=["permanent"])
    dead = await on.stands("first", run, "dead")
    await on.settled("first")
    assert [failure.code for failure in dead.failures] == ["permanent"]
    assert len(on.story(run=run, hook="first")) == 1


async def test_retries_wait_longer_each_time(on: Ground, run: str) -> None:
    await on.complete(run, first=["raise"])
    await on.stands("first", run, "dead")
    began = [line["at"] for line in on.story(run=run, hook="first")]
    assert began[1] - began[0] >= 0.15
    assert began[2] - began[1] >= 0.3


@pytest.mark.parametrize("name", ["first", "plain"])
@pytest.mark.parametrize("act", ["odd", "quit"])
async def test_whatever_a_hook_raises_is_a_failure_and_no_more(
    on: Ground, run: str, name: str, act: str
) -> None:
    await on.complete(run, **{name: [act, "return"]})
    done = await on.stands(name, run, "delivered")
    assert [failure.code for failure in done.failures] == ["raised"]
    assert len({line["pid"] for line in on.story(run=run, hook=name)}) == 1


async def test_a_print_reaches_stdout_at_once(on: Ground, run: str) -> None:
    await on.complete(run, plain=["print 1.5"])
    began = (await on.told(1, run=run, hook="plain"))[0]["at"]
    while "said by the hook" not in on.runners[0].log.read_text():
        assert time.monotonic() < began + 1.4, "not printed while the hook runs"
    await on.stands("plain", run, "delivered")


async def test_an_event_that_cannot_be_read_is_buried(on: Ground) -> None:
    js = on.bus.client.jetstream()
    await js.publish(f"teambus.v1.event.{TENANT}.desk.bad.completed", b'{"kind":"nonsense"}')
    await on.settled("first", "second", "plain")
    letter = await on.letter("first", "bad")
    assert letter is not None
    assert letter.body == '{"kind":"nonsense"}'
    assert "run.completed.v1" in letter.reason
    assert on.story(run="bad") == []


async def test_a_body_too_large_for_a_message_is_delivered(on: Ground, run: str) -> None:
    event = completed(run, content=" " * 2_000_000 + "{}")
    assert await on.events.complete(event)
    for name in ("first", "second", "plain"):
        await on.stands(name, run, "delivered")


async def test_many_events_are_each_delivered_once(on: Ground) -> None:
    runs = [f"many-{n}" for n in range(60)]
    for each in runs:
        await on.complete(each, first=["raise", "return"])
    for each in runs:
        await on.stands("first", each, "delivered")
    await on.settled("first", "second", "plain")
    second = [line["run"] for line in on.story(hook="second") if line["run"] in runs]
    first = [line["run"] for line in on.story("ended", hook="first") if line["run"] in runs]
    assert sorted(second) == sorted(runs)
    assert sorted(first) == sorted(runs)


async def test_a_hook_is_called_no_more_often_at_once_than_it_allows(on: Ground, run: str) -> None:
    names = [f"{run}-{number}" for number in range(2 * CONCURRENCY_MAX)]
    for name in names:
        await on.complete(name, second=["sleep 0.3"])
    for name in names:
        await on.stands("second", name, "delivered")
    begun = [(line["at"], 1) for name in names for line in on.story(run=name, hook="second")]
    ended = [
        (line["at"], -1) for name in names for line in on.story("ended", run=name, hook="second")
    ]
    at_once = list(itertools.accumulate(change for _, change in sorted([*begun, *ended])))
    assert (len(begun), len(ended)) == (len(names), len(names))
    assert 1 < max(at_once) <= CONCURRENCY_MAX
