"""What becomes of a delivery, whenever its hook-runner dies and whatever the bus refuses."""

import contextlib
import time

import pytest

from teambus.bus.errors import BusUnavailable, StreamFull
from teambus.bus.events import SeenOutcome
from teambus.contracts.message import encode
from teambus.contracts.output import RunOutput, RunStatus
from teambus_hook_runner.wire import Raised, Returned
from tests.unit.hook_fakes import (
    CRASHED,
    PERMANENT,
    RAISED,
    RETURNED,
    Died,
    World,
    event,
    failed,
)

ENDINGS: dict[str, tuple[list[Returned | Raised], str, int]] = {
    "returned": ([RETURNED], "delivered", 1),
    "raised once": ([RAISED, RETURNED], "delivered", 2),
    "raised always": ([RAISED], "dead", 3),
    "permanent": ([PERMANENT], "dead", 1),
    "permanent later": ([RAISED, PERMANENT], "dead", 2),
}


async def deliver_until_settled(world: World, answers: list[Returned | Raised]) -> None:
    """As the bus does: again and again, to the next hook-runner when one died."""
    while not world.is_settled:
        assert world.delivered < 50, "never settled"
        with contextlib.suppress(Died):
            await world.courier(answers, attempts_max=3).deliver(world.held())
        if world.acts_left == 0:
            world.acts_left = 10_000


@pytest.mark.parametrize("ending", ENDINGS)
async def test_a_delivery_ends_as_it_should(ending: str) -> None:
    answers, state, attempts = ENDINGS[ending]
    world = World()
    await deliver_until_settled(world, answers)
    assert (world.outcomes[-1].state, world.outcomes[-1].attempt) == (state, attempts)
    assert [attempt for attempt, _ in world.calls] == list(range(1, attempts + 1))
    assert len(world.letters) == (state == "dead")


@pytest.mark.parametrize("acts", range(12))
@pytest.mark.parametrize("ending", ENDINGS)
async def test_a_hook_runner_that_dies_before_any_act_changes_no_ending(
    ending: str, acts: int
) -> None:
    answers, state, attempts = ENDINGS[ending]
    world = World(acts_left=acts)
    await deliver_until_settled(world, answers)
    assert (world.outcomes[-1].state, world.outcomes[-1].attempt) == (state, attempts)
    assert len(world.calls) <= attempts + 1, "only the call in flight is repeated"
    assert len(world.letters) == (state == "dead")
    for letter in world.letters.values():
        assert letter.attempts == len(letter.failures) == attempts


async def test_a_delivered_one_is_recorded_before_it_is_acknowledged() -> None:
    world = World(acts_left=2)
    with pytest.raises(Died):
        await world.courier([RETURNED]).deliver(world.held())
    assert world.outcomes[-1].state == "delivered"
    assert world.fate == []


async def test_a_letter_is_written_before_the_outcome_says_dead() -> None:
    world = World(acts_left=2)
    with pytest.raises(Died):
        await world.courier([PERMANENT]).deliver(world.held())
    assert len(world.letters) == 1
    assert world.outcomes == []


async def test_a_first_delivery_reads_nothing() -> None:
    """What stands in the stream of outcomes is not looked at before the hook is called."""
    world = World()
    world.outcome = SeenOutcome(failed(1, state="delivered"), 1)
    await world.courier([RETURNED]).deliver(world.held())
    assert len(world.calls) == 1


@pytest.mark.parametrize("refusal", [BusUnavailable("away"), StreamFull("full", 10077)])
async def test_an_outcome_the_bus_does_not_take_is_tried_until_it_does(refusal: Exception) -> None:
    world = World(refusals=[refusal, refusal, refusal])
    await world.courier([RETURNED]).deliver(world.held())
    assert len(world.calls) == 1
    assert world.outcomes[-1].state == "delivered"
    assert world.fate == ["ack"]


async def test_a_late_failure_does_not_undo_a_delivered_outcome() -> None:
    world = World(write_in_between=failed(1, state="delivered"))
    await world.courier([RAISED]).deliver(world.held())
    assert [outcome.state for outcome in world.outcomes] == ["delivered"]
    assert world.fate == ["ack"]


async def test_a_failure_is_counted_on_top_of_one_written_meanwhile() -> None:
    world = World(write_in_between=failed(1))
    await world.courier([RAISED]).deliver(world.held())
    assert [outcome.attempt for outcome in world.outcomes] == [1, 2]
    assert world.fate == ["nak later"]


async def test_a_delivery_that_comes_before_its_time_waits() -> None:
    world = World(delivered=1)
    world.outcome = SeenOutcome(failed(1, retry_at=time.time() + 30), 1)
    await world.courier([RETURNED]).deliver(world.held())
    assert world.calls == []
    assert world.fate == ["nak later"]


async def test_deliveries_without_a_record_are_no_attempts_until_there_are_too_many() -> None:
    world = World(delivered=20)
    await world.courier([RAISED]).deliver(world.held())
    assert world.outcomes[-1].attempt == 1
    world = World(delivered=21)
    await world.courier([RETURNED]).deliver(world.held())
    assert world.calls == []
    assert world.outcomes[-1].state == "dead"
    [letter] = world.letters.values()
    assert letter.reason == "delivered 21 times without an outcome"


async def test_after_a_crash_a_call_is_a_suspect() -> None:
    world = World()
    await deliver_until_settled(world, [CRASHED, RETURNED])
    assert world.calls == [(1, False), (2, True)]


async def test_of_very_many_failures_the_last_are_kept_and_all_are_counted() -> None:
    world = World()
    courier = world.courier([RAISED], attempts_max=70, backoff_s=0)
    while not world.is_settled:
        await courier.deliver(world.held())
    [letter] = world.letters.values()
    assert letter.attempts == 70
    assert [failure.attempt for failure in letter.failures] == list(range(21, 71))


async def test_an_event_the_hook_does_not_want_is_acknowledged_without_a_record() -> None:
    world = World()
    data = encode(event(status=RunStatus.ERROR))
    await world.courier([RETURNED]).deliver(world.held(data))
    assert (world.calls, world.outcomes, world.fate) == ([], [], ["ack"])


async def test_a_members_hook_goes_by_how_the_member_ended() -> None:
    world = World()
    run = RunOutput(run_id="m", agent_id="writer", status=RunStatus.COMPLETED, created_at=1)
    data = encode(event(status=RunStatus.ERROR, member_responses=[run]))
    await world.courier([RETURNED], members=("writer",)).deliver(world.held(data))
    assert len(world.calls) == 1


@pytest.mark.parametrize("data", [b"", b"{", b'{"kind":"run.request.v1"}', b"\xff\xfe"])
async def test_an_event_that_cannot_be_read_is_buried_with_what_it_said(data: bytes) -> None:
    world = World()
    await world.courier([RETURNED]).deliver(world.held(data))
    [letter] = world.letters.values()
    assert letter.body == data.decode("utf-8", "replace")
    assert (world.calls, world.fate) == ([], ["term"])


async def test_who_refused_is_left_alone_as_long_as_was_asked_for() -> None:
    world = World()
    answer = Raised(0, "raised", "NotNow: busy", "", retry_after_s=90)
    await world.courier([answer]).deliver(world.held())
    assert world.fate[-1].startswith("nak")
    retry_at = world.outcomes[-1].retry_at
    assert retry_at is not None
    assert 60 < retry_at - time.time() <= 90
