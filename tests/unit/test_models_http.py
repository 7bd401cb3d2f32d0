"""What the model clients make of whatever comes over the line, both of them unless said."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import httpx2
import pytest
import pytest_asyncio
import trustme

from teambus_team_runner.models import connections as connections_module
from teambus_team_runner.models.clients import Account, Client, Clients, LeanClient
from teambus_team_runner.models.connections import Connections
from teambus_team_runner.models.failures import TRY_FAILURES, Failure, failure_of
from teambus_team_runner.models.http import HEAD_BYTES_MAX, HELD_BYTES_MAX, Disconnected, post_head
from teambus_team_runner.models.limits import ModelLimits
from teambus_team_runner.models.port import ModelError, outgoing
from tests.support.provider import WAIT_S, Line, Provider, answer, chunked, serving

KEY = "sk-very-secret"
LIMITS = ModelLimits(connect_timeout_s=5, keepalive_s=60)
ENDED = b"HTTP/1.1 200 OK\r\n\r\n"
MEBIBYTE = b"x" * 2**20

Opens = Callable[..., Client]


@pytest_asyncio.fixture(params=["lean", "sdk"])
async def client_of(request: pytest.FixtureRequest) -> AsyncIterator[Opens]:
    async for opens in opening(request.param):
        yield opens


@pytest_asyncio.fixture
async def lean_of() -> AsyncIterator[Opens]:
    async for opens in opening("lean"):
        yield opens


async def opening(kind: Literal["lean", "sdk"]) -> AsyncIterator[Opens]:
    opened = []

    def opens(provider: Provider | str, limits: ModelLimits = LIMITS, **headers: str) -> Client:
        url = provider if isinstance(provider, str) else provider.base_url
        clients = Clients(replace(limits, client=kind))
        opened.append(clients)
        return clients.of(Account(KEY, url, headers=tuple(headers.items())))

    yield opens
    for clients in opened:
        await clients.aclose()


async def ask(client: Client, body: bytes = b"{}") -> bytes:
    async with asyncio.timeout(WAIT_S):
        return await client.post("/chat/completions", body)


async def failure(client: Client) -> Failure:
    with pytest.raises(TRY_FAILURES) as caught:
        await ask(client)
    return failure_of(caught.value, client.where)


@pytest.mark.parametrize(
    "said",
    [
        answer(b"Green tea."),
        chunked(b"Green", b" ", b"tea."),
        chunked(b"Green tea.", end=b"0\r\nx-took: 1\r\n\r\n"),
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
        + answer(b"Green tea."),
    ],
    ids=["length", "chunks", "trailer", "interim"],
)
async def test_an_answer_is_read_and_its_connection_used_again(
    client_of: Opens, said: bytes
) -> None:
    async with serving(Provider.answering(said)) as provider:
        client = client_of(provider)
        assert [await ask(client), await ask(client)] == [b"Green tea."] * 2
        assert (len(provider.requests), provider.connections) == (2, 1)


async def test_an_answer_may_come_byte_by_byte(client_of: Opens) -> None:
    async def script(line: Line) -> None:
        await line.asked()
        for byte in chunked(b"Green", b" tea."):
            await line.say(bytes((byte,)))

    async with serving(script) as provider:
        assert await ask(client_of(provider)) == b"Green tea."


async def test_a_body_without_a_length_ends_with_the_connection(client_of: Opens) -> None:
    async def script(line: Line) -> None:
        await line.asked()
        await line.say(ENDED + b"Green ")
        await line.say(b"tea.")

    async with serving(script) as provider:
        client = client_of(provider)
        assert [await ask(client), await ask(client)] == [b"Green tea."] * 2
        assert provider.connections == 2


@pytest.mark.parametrize(
    "said",
    [
        answer(b"tea", b"Connection: close"),
        answer(b"tea").replace(b"HTTP/1.1", b"HTTP/1.0"),
    ],
    ids=["close", "1.0"],
)
async def test_a_connection_the_provider_gives_up_is_not_used_again(
    client_of: Opens, said: bytes
) -> None:
    async with serving(Provider.answering(said)) as provider:
        client = client_of(provider)
        await ask(client)
        await ask(client)
        assert provider.connections == 2


@pytest.mark.parametrize("late", [False, True], ids=["at once", "late"])
@pytest.mark.parametrize("extra", [answer(b"of another"), b"more"], ids=["answer", "bytes"])
async def test_what_nobody_asked_for_answers_nobody(
    lean_of: Opens, extra: bytes, late: bool
) -> None:
    heard, closed = asyncio.Event(), asyncio.Event()

    async def script(line: Line) -> None:
        await line.asked()
        await line.say(answer(b"mine") + (b"" if late else extra))
        if late:
            await heard.wait()
            await line.say(extra)
        await line.gone()
        closed.set()

    async with serving(script) as provider:
        client = lean_of(provider)
        assert await ask(client) == b"mine"
        heard.set()
        await asyncio.wait_for(closed.wait(), WAIT_S)
        assert await ask(client) == b"mine"
        assert provider.connections == 2


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-le",
        answer(b"Green tea.")[:-3],
        chunked(b"Green tea.")[:-10],
        chunked(b"Green tea.", end=b""),
    ],
    ids=["nothing", "head", "length", "chunk", "last chunk"],
)
async def test_an_answer_that_breaks_off_may_be_asked_for_again(
    client_of: Opens, said: bytes
) -> None:
    async def script(line: Line) -> None:
        await line.asked()
        await line.say(said)

    async with serving(script) as provider:
        failed = await failure(client_of(provider))
        assert (failed.error.code, failed.again) == ("model_provider_error", True)
        assert "the connection to the model at localhost failed" in failed.error.message
        assert provider.connections == 1


async def test_a_reset_line_is_a_connection_that_failed(client_of: Opens) -> None:
    async def reset(line: Line) -> None:
        await line.reader.readexactly(1)
        line.writer.transport.abort()  # With bytes unread this is a reset.

    async with serving(reset) as provider:
        failed = await failure(client_of(provider))
        assert (failed.error.code, failed.again) == ("model_provider_error", True)


@pytest.mark.parametrize(
    "said",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\ntea",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
    ],
    ids=["ssh", "no status", "two lengths", "no chunk"],
)
async def test_what_is_not_http_is_a_connection_that_failed(client_of: Opens, said: bytes) -> None:
    async def script(line: Line) -> None:
        await line.asked()
        await line.say(said)
        await line.gone()

    async with serving(script) as provider:
        failed = await failure(client_of(provider))
        assert (failed.error.code, failed.again) == ("model_provider_error", True)


async def test_another_protocol_is_not_spoken(lean_of: Opens) -> None:
    said = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\nxyz"
    async with serving(Provider.answering(said)) as provider:
        assert "NotHttp" in (await failure(lean_of(provider))).error.message


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"x: y\r\n"),
        (b"HTTP/1.1 200 OK\r\nx: ", b"y" * 1000),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (chunked(b"tea", end=b"0\r\n"), b"x: y\r\n"),
        (chunked(b"tea", end=b"5;"), b"y" * 1000),
    ],
    ids=["headers", "header", "interim", "trailers", "extension"],
)
async def test_a_head_or_trailer_without_end_is_given_up(
    lean_of: Opens, begin: bytes, more: bytes
) -> None:
    async def script(line: Line) -> None:
        await line.asked()
        await line.say(begin)
        for _ in range(4 * HEAD_BYTES_MAX // len(more)):
            await line.say(more)
        await line.gone()

    async with serving(script) as provider:
        assert "NotHttp" in (await failure(lean_of(provider))).error.message


async def test_an_answer_without_end_is_given_up_and_its_connection_closed(
    client_of: Opens,
) -> None:
    closed = asyncio.Event()

    async def script(line: Line) -> None:
        await line.asked()
        await line.say(chunked(b"tea", end=b""))
        try:
            while True:
                await line.say(b"400\r\n" + b"x" * 1024 + b"\r\n")
        finally:
            closed.set()

    async with serving(script) as provider:
        failed = await failure(client_of(provider, replace(LIMITS, answer_bytes_max=1000)))
        assert failed.error.code == "model_answer_error"
        assert "1000 bytes" in failed.error.message
        await asyncio.wait_for(closed.wait(), WAIT_S)


async def test_an_answer_may_be_as_large_as_the_limit(client_of: Opens) -> None:
    async with serving(Provider.answering(answer(MEBIBYTE))) as provider:
        client = client_of(provider, replace(LIMITS, answer_bytes_max=len(MEBIBYTE)))
        assert await ask(client) == MEBIBYTE


async def test_headers_of_one_call_go_with_it_alone(client_of: Opens) -> None:
    asked: list[bytes] = []

    async def script(line: Line) -> None:
        for _ in range(3):
            asked.append(await line.asked())
            await line.say(answer(b"Green tea."))

    async with serving(script) as provider:
        client = client_of(provider)
        await ask(client)
        with outgoing({"traceparent": "00-1-2-01", "tracestate": "own=1"}):
            assert await ask(client, b'{"x":1}') == b"Green tea."
        await ask(client)
    first, second, third = (each.lower() for each in asked)
    assert b"\r\ntraceparent: 00-1-2-01\r\n" in second
    assert b"\r\ntracestate: own=1\r\n" in second
    assert b"trace" not in first + third


async def test_a_refusal_has_its_headers_and_its_body(client_of: Opens) -> None:
    body = b'{"error": {"message": "too many"}}'
    said = answer(body, b"Retry-After: 7", status=b"429 Slow Down")
    async with serving(Provider.answering(said)) as provider:
        client = client_of(provider)
        failed = await failure(client)
        assert (failed.error.code, failed.wait_s) == ("model_rate_limit_error", 7)
        assert "too many" in failed.error.message
        await failure(client)
        assert provider.connections == 1


async def test_headers_of_another_answer_are_not_those_of_this_one(client_of: Opens) -> None:
    plain = answer(b"", status=b"500 Oops")
    waiting = answer(b"", b"Retry-After: 7", status=b"500 Oops")
    hints = b"HTTP/1.1 103 Early Hints\r\nRetry-After: 7\r\n\r\n"
    async with serving(Provider.answering(waiting, plain, hints + plain)) as provider:
        client = client_of(provider)
        assert [(await failure(client)).wait_s for _ in range(3)] == [7, None, None]
        assert provider.connections == 1


async def test_a_redirect_is_not_followed(lean_of: Opens) -> None:
    said = answer(b"", b"location: /elsewhere", status=b"308 Permanent Redirect")
    async with serving(Provider.answering(said)) as provider:
        failed = await failure(lean_of(provider))
        assert not failed.again
        assert "HTTP 308, a redirect, which is not followed" in failed.error.message
        assert len(provider.requests) == 1


async def test_a_cancelled_call_is_aborted_at_the_provider(client_of: Opens) -> None:
    asked, closed = asyncio.Event(), asyncio.Event()

    async def script(line: Line) -> None:
        await line.asked()
        asked.set()
        await line.gone()
        closed.set()

    async with serving(script) as provider:
        call = asyncio.create_task(ask(client_of(provider)))
        await asked.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait_for(closed.wait(), WAIT_S)


async def test_a_request_that_meets_a_closing_connection_is_not_repeated(client_of: Opens) -> None:
    requests = []

    async def script(line: Line) -> None:
        requests.append(await line.asked())
        await line.say(answer(b"tea"))
        requests.append(await line.asked())

    async with serving(script) as provider:
        client = client_of(provider)
        await ask(client)
        assert (await failure(client)).again
        assert (len(requests), provider.connections) == (2, 1)


async def test_an_answer_before_its_request_was_read_ends_the_connection(lean_of: Opens) -> None:
    closed = asyncio.Event()

    async def script(line: Line) -> None:
        await line.reader.readuntil(b"\r\n\r\n")
        await line.say(answer(b"enough"))
        await line.gone()
        closed.set()

    async with serving(script) as provider:
        assert await ask(lean_of(provider), MEBIBYTE * 32) == b"enough"
        await asyncio.wait_for(closed.wait(), WAIT_S)


async def test_a_kept_connection_is_closed_in_time(lean_of: Opens) -> None:
    closed = asyncio.Event()

    async def script(line: Line) -> None:
        await line.asked()
        await line.say(answer(b"tea"))
        await line.gone()
        closed.set()

    async with serving(script) as provider:
        await ask(lean_of(provider, replace(LIMITS, keepalive_s=0.05)))
        await asyncio.wait_for(closed.wait(), WAIT_S)


async def test_closing_the_client_ends_calls_and_connections(lean_of: Opens) -> None:
    closed = asyncio.Event()

    async def script(line: Line) -> None:
        await line.asked()
        await client.aclose()
        await line.gone()
        closed.set()

    async with serving(script) as provider:
        client = lean_of(provider)
        assert "Disconnected" in (await failure(client)).error.message
        await asyncio.wait_for(closed.wait(), WAIT_S)


async def test_a_line_that_is_never_set_up_is_a_timeout(client_of: Opens) -> None:
    async with serving(Line.gone) as provider:
        provider.scheme = "https"
        loop = asyncio.get_running_loop()
        begun = loop.time()
        failed = await failure(client_of(provider, replace(LIMITS, connect_timeout_s=0.1)))
        assert loop.time() - begun < WAIT_S / 2
        assert (failed.error.code, failed.again) == ("model_timeout_error", True)


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """One that is trusted from here on."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    connections_module._tls.cache_clear()
    return authority


def tls_of(authority: trustme.CA, host: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(host).configure_cert(context)
    return context


async def test_a_provider_with_a_trusted_certificate_is_asked(
    client_of: Opens, authority: trustme.CA
) -> None:
    said = Provider.answering(answer(b"Green tea."))
    async with serving(said, tls_of(authority, "localhost")) as provider:
        client = client_of(provider)
        assert [await ask(client), await ask(client)] == [b"Green tea."] * 2
        assert provider.connections == 1


@pytest.mark.parametrize("host", ["localhost", "elsewhere"])
async def test_a_certificate_that_proves_nothing_is_not_told_the_key(
    client_of: Opens, authority: trustme.CA, host: str
) -> None:
    by = trustme.CA() if host == "localhost" else authority
    async with serving(Provider.answering(answer(b"tea")), tls_of(by, host)) as provider:
        failed = await failure(client_of(provider))
        assert (failed.error.code, failed.again) == ("model_provider_error", True)
        assert "SSLCertVerificationError" in failed.error.message
        assert provider.requests == []


@pytest.mark.filterwarnings("ignore:.* deprecated:DeprecationWarning")  # the SDK's use of aiohttp
async def test_a_proxy_of_the_environment_is_asked_unless_told_otherwise(
    client_of: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    async with serving(Provider.answering(answer(b"tea"))) as proxy:
        monkeypatch.setenv("http_proxy", f"http://name:password@localhost:{proxy.port}")
        assert await ask(client_of("http://models.example/v1")) == b"tea"
        (request,) = proxy.requests
        assert request.startswith(b"POST http://models.example/v1/chat/completions HTTP/1.1\r\n")
        assert b"proxy-authorization: basic" in request.lower()

        monkeypatch.setenv("no_proxy", "localhost")
        async with serving(Provider.answering(answer(b"direct"))) as provider:
            assert await ask(client_of(provider)) == b"direct"


async def test_only_a_provider_that_is_reached_directly_has_the_lean_client(
    lean_of: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert type(lean_of("http://localhost/v1")) is LeanClient
    assert type(lean_of("ftp://localhost/v1")) is Client
    monkeypatch.setenv("http_proxy", "http://localhost:3128")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert type(lean_of("http://localhost/v1")) is Client
    assert type(lean_of("http://127.0.0.1/v1")) is LeanClient


async def test_a_request_has_what_http_wants_and_what_the_account_gives(client_of: Opens) -> None:
    async with serving(Provider.answering(answer(b"tea"))) as provider:
        await ask(client_of(provider, **{"X-Team": "blue"}), b'{"a": 1}')
        head, _, body = provider.requests[0].partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in lines)
        assert first == b"POST /v1/chat/completions HTTP/1.1"
        assert body == b'{"a": 1}'
        assert fields[b"host"] == b"localhost:%d" % provider.port
        assert fields[b"content-length"] == b"8"
        assert fields[b"authorization"] == f"bearer {KEY}".encode()
        assert fields[b"content-type"] == b"application/json"
        assert fields[b"accept-encoding"] == b"identity"
        assert fields[b"x-team"] == b"blue"
        assert len(fields) == len(lines)


def test_a_head_gives_no_length_of_its_own_and_the_host_its_header() -> None:
    headers = {"Content-Length": "9", "Transfer-Encoding": "chunked", "A": "b"}
    head = post_head(httpx2.URL("https://[::1]:443/v1/é"), headers)
    assert head == b"POST /v1/%C3%A9 HTTP/1.1\r\nhost: [::1]\r\na: b\r\ncontent-length: "
    named = post_head(httpx2.URL("http://here/"), {"Host": "there"})
    assert named == b"POST / HTTP/1.1\r\nhost: there\r\ncontent-length: "


@pytest.mark.parametrize("header", [("x", "a\r\nb: c"), ("x y", "a"), ("x:", "a"), ("", "a")])
async def test_a_header_that_would_break_the_request_is_refused(
    client_of: Opens, header: tuple[str, str]
) -> None:
    with pytest.raises(ModelError, match="no header can carry"):
        client_of("http://localhost/v1", **dict([header]))


async def test_a_stream_comes_as_it_is_said(client_of: Opens) -> None:
    begun, heard = asyncio.Event(), asyncio.Event()

    async def script(line: Line) -> None:
        while True:
            await line.asked()
            await line.say(chunked(end=b""))
            await begun.wait()
            await line.say(b"5\r\nGreen\r\n")
            await heard.wait()
            await line.say(b"5\r\n tea.\r\n0\r\n\r\n")

    async with serving(script) as provider, asyncio.timeout(WAIT_S):
        client = client_of(provider)
        async with client.stream("/chat/completions", b"{}") as chunks:
            begun.set()
            assert await anext(chunks) == b"Green"
            heard.set()
            assert [chunk async for chunk in chunks] == [b" tea."]
        async with client.stream("/chat/completions", b"{}") as chunks:
            assert b"".join([chunk async for chunk in chunks]) == b"Green tea."
        assert provider.connections == 1


async def streamed(client: Client) -> Failure:
    with pytest.raises(TRY_FAILURES) as caught:
        async with (
            asyncio.timeout(WAIT_S),
            client.stream("/chat/completions", b"{}") as chunks,
        ):
            assert [chunk async for chunk in chunks]
    return failure_of(caught.value, client.where)


async def test_a_stream_that_breaks_off_may_be_asked_for_again(client_of: Opens) -> None:
    async def script(line: Line) -> None:
        await line.asked()
        await line.say(chunked(b"Green", end=b""))

    async with serving(script) as provider:
        failed = await streamed(client_of(provider))
        assert (failed.error.code, failed.again) == ("model_provider_error", True)


async def test_a_stream_that_breaks_off_before_its_head_has_failed(client_of: Opens) -> None:
    async with serving(Line.asked) as provider:
        client = client_of(provider)
        with pytest.raises(TRY_FAILURES) as caught:
            await client.stream("/chat/completions", b"{}").__aenter__()
        failed = failure_of(caught.value, client.where)
        assert (failed.error.code, failed.again) == ("model_provider_error", True)


async def test_a_stream_that_is_too_long_is_given_up(client_of: Opens) -> None:
    async with serving(Provider.answering(answer(MEBIBYTE))) as provider:
        failed = await streamed(client_of(provider, replace(LIMITS, answer_bytes_max=1000)))
        assert failed.error.code == "model_answer_error"


async def test_a_refused_stream_is_read_whole_and_is_a_refusal(client_of: Opens) -> None:
    body = b'{"error": {"message": "%b"}}' % MEBIBYTE
    said = answer(body, status=b"400 Bad Request")
    async with serving(Provider.answering(said)) as provider:
        failed = await streamed(client_of(provider))
        assert not failed.again
        assert "HTTP 400: xxx" in failed.error.message


async def test_a_stream_that_is_left_early_is_aborted(client_of: Opens) -> None:
    closed = asyncio.Event()

    async def script(line: Line) -> None:
        await line.asked()
        await line.say(chunked(b"Green", end=b""))
        await line.gone()
        closed.set()

    async with serving(script) as provider:
        async with client_of(provider).stream("/chat/completions", b"{}") as chunks:
            assert await anext(chunks) == b"Green"
        await asyncio.wait_for(closed.wait(), WAIT_S)


async def test_a_stream_is_not_taken_faster_than_it_is_read(client_of: Opens) -> None:
    said = asyncio.Event()
    body = MEBIBYTE * 64

    async def script(line: Line) -> None:
        await line.asked()
        await line.say(answer(body))
        line.writer.transport.set_write_buffer_limits(0)
        await line.writer.drain()
        said.set()
        await line.gone()

    async with serving(script) as provider:
        client = client_of(provider, replace(LIMITS, answer_bytes_max=len(body)))
        async with client.stream("/chat/completions", b"{}") as chunks:
            size = len(await anext(chunks))
            # So long all of it would take to come many times over, were it taken.
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(said.wait(), 1)
            assert size + sum([len(chunk) async for chunk in chunks]) == len(body)
        assert said.is_set()


async def test_the_connection_used_last_is_used_first() -> None:
    async with serving(Provider.answering(answer(b"tea"))) as provider:
        connections = Connections(httpx2.URL(provider.base_url), LIMITS)
        one, two = await connections.take(), await connections.take()
        for connection in (one, two):
            connection.send(post_head(httpx2.URL(provider.base_url), {}) + b"0\r\n\r\n")
            await connection.whole()
        connections.give_back(one)
        connections.give_back(two)
        assert [await connections.take(), await connections.take()] == [two, one]
        connections.close()


async def test_a_connection_kept_for_too_long_or_closed_meanwhile_is_not_taken() -> None:
    async with serving(Provider.answering(answer(b"tea"))) as provider:
        connections = Connections(httpx2.URL(provider.base_url), LIMITS)
        kept = await connections.take()
        kept.send(post_head(httpx2.URL(provider.base_url), {}) + b"0\r\n\r\n")
        await kept.whole()
        connections.give_back(kept)
        kept.idle_since -= LIMITS.keepalive_s
        other = await connections.take()
        assert other is not kept
        assert not kept.reusable

        other.send(post_head(httpx2.URL(provider.base_url), {}) + b"0\r\n\r\n")
        await other.whole()
        connections.give_back(other)
        other.abort()
        assert await connections.take() is not other
        connections.close()


async def test_a_connection_with_a_stream_unread_is_not_used_again() -> None:
    async with serving(Line.gone) as provider:
        connections = Connections(httpx2.URL(provider.base_url), LIMITS)
        connection = await connections.take()
        connection.send(b"POST")
        connection.data_received(answer(b"x" * (HELD_BYTES_MAX + 1)))
        unread = connection.reusable
        assert len(await connection.whole()) == HELD_BYTES_MAX + 1
        assert (unread, connection.reusable) == (False, True)
        connections.close()


async def test_those_that_connect_at_once_look_the_name_up_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop, lookups = asyncio.get_running_loop(), 0
    look_up = loop.getaddrinfo

    async def counted(host: str, port: int, **how: int) -> Any:
        nonlocal lookups
        lookups += host == "localhost"
        return await look_up(host, port, **how)

    monkeypatch.setattr(loop, "getaddrinfo", counted)
    async with serving(Provider.answering(answer(b"tea"))) as provider:
        connections = Connections(httpx2.URL(provider.base_url), LIMITS)
        await asyncio.gather(*(connections.take() for _ in range(5)))
        connections.close()
    assert lookups == 1


async def test_a_closed_connection_is_asked_nothing() -> None:
    async with serving(Provider.answering(answer(b"tea"))) as provider:
        connections = Connections(httpx2.URL(provider.base_url), LIMITS)
        connection = await connections.take()
        connections.close()
        with pytest.raises(Disconnected):
            connection.send(b"")
