"""What a worker does with what it pulled."""

import asyncio
from typing import Any, cast

import msgspec

from teambus.bus.topology import EVENTS, REDRIVE
from teambus.contracts.catalogue import HookDescription
from teambus.runtime.hands import Hands
from teambus_hook_runner.asked import Unavailable
from teambus_hook_runner.in_hand import Held
from teambus_hook_runner.worker import Queue, Worker
from tests.unit.test_hook_in_hand import FakeBus, FakeDelivery, in_hand

HOOK = HookDescription(name="log", app="app", function="log", teams=["desk"])


class Keeper:
    retry_s = 3.0


class Courier:
    """Takes deliveries and does with each what it is told."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.taken: list[Held] = []
        self.release = asyncio.Event()

    async def deliver(self, held: Held) -> None:
        self.taken.append(held)
        if self.error is not None:
            raise self.error
        await self.release.wait()


class TurnByTurn:
    """Calls for a while, and knows in which order and how many at once."""

    def __init__(self) -> None:
        self.called: list[int] = []
        self.at_once = 0
        self.at_once_max = 0

    async def deliver(self, held: Held) -> None:
        self.called.append(held.delivery.seq)
        self.at_once += 1
        self.at_once_max = max(self.at_once_max, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1


def worker(courier: Courier) -> Worker:
    bus = cast(Any, FakeBus())
    return Worker(bus, HOOK, cast(Any, Keeper()), cast(Any, courier), drain_s=0, verify_s=1)


def queue(hands: Hands, stream: str = EVENTS) -> Queue:
    return Queue(stream, hands, in_hand(FakeBus()), beat_s=1)


async def take(courier: Courier, delivery: FakeDelivery, *, stop: bool = False) -> None:
    """As the loop does, and then the hands are let go."""
    stopping = asyncio.Event()
    if stop:
        stopping.set()
    async with Hands(1, patience_s=0.01) as hands:
        await worker(courier)._take(cast(Any, delivery), queue(hands), stopping)
        await asyncio.sleep(0)


async def test_what_arrives_after_the_stop_is_given_back_untouched() -> None:
    courier, delivery = Courier(), FakeDelivery()
    await take(courier, delivery, stop=True)
    assert courier.taken == []
    assert delivery.said == ["nak"]


async def test_what_is_unfinished_when_the_hands_let_go_is_given_back() -> None:
    courier, delivery = Courier(), FakeDelivery()
    await take(courier, delivery)
    assert len(courier.taken) == 1
    assert delivery.said == ["nak"]


async def test_what_could_not_be_called_is_given_back() -> None:
    delivery = FakeDelivery()
    await take(Courier(Unavailable("no process")), delivery)
    assert delivery.said == ["nak"]


async def test_what_could_not_be_settled_is_left_to_the_bus() -> None:
    delivery = FakeDelivery()
    await take(Courier(RuntimeError("broken")), delivery)
    assert delivery.said == []


async def test_events_and_redrives_take_turns_and_are_never_called_beside_each_other() -> None:
    """The hook may be called once at a time."""
    courier = TurnByTurn()
    by = Worker(
        cast(Any, FakeBus()),
        msgspec.structs.replace(HOOK, concurrency_max=1),
        cast(Any, Keeper()),
        cast(Any, courier),
        drain_s=0,
        verify_s=1,
    )
    async with Hands(4, patience_s=5) as many, Hands(1, patience_s=5) as few:
        events, redriven = queue(many), queue(few, REDRIVE)
        for seq in (1, 2):
            await by._take(cast(Any, FakeDelivery(seq)), events, asyncio.Event())
        await by._take(cast(Any, FakeDelivery(9)), redriven, asyncio.Event())
        for seq in (3, 4):
            await by._take(cast(Any, FakeDelivery(seq)), events, asyncio.Event())
    assert courier.called == [1, 2, 9, 3, 4]
    assert courier.at_once_max == 1


async def test_redrives_never_fill_more_than_half_of_the_hands() -> None:
    for concurrency_max, of_redrives in ((1, 1), (2, 1), (5, 2), (16, 8)):
        by = worker(Courier())
        by.hook = msgspec.structs.replace(HOOK, concurrency_max=concurrency_max)
        events, redriven = by._queues(1)
        assert (events.stream, redriven.stream) == (EVENTS, REDRIVE)
        assert (events.hands.spare, redriven.hands.spare) == (concurrency_max, of_redrives)


async def test_what_waits_for_its_turn_when_the_drain_is_over_is_given_back() -> None:
    courier, delivery = Courier(), FakeDelivery()
    by = worker(courier)
    by.turns = asyncio.Semaphore(0)
    async with Hands(1, patience_s=0.01) as hands:
        await by._take(cast(Any, delivery), queue(hands), asyncio.Event())
        await asyncio.sleep(0)
    assert courier.taken == []
    assert delivery.said == ["nak"]
