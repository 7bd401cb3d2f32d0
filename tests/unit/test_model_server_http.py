"""The scripted model server's HTTP, byte by byte: what other clients than OpenAI's may send."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from teambus.testing.model.app import ModelApp
from teambus.testing.model.calls import CallLog
from teambus.testing.model.protocol import House, Limits
from teambus.testing.model.rules import Rule, RuleBook
from tests.support.system import until

BODY = b'{"model":"m","messages":[{"role":"user","content":"tea"}]}'
POST = b"POST /v1/chat/completions HTTP/1.1\r\nhost: model\r\n"
CALL = POST + b"content-length: %d\r\n\r\n" % len(BODY) + BODY
LIMITS = Limits(idle_s=0.2, head_bytes_max=2000, body_bytes_max=1000)
NO_LIMITS = Limits()
READ_S = 5


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The next answer: its status, headers and body, which has a length or is chunked."""
        async with asyncio.timeout(READ_S):
            first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines if line)
            if "content-length" in headers:
                body = await self.reader.readexactly(int(headers["content-length"]))
            else:
                body = await self._chunks() if "transfer-encoding" in headers else b""
        return int(first.split()[1]), headers, body

    async def rest(self) -> bytes:
        """What comes until the server closes."""
        async with asyncio.timeout(READ_S):
            return await self.reader.read()

    async def _chunks(self) -> bytes:
        body = b""
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            body += (await self.reader.readexactly(size + 2))[:-2]
        await self.reader.readexactly(2)
        return body


class Served:
    """A server with short limits, and how its house looks from inside."""

    def __init__(self, rules: list[Rule], limits: Limits, log: Path | None) -> None:
        self.log = CallLog(log)
        self.house = House(ModelApp(self.log, RuleBook(rules)), limits)
        self.port = 0
        self._clients: list[Client] = []

    async def client(self) -> Client:
        self._clients.append(Client(*await asyncio.open_connection("127.0.0.1", self.port)))
        return self._clients[-1]

    async def close(self) -> None:
        await self.house.close(READ_S)
        for client in self._clients:
            client.writer.close()
            await client.writer.wait_closed()
        self.log.close()

    async def say(self, *parts: bytes) -> Client:
        client = await self.client()
        for part in parts:
            client.writer.write(part)
            await asyncio.sleep(0)
        return client


Start = Callable[..., Awaitable[Served]]


@pytest_asyncio.fixture
async def start() -> AsyncIterator[Start]:
    servers: list[tuple[asyncio.Server, Served]] = []

    async def begin(*rules: Rule, limits: Limits = NO_LIMITS, log: Path | None = None) -> Served:
        served = Served(list(rules), limits, log)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(served.house.protocol, "127.0.0.1", 0)
        served.port = server.sockets[0].getsockname()[1]
        servers.append((server, served))
        return served

    yield begin
    for server, served in servers:
        server.close()
        await served.close()


def lines(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def reply(body: bytes) -> str:
    return str(json.loads(body)["choices"][0]["message"]["content"])


async def test_a_connection_is_kept_for_the_next_call(start: Start) -> None:
    client = await (await start()).client()
    for _ in range(3):
        client.writer.write(CALL)
        assert (await client.answer())[0] == 200


async def test_a_call_in_small_pieces_is_one_call(start: Start) -> None:
    served = await start()
    client = await served.client()
    for at in range(0, len(CALL), 7):
        client.writer.write(CALL[at : at + 7])
        await client.writer.drain()
        await asyncio.sleep(0)
    assert (await client.answer())[0] == 200
    assert served.log.ended == 1


async def test_a_chunked_body_is_read(start: Start) -> None:
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in BODY)
    client = await (await start()).say(
        POST + b"transfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    )
    assert (await client.answer())[0] == 200


async def test_calls_sent_ahead_are_answered_in_their_order(start: Start) -> None:
    served = await start(Rule(match="000", delay_ms=50))
    client = await served.client()
    for number in range(300):
        client.writer.write(CALL.replace(b"tea", b"%03d" % number))
        await asyncio.sleep(0)
    answers = [reply((await client.answer())[2]) for _ in range(300)]
    assert answers == [f'My answer to "{number:03}" is ready.' for number in range(300)]


async def test_a_client_that_expects_to_be_told_sends_its_body_then(start: Start) -> None:
    head, body = CALL.split(b"\r\n\r\n")
    client = await (await start()).say(head + b"\r\nExpect: 100-continue\r\n\r\n")
    assert await client.answer() == (100, {}, b"")
    client.writer.write(body)
    assert (await client.answer())[0] == 200


@pytest.mark.parametrize(
    "head",
    [POST + b"connection: close\r\n", POST.replace(b"1.1", b"1.0")],
    ids=["asked to close", "HTTP/1.0"],
)
async def test_a_connection_that_is_not_to_be_kept_is_closed(start: Start, head: bytes) -> None:
    client = await (await start()).say(head + b"content-length: %d\r\n\r\n" % len(BODY) + BODY)
    status, headers, _ = await client.answer()
    assert (status, headers["connection"]) == (200, "close")
    assert await client.rest() == b""


async def test_a_stream_is_chunked_and_leaves_the_connection_usable(start: Start) -> None:
    body = BODY.replace(b"{", b'{"stream":true,', 1)
    client = await (await start()).say(
        POST + b"content-length: %d\r\n\r\n" % len(body) + body, CALL
    )
    _, headers, told = await client.answer()
    assert headers["content-type"] == "text/event-stream"
    assert told.startswith(b"data: {")
    assert told.endswith(b"data: [DONE]\n\n")
    assert (await client.answer())[0] == 200


async def test_only_the_head_of_an_answer_is_sent_to_who_asks_for_its_head(start: Start) -> None:
    client = await (await start()).say(b"HEAD /nothing HTTP/1.1\r\nconnection: close\r\n\r\n")
    told = await client.rest()
    assert told.startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert told.endswith(b"\r\n\r\n")


async def test_what_is_not_http_is_refused_and_ends_the_connection(start: Start) -> None:
    client = await (await start()).say(b"this is not HTTP\r\n\r\n")
    status, _, body = await client.answer()
    assert status == 400
    assert b"not an HTTP/1.1 request" in body
    assert await client.rest() == b""


async def test_a_head_over_the_limit_is_refused(start: Start) -> None:
    served = await start(limits=LIMITS)
    client = await served.say(POST + b"x-long: " + b"x" * LIMITS.head_bytes_max)
    assert (await client.answer())[0] == 431
    assert await client.rest() == b""


async def test_a_body_over_the_limit_is_refused_and_is_no_call(start: Start) -> None:
    served = await start(limits=LIMITS)
    body = b"x" * (LIMITS.body_bytes_max + 1)
    client = await served.say(POST + b"content-length: %d\r\n\r\n" % len(body), body, CALL)
    status, _, told = await client.answer()
    assert (status, served.log.begun) == (413, 0)
    assert b"over 1000 bytes" in told
    assert (await client.answer())[0] == 200


async def test_a_silent_connection_is_closed_and_one_that_waits_is_not(start: Start) -> None:
    served = await start(Rule(match="tea", delay_ms=500), limits=LIMITS)
    waiting, silent = await served.say(CALL), await served.client()
    assert await silent.rest() == b""
    assert served.log.ended == 0
    assert (await waiting.answer())[0] == 200


@pytest.mark.parametrize(
    "waits", [Rule(match="tea", hang=True), Rule(match="tea", delay_ms=60_000)]
)
async def test_a_stop_ends_open_calls_and_silent_connections(start: Start, waits: Rule) -> None:
    served = await start(waits)
    waiting, silent = await served.say(CALL), await served.client()
    await served.log.wait(lambda: served.log.begun == 1, READ_S)
    await served.house.close(READ_S)
    assert (await waiting.rest(), await silent.rest()) == (b"", b"")
    assert [call.outcome for call in served.log.since(0, reached=True).calls] == ["stopped"]


async def test_a_client_whose_answer_comes_to_nothing_sees_the_connection_end(
    start: Start,
) -> None:
    async def fail() -> None:
        raise asyncio.CancelledError

    served = await start()
    served.house.app = lambda _: fail()
    assert await (await served.say(CALL)).rest() == b""


async def test_a_client_whose_late_answer_comes_to_nothing_sees_the_connection_end(
    start: Start,
) -> None:
    def fail(_: str | None) -> None:
        raise asyncio.CancelledError

    served = await start()
    served.house.app = lambda connection: connection.call_after(0.01, fail)
    assert await (await served.say(CALL)).rest() == b""


async def test_a_call_is_in_the_file_soon_though_it_is_open(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "calls.jsonl"
    served = await start(Rule(match="tea", hang=True), log=file)
    await served.say(CALL)
    await in_file(file, 1)
    (open_call,) = lines(file)
    assert (open_call["phase"], open_call["last_content"]) == ("begin", "tea")
    await (await served.say(CALL.replace(b"tea", b"mud"))).answer()
    await in_file(file, 3)
    assert [line["phase"] for line in lines(file)[1:]] == ["begin", "end"]


async def in_file(file: Path, count: int) -> None:
    async def written() -> bool:
        return len(lines(file)) >= count

    await until(written, READ_S, f"{count} lines are not in the file")
