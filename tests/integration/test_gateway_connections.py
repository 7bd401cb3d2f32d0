"""Clients that speak HTTP badly, slowly or too much, on raw sockets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from tests.integration.gateway_parts import Served, System, system
from tests.support.system import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

CUT_S = 30
GET = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
FORM = b"message=hi&stream=false"
POST = b"POST /teams/content-team/runs HTTP/1.1\r\nHost: x\r\n"
URLENCODED = b"Content-Type: application/x-www-form-urlencoded\r\n"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    async with system(tmp_path_factory.mktemp("connections")) as here:
        yield here


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(here: System) -> AsyncIterator[Served]:
    limits = {"head_timeout_s": 0.5, "body_timeout_s": 0.5, "headers_max": 20}
    async with here.gateway(**limits, head_bytes_max=4096, connections_max=40) as gateway:
        yield gateway


class Raw:
    """One connection, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def drip(self, data: bytes, each_s: float = 0.1) -> None:
        """For ever, one byte after the other, until the gateway hangs up."""
        while True:
            for at in range(len(data)):
                await self.send(data[at : at + 1])
                await asyncio.sleep(each_s)

    async def rest(self) -> bytes:
        """All that comes until the gateway hangs up."""
        async with asyncio.timeout(CUT_S):
            return await self._reader.read()

    async def answer(self) -> bytes:
        """One answer; the connection may stay open."""
        async with asyncio.timeout(CUT_S):
            head = await self._reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            return head + await self._reader.readexactly(length)

    async def until_cut(self, data: bytes) -> bytes:
        """What is answered while `data` drips in, until the gateway hangs up."""
        dripping = asyncio.create_task(self.drip(data))
        try:
            return await self.rest()
        except ConnectionError:
            return b""
        finally:
            dripping.cancel()
            await asyncio.gather(dripping, return_exceptions=True)


@asynccontextmanager
async def raw(gateway: Served) -> AsyncIterator[Raw]:
    place = urlsplit(gateway.url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    try:
        yield Raw(reader, writer)
    finally:
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def asked(gateway: Served, *pieces: bytes) -> bytes:
    async with raw(gateway) as client:
        for piece in pieces:
            await client.send(piece)
        return await client.rest()


async def test_a_head_that_drips_in_is_given_up(gateway: Served) -> None:
    async with raw(gateway) as client:
        answer = await client.until_cut(GET[:-2] + b"X-Slow: " + b"a" * 1000)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"request_timeout"' in answer


async def test_a_client_that_says_nothing_is_hung_up_on(gateway: Served) -> None:
    assert await asked(gateway) == b""


@pytest.mark.parametrize("drip", [b"\r\n", b"G"])
async def test_a_connection_that_was_used_is_no_place_to_drip(gateway: Served, drip: bytes) -> None:
    async with raw(gateway) as client:
        await client.send(GET)
        assert (await client.answer()).startswith(b"HTTP/1.1 200 ")
        assert not (await client.until_cut(drip)).startswith(b"HTTP/1.1 200 ")


async def test_a_body_that_drips_in_is_given_up(gateway: Served) -> None:
    async with raw(gateway) as client:
        await client.send(POST + URLENCODED + b"Content-Length: 100000\r\n\r\n")
        answer = await client.until_cut(FORM)
    assert answer.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("path", [b"/teams/content-team/runs/r/cancel", b"/nowhere"])
async def test_a_body_that_nobody_reads_holds_no_connection(gateway: Served, path: bytes) -> None:
    async with raw(gateway) as client:
        await client.send(b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n")
        answer = await client.until_cut(b"a")
    assert answer.count(b"HTTP/1.1 ") <= 1


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /teams?x=" + b"a" * 5000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /teams HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 5000 + b"\r\n\r\n",
        b"GET /teams HTTP/1.1\r\nHost: x\r\n" + b"X: a\r\n" * 30 + b"\r\n",
        b"GET /teams HTTP/1.1\r\nHost: x\r\n" + b"a" * 5000,
        b"GET /" + b"a" * 5000,
    ],
    ids=["path", "query", "header", "many headers", "a header without end", "a line without end"],
)
async def test_a_head_that_is_too_large_is_refused(gateway: Served, head: bytes) -> None:
    answer = await asked(gateway, head)
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert answer.count(b"HTTP/1.1 ") == 1


async def test_a_large_body_is_no_large_head(gateway: Served) -> None:
    form = b"stream=false&message=" + b"a" * 50_000
    length = b"Content-Length: %d\r\n\r\n" % len(form)
    async with raw(gateway) as client:
        for _ in range(2):
            await client.send(POST + URLENCODED + length + form)
            assert (await client.answer()).startswith(b"HTTP/1.1 200 ")


async def test_requests_sent_at_once_are_answered_in_turn(gateway: Served) -> None:
    async with raw(gateway) as client:
        await client.send(GET * 3)
        answers = [await client.answer() for _ in range(3)]
    assert all(answer.startswith(b"HTTP/1.1 200 ") for answer in answers)


@pytest.mark.parametrize(
    "head",
    [
        POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + GET,
        POST + b"Content-Length: 5\r\nContent-Length: 0\r\n\r\n" + GET,
        POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + GET,
        POST + b"Transfer-Encoding: x\r\n\r\n" + GET,
        b"GET /health HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\n folded: x\r\n\r\n" + GET,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 100,
    ],
    ids=["both lengths", "two lengths", "bad chunk", "coding", "space", "folded", "h2", "tls"],
)
async def test_what_two_servers_might_read_differently_is_refused(
    gateway: Served, head: bytes
) -> None:
    answer = await asked(gateway, head)
    assert b"HTTP/1.1 200 " not in answer


async def test_there_are_no_websockets(gateway: Served) -> None:
    more = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    answer = await asked(gateway, GET[:-2] + more + b"Sec-WebSocket-Key: eHg=\r\n\r\n")
    assert b" 101 " not in answer


async def test_connections_beyond_the_limit_are_sent_away(here: System) -> None:
    async with here.gateway(connections_max=3) as gateway:
        async with raw(gateway) as first, raw(gateway) as second, raw(gateway) as third:
            for client in (first, second, third):
                await client.send(GET)
                assert (await client.answer()).startswith(b"HTTP/1.1 200 ")
            refused = await asked(gateway)
            assert refused.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after: 5" in refused
            await first.send(GET)
            assert (await first.answer()).startswith(b"HTTP/1.1 200 ")

        async def is_let_in() -> bool:
            async with raw(gateway) as client:
                await client.send(GET)
                return (await client.answer()).startswith(b"HTTP/1.1 200 ")

        await until(is_let_in, CUT_S, "nobody is let in again")


async def test_a_slow_answer_outlasts_the_limits(here: System, gateway: Served) -> None:
    """The time for heads and bodies is not the time for answers, nor for the next request."""
    here.runner.go.clear()
    taken = len(here.runner.taken)
    async with raw(gateway) as client:
        length = b"Content-Length: %d\r\n\r\n" % len(FORM)
        await client.send(POST + URLENCODED + length + FORM)
        await here.runner.until_taken(taken + 1)
        await client.send(GET[:10])
        await asyncio.sleep(1.2)  # More than twice what a head may take.
        here.runner.go.set()
        assert (await client.answer()).startswith(b"HTTP/1.1 200 ")


async def test_who_does_not_take_a_whole_answer_is_cut_off(here: System) -> None:
    async with here.gateway(stream_stall_s=0.5) as gateway:
        many: dict[str, Any] = {"message": "a", "stream": "false", "metadata": ""}
        many["metadata"] = '{"a": "' + "b" * 3_000_000 + '"}'
        reply = await gateway.http.post("/teams/content-team/runs", data=many)
        run = reply.json()
        path = f"/teams/content-team/runs/{run['run_id']}?session_id={run['session_id']}"
        ask = f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        async with raw(gateway) as client:
            client._reader._transport.pause_reading()  # type: ignore[attr-defined] # takes nothing
            for _ in range(8):
                await client.send(ask)
            await asyncio.sleep(0.1)
            async with asyncio.timeout(CUT_S):
                with pytest.raises(ConnectionError):
                    while True:
                        await client.send(b"\r\n")
                        await asyncio.sleep(0.2)
