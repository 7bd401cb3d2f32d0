"""Pulling: nothing is parked longer than it must, whatever ends the pull."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from nats.aio.msg import Msg

from teambus.bus import topology
from teambus.bus.connection import Bus
from teambus.bus.provision import provision
from teambus.bus.pull import Inbox
from teambus.bus.reads import call
from tests.integration.bus_parts import (
    APP,
    POOL,
    Here,
    connected,
    disconnected,
    fetch,
    here,
    until,
)

NEVER = asyncio.Event
ACK_WAIT_S = 60
"""Far longer than any test: what comes sooner was given back."""


def inbox(bus: Bus, **changes: float) -> Inbox:
    return Inbox(bus, topology.REQUESTS, POOL, **{"heartbeat_s": 0.3, "expires_s": 2.0, **changes})


@asynccontextmanager
async def asks(place: Here) -> AsyncIterator[list[Msg]]:
    """The pulls that are sent from now on, by whomever."""
    seen: list[Msg] = []

    async def note(message: Msg) -> None:
        seen.append(message)

    async with place.another() as bus:
        await bus.client.subscribe("$JS.API.CONSUMER.MSG.NEXT.>", cb=note)
        await bus.barrier()
        yield seen


async def test_no_more_is_fetched_than_asked_for(tmp_path: Path) -> None:
    async with here(tmp_path, ack_wait_s=ACK_WAIT_S) as place, inbox(place.bus) as pulling:
        for number in range(5):
            await place.submit(number)
        first = await fetch(pulling, 2, within_s=5)
        assert [delivery.data for delivery in first] == [b"0", b"1"]
        async with place.another() as bus, inbox(bus) as other:
            assert len(await fetch(other, 3, within_s=5)) == 3


async def test_more_is_asked_for_when_half_of_it_has_come(tmp_path: Path) -> None:
    patient = {"heartbeat_s": 20, "expires_s": 60}
    async with (
        here(tmp_path) as place,
        asks(place) as seen,
        inbox(place.bus, **patient) as pulling,
    ):
        for number in range(5):
            await place.submit(number)
            assert len(await pulling.fetch(8, NEVER())) == 1

        async def asked_again() -> bool:
            return len(seen) > 1

        await until(asked_again)
        assert [msgspec.json.decode(ask.data)["batch"] for ask in seen] == [8, 4]


async def test_a_fetch_that_lingers_brings_what_comes_soon_after_the_first(tmp_path: Path) -> None:
    async with here(tmp_path) as place, inbox(place.bus, linger_s=50, expires_s=90) as pulling:
        began = time.monotonic()
        asking = asyncio.create_task(pulling.fetch(3, NEVER()))
        for number in range(3):
            await place.submit(number)
        assert [delivery.data for delivery in await asking] == [b"0", b"1", b"2"]
        assert time.monotonic() - began < 30, "all it asked for was there"


async def test_a_fetch_that_lingers_ends_when_told_to_stop(tmp_path: Path) -> None:
    async with here(tmp_path) as place, inbox(place.bus, linger_s=60, expires_s=90) as pulling:
        stop = asyncio.Event()
        asking = asyncio.create_task(pulling.fetch(2, stop))
        await place.submit(1)

        async def arrived() -> bool:
            return pulling.asked == 1

        await until(arrived)
        stop.set()
        async with asyncio.timeout(30):
            assert [delivery.data for delivery in await asking] == [b"1"]


async def test_what_arrives_before_closing_is_given_back_at_once(tmp_path: Path) -> None:
    async with here(tmp_path, ack_wait_s=ACK_WAIT_S) as place, place.another() as bus:
        for round_ in range(10):
            async with inbox(bus) as closing:
                asking = asyncio.create_task(closing.fetch(8, NEVER()))
                await asyncio.gather(*(place.submit(number) for number in range(8)))
                # What the fetch did not return is on its way, or here and not fetched.
                taken = await asking
            async with inbox(place.bus) as next_one:
                left = await fetch(next_one, 8 - len(taken), within_s=5)
                assert len(left) == 8 - len(taken), f"round {round_}"
            for delivery in (*taken, *left):
                await delivery.ack()


async def test_closing_amid_a_flood_parks_nothing(tmp_path: Path) -> None:
    async with here(tmp_path, ack_wait_s=ACK_WAIT_S) as place, place.another() as bus:
        seen: set[bytes] = set()
        flood = asyncio.create_task(_flood(place, 300))
        while not flood.done():
            async with inbox(bus) as closing:
                for delivery in await closing.fetch(16, NEVER()):
                    seen.add(delivery.data)
                    await delivery.ack()
        async with inbox(place.bus) as last:
            for delivery in await fetch(last, 300 - len(seen), within_s=5):
                seen.add(delivery.data)
        assert len(seen) == 300


async def test_held_off_arrivals_go_back_until_the_next_fetch(tmp_path: Path) -> None:
    async with here(tmp_path, ack_wait_s=ACK_WAIT_S) as place, inbox(place.bus) as busy:
        asking = asyncio.create_task(busy.fetch(1, NEVER()))
        await asking
        await busy.hold_off()
        async with place.another() as bus, inbox(bus) as other:
            await other.fetch(1, NEVER())
            await place.submit(1)
            assert len(await fetch(other, 1, within_s=5)) == 1


async def test_work_is_pulled_again_after_a_crash_of_the_server(tmp_path: Path) -> None:
    # What the dying server had counted as delivered and never sent comes again after `ack_wait`.
    async with here(tmp_path, ack_wait_s=2) as place, inbox(place.bus) as pulling:
        pulled = asyncio.create_task(_distinct(pulling, 20))
        for number in range(3):
            await place.submit(number)
            await place.nats.kill()
            await disconnected(place.bus)
            await place.nats.start()
            await connected(place.bus)
        for number in range(17):
            await place.submit(100 + number)
        async with asyncio.timeout(15):
            await pulled


async def test_a_pull_is_asked_again_as_soon_as_the_connection_is_back(tmp_path: Path) -> None:
    async with here(tmp_path) as place:
        async with inbox(place.bus, heartbeat_s=20, expires_s=60) as pulling:
            async with asks(place) as seen:
                pulled = asyncio.create_task(pulling.fetch(1, NEVER()))

                async def asked() -> bool:
                    return bool(seen)

                await until(asked)
            await place.nats.kill()
            await disconnected(place.bus)
            await place.nats.start()
            async with asyncio.timeout(10):
                assert await pulled == []
                await place.submit(1)
                assert len(await pulling.fetch(1, NEVER())) == 1


async def test_a_fetch_in_an_outage_returns_and_asks_nothing(tmp_path: Path) -> None:
    async with here(tmp_path) as place, inbox(place.bus) as pulling:
        assert await pulling.fetch(1, NEVER()) == []
        await place.nats.kill()
        await disconnected(place.bus)
        async with asyncio.timeout(5):
            assert await pulling.fetch(1, NEVER()) == []
            assert await pulling.fetch(1, NEVER()) == []


async def test_a_pull_that_fell_silent_is_asked_again(tmp_path: Path) -> None:
    async with here(tmp_path) as place, place.linked() as (link, bus), asks(place) as seen:
        async with inbox(bus, expires_s=30) as pulling:
            await pulling.fetch(1, NEVER())
            link.deaf = True
            before = len(seen)
            for _ in range(5):
                await pulling.fetch(1, NEVER())
            assert len(seen) > before
            link.mend()
            await connected(bus)
            await place.submit(1)
            assert len(await fetch(pulling, 1, within_s=10)) == 1


async def test_a_deleted_consumer_is_asked_for_now_and_then(tmp_path: Path) -> None:
    async with here(tmp_path) as place, place.another() as bus, inbox(bus) as pulling:
        await pulling.fetch(1, NEVER())
        await call(place.bus, f"$JS.API.CONSUMER.DELETE.{topology.REQUESTS}.{POOL}", b"")
        before = bus.client.stats["out_msgs"]
        assert await fetch(pulling, 1, within_s=3) == []
        assert 1 <= bus.client.stats["out_msgs"] - before <= 4
        await provision(place.bus, APP, topology.TopologySettings())
        await place.submit(1)
        assert len(await fetch(pulling, 1, within_s=5)) == 1


async def test_a_fetch_ends_when_told_to_stop(tmp_path: Path) -> None:
    async with here(tmp_path) as place, asks(place) as seen:
        async with inbox(place.bus, heartbeat_s=30, expires_s=60) as pulling:
            stop = asyncio.Event()
            fetching = asyncio.create_task(pulling.fetch(1, stop))

            async def asked() -> bool:
                return bool(seen)

            await until(asked)
            stop.set()
            async with asyncio.timeout(5):
                assert await fetching == []


async def test_nothing_is_said_about_a_message_without_a_connection(tmp_path: Path) -> None:
    async with here(tmp_path, ack_wait_s=ACK_WAIT_S) as place, place.another() as bus:
        async with inbox(bus) as pulling:
            await place.submit(1)
            (delivery,) = await fetch(pulling, 1, within_s=5)
        await place.nats.stop()
        await disconnected(bus)
        await delivery.ack()
        await place.nats.start()
        await connected(bus)
        await bus.barrier()
        assert len(await place.stored(topology.REQUESTS, ">")) == 1


async def _distinct(pulling: Inbox, count: int) -> None:
    """Return once that many different messages came; a crashed server delivers some again."""
    seen: set[bytes] = set()
    while len(seen) < count:
        seen |= {delivery.data for delivery in await pulling.fetch(count, NEVER())}


async def _flood(place: Here, count: int) -> None:
    for number in range(count):
        await place.submit(number)
