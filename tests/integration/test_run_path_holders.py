"""A redelivery while the holder lives: the holder is asked, and the run is left to it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog
from nats.aio.msg import Msg
from nats.errors import NoRespondersError

from teambus.contracts import subjects
from teambus_team_runner.holders import HolderLimits, Holders
from tests.integration.bus_parts import Here, connected, disconnected, here
from tests.integration.run_parts import ACK_WAIT_S, Runs, runs_in, until
from tests.support.link import link_to

CALLS_OF_A_RUN = 4
PATIENT = HolderLimits(answer_s=30, return_s=30)


@pytest.fixture
async def runs(tmp_path: Path) -> AsyncIterator[Runs]:
    async with runs_in(tmp_path) as runs:
        yield runs


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as entries:
        yield entries


@pytest.mark.parametrize("holder_is", ["back at once", "back later"])
async def test_a_run_is_left_to_its_holder_when_the_bus_was_away_for_longer_than_its_lease(
    runs: Runs, logged: list[Any], holder_is: str
) -> None:
    await runs.model.rules([{"match": "", "hold": "outage", "times": 1}])
    async with AsyncExitStack() as stack:
        link = await stack.enter_async_context(link_to(runs.nats.port))
        # With its one hand full it asks for no more: what comes again comes to the other.
        await stack.enter_async_context(runs.runner(url=link.url, hands=1))
        await runs.submit("held", session_id="s")
        await runs.model.wait_for_calls(1, timeout_s=20)
        other = await stack.enter_async_context(runs.runner(holder_return_s=30.0))
        await until(lambda: _answers(runs, other), 20, "not at work")
        link.refuse()
        await runs.nats.kill()
        await disconnected(runs.bus)
        await asyncio.sleep(1.5 * ACK_WAIT_S)
        await runs.nats.start()
        if holder_is == "back later":
            await until(lambda: _is_in_hand(other), 20, "not delivered again")
        await link.listen()
        await connected(runs.bus)
        # A holder that is back at once may be in time to keep its message.
        if holder_is == "back later":
            await until(lambda: _is_left(logged), 20, "not left to its holder")
        await runs.model.release("outage")
        assert (await runs.end("held")).output.status == "COMPLETED"
        await runs.drained()
        await runs.free("s")
    assert len(await runs.model.calls()) == CALLS_OF_A_RUN
    past = await runs.past("held")
    assert past.first == past.latest, "nobody else made an attempt"


async def test_a_run_left_to_a_holder_that_dies_after_all_is_taken(
    runs: Runs, logged: list[Any]
) -> None:
    await runs.dies("left", 1)
    async with runs.runner() as runner:
        holders = runner._attempts.holders
        dead = Holders(runs.bus, "dead", holders.limits)
        async with dead.answering(lambda *_: True):
            await runs.submit("left")
            await until(lambda: _is_left(logged), 20, "not left to its holder")
            assert await runs.model.calls() == []
        assert (await runs.end("left")).output.status == "COMPLETED"


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Here]:
    async with here(tmp_path) as place:
        yield place


@pytest.mark.parametrize("holds", [True, False])
async def test_a_holder_that_lives_says_whether_it_has_the_run(place: Here, holds: bool) -> None:
    mine, other = Holders(place.bus, "mine", PATIENT), Holders(place.bus, "other.host", PATIENT)
    asked: list[tuple[str, str]] = []

    def has(tenant: str, run_id: str) -> bool:
        asked.append((tenant, run_id))
        return holds

    async with other.answering(has):
        assert await mine.has_another("acme", "r 1", "other.host") is holds
    assert asked == [("acme", "r 1")]


async def test_nobody_is_asked_about_a_run_that_nobody_or_this_runner_has() -> None:
    nothing: Any = None
    mine = Holders(nothing, "mine", PATIENT)
    assert not await mine.has_another("default", "r", None)
    assert not await mine.has_another("default", "r", "mine")


async def test_a_dead_holder_is_known_at_once(place: Here) -> None:
    mine = Holders(place.bus, "mine", PATIENT)
    async with asyncio.timeout(25):
        assert not await mine.has_another("default", "r", "gone")


async def test_a_stopped_holder_is_waited_for_no_longer_than_allowed(place: Here) -> None:
    async def silent(_: Msg) -> None:
        """It hears and says nothing."""

    subject = subjects.api("*", "runner.stopped.holds")
    await place.bus.client.subscribe(subject, cb=silent)
    mine = Holders(place.bus, "mine", HolderLimits(answer_s=0.1))
    assert not await mine.has_another("default", "r", "stopped")


async def test_a_holder_that_cannot_answer_lives_all_the_same(place: Here) -> None:
    def cannot(*_: str) -> bool:
        raise ValueError("not now")

    mine, other = Holders(place.bus, "mine", PATIENT), Holders(place.bus, "other", PATIENT)
    async with other.answering(cannot):
        assert await mine.has_another("default", "r", "other")


async def test_a_question_that_cannot_be_read_is_told_so(place: Here) -> None:
    other = Holders(place.bus, "other", PATIENT)
    async with other.answering(lambda *_: True):
        subject = subjects.api("default", "runner.other.holds")
        reply = await place.bus.client.request(subject, msgspec.json.encode([]), timeout=20)
    assert (reply.headers or {})["Nats-Service-Error-Code"] == "400"


async def _answers(runs: Runs, runner: Any) -> bool:
    subject = subjects.api("default", f"runner.{runner._attempts.holders.runner}.holds")
    try:
        await runs.bus.client.request(subject, b'{"run_id": "none"}', timeout=20)
    except NoRespondersError:
        return False
    return True


async def _is_in_hand(runner: Any) -> bool:
    return bool(runner._in_hand)


async def _is_left(logged: list[Any]) -> bool:
    return any(entry["event"].startswith("left the run") for entry in logged)
