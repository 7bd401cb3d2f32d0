"""The one connection to the bus while the bus is slow to answer."""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop
from nats.aio.client import Client

from teambus.bus.connection import Bus, connect
from teambus.bus.errors import BusUnavailable
from tests.integration.bus_parts import here, settings, until
from tests.support.link import link_to


async def test_a_connection_hears_on_when_an_echo_comes_after_it_was_given_up(
    tmp_path: Path,
) -> None:
    async with here(tmp_path) as place, place.another(request_timeout_s=0.2) as bus:
        os.kill(place.nats.pid, signal.SIGSTOP)
        try:
            with pytest.raises(BusUnavailable, match="no answer to a ping"):
                while True:  # it stops soon, but not at once
                    await bus.barrier()
        finally:
            os.kill(place.nats.pid, signal.SIGCONT)
        await until(lambda: bus.request("$JS.API.INFO", b""), otherwise="it is deaf")
        assert bus.connected


async def test_a_connection_hears_on_when_the_client_itself_gave_up_an_echo(
    tmp_path: Path,
) -> None:
    """As it does when a subscription is left while the server is busy."""
    async with here(tmp_path) as place, place.another() as bus:
        os.kill(place.nats.pid, signal.SIGSTOP)
        try:
            with pytest.raises(TimeoutError):
                while True:  # it stops soon, but not at once
                    subscription = await bus.client.subscribe("said")
                    async with asyncio.timeout(0.2):
                        await subscription.drain()  # type: ignore[no-untyped-call]  # nats-py's
        finally:
            os.kill(place.nats.pid, signal.SIGCONT)
        await until(lambda: bus.request("$JS.API.INFO", b""), otherwise="it is deaf")
        assert (bus.connected, bus.reconnected_at) == (True, float("-inf"))


async def test_a_barrier_on_a_closed_connection_says_so(tmp_path: Path) -> None:
    async with here(tmp_path) as place, place.another() as bus:
        await bus.client.close()
        with pytest.raises(BusUnavailable):
            await bus.barrier()


def test_a_connection_that_was_just_lost_is_left_without_a_word(tmp_path: Path) -> None:
    async def story() -> None:
        async with here(tmp_path) as place, place.linked() as (_, bus):
            assert bus.client._transport is not None
            bus.client._transport.close()  # type: ignore[no-untyped-call]  # nats-py leaves it so
            bus.client._status = Client.RECONNECTING
            bus.client._pending.append(b"PING\r\n")

    uvloop.run(story())


def test_a_barrier_on_a_connection_that_was_just_lost_says_so(tmp_path: Path) -> None:
    """As services run, on uvloop: its closed connections raise what asyncio's do not."""

    async def lose(bus: Bus) -> None:
        assert bus.client._transport is not None
        bus.client._transport.close()  # type: ignore[no-untyped-call]  # nats-py leaves it so
        with pytest.raises(BusUnavailable, match="no answer to a ping"):
            await bus.barrier()

    async def story() -> None:
        async with here(tmp_path) as place, place.linked() as (_, bus):
            await lose(bus)
            await until(lambda: bus.request("$JS.API.INFO", b""), otherwise="it stayed lost")

    uvloop.run(story())


@pytest.mark.parametrize("loop", [asyncio.run, uvloop.run])
def test_a_server_that_hangs_up_in_place_of_a_greeting_has_let_nobody_in(
    tmp_path: Path, loop: Callable[[Coroutine[Any, Any, None]], None]
) -> None:
    async def story() -> None:
        async with here(tmp_path) as place, link_to(place.nats.port) as link:
            link.hang_ups = 3
            async with connect(settings(link.url)) as bus:
                assert (link.hang_ups, bus.connected) == (0, True)
                assert await bus.request("$JS.API.INFO", b"")
                link.hang_ups = 3
                link.mend()
                await until(lambda: _restored(bus))
                assert link.hang_ups == 0
                assert await bus.request("$JS.API.INFO", b"")

    loop(story())


async def _restored(bus: Bus) -> bool:
    return bus.connected and bus.reconnected_at > 0
