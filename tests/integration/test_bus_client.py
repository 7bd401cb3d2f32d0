"""What is published by the bus's own client, beside what nats-py's would have published."""

import asyncio
import os
import signal
from pathlib import Path

import pytest
from nats import errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from teambus.bus.client import BusClient
from teambus.bus.leaving import leave
from tests.integration.bus_parts import here

WAIT_S = 30


async def _both(place: object, subject: str, payload: bytes, headers: dict[str, str]) -> list[Msg]:
    """The same message from either client."""
    listener, theirs = await _client(place), await _client(place)
    heard = await listener.subscribe("said.>")
    await listener.flush()
    async with place.another() as bus:  # type: ignore[attr-defined] # a place, as `here` makes it
        await bus.client.publish(subject, payload, headers=headers)
        ours = await heard.next_msg(WAIT_S)
        await theirs.publish(subject, payload, headers=headers)
        other = await heard.next_msg(WAIT_S)
    await listener.close()
    await theirs.close()
    return [ours, other]


async def _client(place: object) -> Client:
    client = Client()
    await client.connect(place.nats.url)  # type: ignore[attr-defined]
    return client


@pytest.mark.parametrize(
    "headers",
    [
        {"ce-id": "7", "ce-source": "a b"},
        {"Nats-Service-Error": "two\r\nlines\nand\rmore"},
        {"empty": ""},
        {" padded ": "  value  "},
        {"word": "ümläut"},
    ],
)
async def test_it_arrives_as_from_the_library(tmp_path: Path, headers: dict[str, str]) -> None:
    async with here(tmp_path) as place:
        ours, theirs = await _both(place, "said.so", b"x" * 5000, headers)
    assert (ours.data, ours.headers) == (theirs.data, theirs.headers)


@pytest.mark.parametrize("subject", ["", "two words", "a\r\nPUB b 0\r\n\r\n", "a\tb"])
async def test_a_subject_that_is_none_is_refused(tmp_path: Path, subject: str) -> None:
    async with here(tmp_path) as place, place.another() as bus:
        with pytest.raises(errors.BadSubjectError):
            await bus.client.publish(subject, b"")
        with pytest.raises(errors.BadSubjectError):
            await bus.client.publish("fine", b"", reply="two words")


async def test_a_header_that_cannot_be_one_is_refused(tmp_path: Path) -> None:
    async with here(tmp_path) as place, place.another() as bus:
        with pytest.raises(errors.BadHeaderError):
            await bus.client.publish("said.so", b"", headers={"a\r\nb": "c"})


async def test_a_body_over_what_the_server_takes_is_refused(tmp_path: Path) -> None:
    async with here(tmp_path) as place, place.another() as bus:
        with pytest.raises(errors.MaxPayloadError):
            await bus.client.publish("said.so", b"x" * (bus.client.max_payload + 1))


async def test_all_goes_out_in_order_whoever_wrote_it(tmp_path: Path) -> None:
    """What is asked for after a subscription is answered there, in one turn of the loop too."""
    async with here(tmp_path) as place, place.another() as bus:
        heard = await bus.client.subscribe("said.>")
        for number in range(200):
            headers = {"bad": "value\n"} if number % 7 == 0 else None
            await bus.client.publish(f"said.{number}", b"", headers=headers)
        async with asyncio.timeout(WAIT_S):
            subjects = [(await heard.next_msg(WAIT_S)).subject for _ in range(200)]
    assert subjects == [f"said.{number}" for number in range(200)]


async def test_what_a_stopped_server_does_not_take_is_bounded(tmp_path: Path) -> None:
    async with here(tmp_path) as place, place.another(pending_bytes_max=1024 * 1024) as bus:

        async def push() -> None:
            for _ in range(1000):
                await bus.client.publish("said.so", b"x" * 100_000)

        os.kill(place.nats.pid, signal.SIGSTOP)
        try:
            pushing = asyncio.create_task(push())
            await asyncio.wait([pushing], timeout=2)
            assert not pushing.done()
            assert _kept(bus.client) < 8 * 1024 * 1024
        finally:
            os.kill(place.nats.pid, signal.SIGCONT)
        async with asyncio.timeout(WAIT_S):
            await pushing


def _kept(client: Client) -> int:
    writer = getattr(client._transport, "_io_writer", None)
    waiting = writer.transport.get_write_buffer_size() if writer else 0
    return int(client._pending_data_size) + int(waiting)


async def test_an_answer_that_cannot_be_told_leaves_the_connection_reading(tmp_path: Path) -> None:
    async with here(tmp_path) as place, place.another() as bus:

        def fail(_: Msg) -> None:
            raise ValueError("no")

        await bus.client.listen("said.so", fail)
        await bus.barrier()
        await bus.client.publish("said.so", b"")
        await bus.barrier()
        assert await bus.request("$JS.API.INFO", b"") is not None


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\r\n",
        b"a: 1\r\nNats-Msg-Id:2\r\nc:\t3 \r\n\r\n",
        b"a: 1\r\na: 2\r\n",
        b"no colon\r\nb: x:y\r\n",
        b"two words: 1\r\n padded : 2\r\n\xc3\xa4: 3\r\nd: \xc3\xa4\xff\r\n",
        b"a: one\ntwo\rthree\r\nb: \xc2\xa0kept\xc2\xa0\r\n",
    ],
)
def test_the_head_of_a_message_is_read_as_the_library_does(head: bytes) -> None:
    assert BusClient._parse_header_lines(head) == Client._parse_header_lines(head)


async def test_a_listener_that_left_is_told_no_more(tmp_path: Path) -> None:
    async with here(tmp_path) as place, place.another() as bus:
        heard: list[Msg] = []
        before = set(bus.client._listeners)
        listening = await bus.client.listen("said.>", heard.append)
        await bus.client.publish("said.first")
        await leave(bus, listening)
        assert [message.subject for message in heard] == ["said.first"]
        await bus.client.publish("said.second")
        await bus.barrier()
        assert len(heard) == 1
        assert set(bus.client._listeners) == before
