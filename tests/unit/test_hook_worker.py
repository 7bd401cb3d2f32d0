"""What a worker does with what it pulled."""

import asyncio
from typing import Any, cast

from teambus.contracts.catalogue import HookDescription
from teambus.runtime.hands import Hands
from teambus_hook_runner.asked import Unavailable
from teambus_hook_runner.in_hand import Held
from teambus_hook_runner.worker import Worker
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


def worker(courier: Courier) -> Worker:
    bus = cast(Any, FakeBus())
    return Worker(bus, HOOK, cast(Any, Keeper()), cast(Any, courier), drain_s=0, verify_s=1)


async def take(courier: Courier, delivery: FakeDelivery, *, stop: bool = False) -> None:
    """As the loop does, and then the hands are let go."""
    stopping = asyncio.Event()
    if stop:
        stopping.set()
    async with Hands(1, patience_s=0.01) as hands:
        await worker(courier)._take(cast(Any, delivery), in_hand(FakeBus()), hands, stopping)
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
