"""A connection with several servers to choose from, and answers that leave a write undecided."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from nats.aio.msg import Msg

from teambus.bus.connection import Bus, BusSettings, connect
from teambus.bus.errors import BusUnavailable
from teambus.bus.publish import Publication, publish
from teambus.bus.servers import Choice
from teambus.local.nats_server import NatsServer

SUBJECT = "somewhere"
STORED = b'{"stream":"S","seq":7}'


@asynccontextmanager
async def answering(bus: Bus, *answers: bytes) -> AsyncIterator[list[bytes]]:
    """Stands in for a stream: what is published gets these answers, the last one ever after."""
    taken: list[bytes] = []

    async def answer(message: Msg) -> None:
        taken.append(message.data)
        await message.respond(answers[min(len(taken), len(answers)) - 1])

    subscription = await bus.client.subscribe(SUBJECT, cb=answer)
    await bus.barrier()
    yield taken
    await subscription.unsubscribe()


def settings(*servers: NatsServer) -> BusSettings:
    urls = tuple(server.url for server in servers)
    return BusSettings(urls, "test", request_timeout_s=0.5, publish_patience_s=20, deaf_s=0.3)


def refusal(code: int, err_code: int, description: str) -> bytes:
    return msgspec.json.encode(
        {"error": {"code": code, "err_code": err_code, "description": description}}
    )


@pytest.mark.parametrize(
    ("code", "err_code"), [(409, 10158), (400, 10164)], ids=["the repeat", "another write"]
)
async def test_what_is_in_process_is_said_again(tmp_path: Path, code: int, err_code: int) -> None:
    undecided = refusal(code, err_code, "in process")
    async with NatsServer(tmp_path / "nats") as server, connect(settings(server)) as bus:
        async with answering(bus, undecided, undecided, STORED) as taken:
            assert (await publish(bus, Publication(SUBJECT, b"x", "id"))).seq == 7
    assert taken == [b"x"] * 3


async def test_a_server_where_nobody_answers_is_left_for_another(tmp_path: Path) -> None:
    async with NatsServer(tmp_path / "a") as first, NatsServer(tmp_path / "b") as second:
        async with connect(settings(first, second)) as bus:
            url = bus.client.connected_url
            assert url is not None
            other = second if first.url.endswith(url.netloc) else first
            async with connect(settings(other)) as there, answering(there, STORED):
                assert (await publish(bus, Publication(SUBJECT, b"x", "id"))).seq == 7
            url = bus.client.connected_url
            assert url is not None
            assert other.url.endswith(url.netloc)


async def test_a_client_that_was_closed_tries_no_server_any_more(tmp_path: Path) -> None:
    """Being told to stop may come to it as an attempt that failed."""
    async with NatsServer(tmp_path) as server:
        async with connect(BusSettings((server.url,), "test")) as bus:
            pass
        with pytest.raises(asyncio.CancelledError):
            Choice(bus.client)([], {})


async def test_the_only_server_is_not_left(tmp_path: Path) -> None:
    async with NatsServer(tmp_path / "nats") as server, connect(settings(server)) as bus:
        lost = asyncio.Event()
        bus.reconnect_listeners.add(lost.set)
        with pytest.raises(BusUnavailable):
            await publish(bus, Publication(SUBJECT, b"x", "id"), patience_s=1.5)
        assert bus.connected
        assert not lost.is_set()
