"""What becomes of a redriven delivery, whenever its hook-runner dies."""

import contextlib

import pytest

from teambus.bus.events import SeenOutcome
from teambus.contracts.hook import HookOutcome
from teambus_hook_runner.wire import Raised, Returned
from tests.unit.hook_fakes import (
    PERMANENT,
    RAISED,
    RETURNED,
    TENANT,
    Died,
    World,
    failed,
    letter,
    redrive,
)
from tests.unit.test_hook_courier import ENDINGS


def redriven(*, old_letter: bool) -> World:
    """It died, was redriven, and the redriver died before it took the letter away, or after."""
    world = World(outcome=SeenOutcome(failed(3, state="dead"), 1))
    if old_letter:
        world.letters[letter().id] = letter()
    else:
        world.outcome = SeenOutcome(failed(0, state="redriven", generation=1), 2)
    return world


async def deliver_until_settled(world: World, answers: list[Returned | Raised]) -> None:
    while not world.is_settled:
        assert world.delivered < 50, "never settled"
        with contextlib.suppress(Died):
            await world.courier(answers, attempts_max=3).deliver(world.held(redrive()))
        if world.acts_left == 0:
            world.acts_left = 10_000


@pytest.mark.parametrize("old_letter", [True, False])
@pytest.mark.parametrize("acts", [*range(12), 10_000])
@pytest.mark.parametrize("ending", ENDINGS)
async def test_a_redriven_delivery_has_attempts_of_its_own_whenever_its_hook_runner_dies(
    ending: str, acts: int, old_letter: bool
) -> None:
    answers, state, attempts = ENDINGS[ending]
    world = redriven(old_letter=old_letter)
    world.acts_left = acts
    await deliver_until_settled(world, answers)
    end = world.outcomes[-1]
    assert (end.state, end.attempt, end.generation) == (state, attempts, 1)
    assert len(world.calls) <= attempts + 1, "only the call in flight is repeated"
    assert [kept.generation for kept in world.letters.values()] == [1] * (state == "dead")
    for kept in world.letters.values():
        assert kept.attempts == len(kept.failures) == attempts


@pytest.mark.parametrize("outcome", [failed(0, "redriven", generation=1), None])
async def test_a_delivery_that_was_redriven_since_is_acknowledged_uncalled(
    outcome: HookOutcome | None,
) -> None:
    world = World(delivered=1)
    if outcome is None:
        world.letters[letter(1).id] = letter(1)
    else:
        world.outcome = SeenOutcome(outcome, 2)
    await world.courier([RETURNED]).deliver(world.held())
    assert (world.calls, world.outcomes, world.fate) == ([], [], ["ack"])


async def test_a_redrive_that_was_delivered_is_not_called_again() -> None:
    """The same redrive may be stored twice, when its first answer was lost for long."""
    world = World(outcome=SeenOutcome(failed(1, state="delivered", generation=1), 2))
    await world.courier([RETURNED]).deliver(world.held(redrive()))
    assert (world.calls, world.fate) == ([], ["ack"])


async def test_a_redrive_may_be_delivered_though_an_earlier_delivery_was() -> None:
    world = World(outcome=SeenOutcome(failed(1, state="delivered"), 1))
    await world.courier([RETURNED]).deliver(world.held(redrive()))
    assert [attempt for attempt, _ in world.calls] == [1]
    assert world.outcomes[-1].generation == 1


async def test_a_redriven_delivery_that_ended_its_process_is_a_suspect() -> None:
    world = World()
    await world.courier([RAISED]).deliver(world.held(redrive(suspect=True)))
    assert world.calls == [(1, True)]


async def test_each_generation_is_buried_anew() -> None:
    world = World()
    for generation in range(3):
        data = redrive(generation) if generation else None
        await world.courier([PERMANENT]).deliver(world.held(data))
        [kept] = world.letters.values()
        assert kept.generation == generation


async def test_a_redrive_that_cannot_be_read_is_buried_under_an_id_of_its_own() -> None:
    world = World()
    held = world.held(b'{"kind":"hook.redrive.v1"')
    held.delivery.subject = f"teambus.v1.redrive.{TENANT}.log"
    held.delivery.headers = {"Teambus-Run-Id": "r1"}
    await world.courier([RETURNED]).deliver(held)
    [kept] = world.letters.values()
    assert (kept.id, kept.run_id) == (f"{TENANT}:log:redrive-7", "r1")
    assert (world.calls, world.fate) == ([], ["term"])
