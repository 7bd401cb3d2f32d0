"""What is in hand: kept alive while the bus hears us, and left alone once another may have it."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from teambus_hook_runner.in_hand import Held, InHand

ACK_WAIT_S = 0.1


@dataclass
class FakeBus:
    connected: bool = True


@dataclass
class FakeDelivery:
    seq: int = 7
    attempt: int = 1
    said: list[str] = field(default_factory=list)
    arrived_at: float = field(default_factory=time.monotonic)

    async def in_progress(self) -> None:
        self.said.append("in progress")

    async def ack(self) -> None:
        self.said.append("ack")

    async def nak(self, _: float = 0) -> None:
        self.said.append("nak")


def in_hand(bus: FakeBus) -> InHand:
    return InHand(cast(Any, bus), ACK_WAIT_S)


def take(hand: InHand, delivery: FakeDelivery) -> Held | None:
    return hand.take(cast(Any, delivery))


async def lapse() -> None:
    await asyncio.sleep(ACK_WAIT_S * 1.5)


async def test_what_is_in_hand_stays_fresh() -> None:
    hand, delivery = in_hand(FakeBus()), FakeDelivery()
    held = take(hand, delivery)
    assert held is not None
    async with hand.heartbeats():
        await lapse()
        assert not held.lost
    assert delivery.said.count("in progress") >= 2


async def test_a_delivery_of_what_is_in_hand_replaces_its_handle() -> None:
    hand, before, after = in_hand(FakeBus()), FakeDelivery(), FakeDelivery(attempt=2)
    held = take(hand, before)
    assert held is not None
    assert take(hand, after) is None
    await held.nak(0)
    assert (before.said, after.said) == ([], ["nak"])
    hand.let_go(held)
    assert take(hand, after) is not None


@pytest.mark.parametrize("connected", [True, False])
async def test_of_what_the_bus_has_not_heard_for_long_nothing_is_said_but_done(
    connected: bool,
) -> None:
    bus, delivery = FakeBus(), FakeDelivery()
    held = take(in_hand(bus), delivery)
    assert held is not None
    bus.connected = connected
    await lapse()
    await held.beat()
    await held.nak(0)
    assert delivery.said == []
    await held.ack()
    assert delivery.said == ["ack"]


async def test_what_comes_again_after_an_outage_is_fresh_again() -> None:
    bus, delivery = FakeBus(), FakeDelivery()
    hand = in_hand(bus)
    held = take(hand, delivery)
    assert held is not None
    await lapse()
    assert held.lost
    take(hand, FakeDelivery(attempt=2))
    assert not held.lost
