"""Webhooks sent to a real HTTP server that answers in every way it should not."""

import asyncio
import base64
import socket
import ssl
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import trustme
from standardwebhooks import Webhook

from teambus import DefinitionError, Delivery, Permanent, WebhookHook
from teambus_hook_runner.failures import NotNow
from teambus_hook_runner.webhooks import exchange
from teambus_hook_runner.webhooks.answers import SendFailed
from teambus_hook_runner.webhooks.sender import Sender
from tests.integration.hook_parts import completed
from tests.support.receiver import Answer, endless, plain, raw, receiving, stalled

SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()
OLD_SECRET = "whsec_" + base64.b64encode(b"o" * 24).decode()
HERE = ("127.0.0.0/8",)
EVENT = completed("r-1", content="done")
DELIVERY = Delivery(id="default:books:r-1", attempt=1, hook="books")


def sender(url: str, *networks: str, **options: Any) -> Sender:
    options = {"secret": SECRET} | options
    return Sender("books", WebhookHook(url, **options), networks or HERE)


async def send(sender: Sender, event: Any = EVENT, delivery: Delivery = DELIVERY) -> None:
    """Far below what a test may take, so that only a wait without a limit is noticed."""
    async with asyncio.timeout(40):
        await sender(completed=event, run_output=event.output, delivery=delivery)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "BODY_WAIT_S", 0.2)
    monkeypatch.setattr(exchange, "CONNECT_TIMEOUT_S", 0.5)


async def test_a_message_is_posted_signed_with_each_secret() -> None:
    async with receiving(plain(200)) as receiver:
        await send(sender(receiver.url, secret=[SECRET, OLD_SECRET]))
        [told] = receiver.told
    assert told.head == "POST /told?token=hidden HTTP/1.1"
    assert told.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert told.headers["content-type"] == "application/json"
    assert told.headers["webhook-id"] == "default:books:r-1"
    for each in (SECRET, OLD_SECRET):
        found = Webhook(each).verify(told.body, told.headers)
        assert found["data"]["run"]["content"] == "done"


async def test_a_retry_has_the_same_id_and_body() -> None:
    async with receiving(plain(500), plain(200)) as receiver:
        to = sender(receiver.url)
        with pytest.raises(SendFailed):
            await send(to)
        await send(to, delivery=Delivery(id=DELIVERY.id, attempt=2, hook="books"))
        first, second = receiver.told
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body


@pytest.mark.parametrize("where", ["variable", "file"])
async def test_a_secret_of_the_hook_runner_alone_is_used(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOOKS_SECRET", f"{SECRET} {OLD_SECRET}")
    (tmp_path / "secret").write_text(f"{SECRET}\n{OLD_SECRET}\n")
    source = {
        "variable": {"secret_env": "BOOKS_SECRET"},
        "file": {"secret_file": str(tmp_path / "secret")},
    }[where]
    async with receiving() as receiver:
        await send(sender(receiver.url, secret=None, **source))
        [told] = receiver.told
    for each in (SECRET, OLD_SECRET):
        Webhook(each).verify(told.body, told.headers)


HEAD = b"HTTP/1.1 %d Said\r\nContent-Type: text/plain\r\n"
ANSWERS: dict[str, tuple[Answer, type[Exception] | None, str]] = {
    "a body that never ends": (endless(HEAD % 200 + b"\r\n"), None, ""),
    "a body that never comes": (stalled(HEAD % 200 + b"Content-Length: 9\r\n\r\n"), None, ""),
    "a body cut short": (raw(HEAD % 200 + b"Content-Length: 9\r\n\r\nab"), None, ""),
    "a body that is no chunk": (
        raw(HEAD % 200 + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
        None,
        "",
    ),
    "word before the answer": (raw(b"HTTP/1.1 103 Early\r\n\r\n" + HEAD % 204 + b"\r\n"), None, ""),
    "an endless refusal": (endless(HEAD % 500 + b"\r\n"), SendFailed, "answered 500: xxx"),
    "a refusal with reasons": (
        plain(400, body=b"no\r\n such\x00 \xff book"),
        SendFailed,
        "answered 400: no such � book",
    ),
    "gone": (plain(410), Permanent, "answered 410"),
    "not now": (plain(503, "Retry-After: 7", body=b"busy"), NotNow, "answered 503: busy"),
    "a head that never ends": (endless(HEAD % 200 + b"X: "), SendFailed, "no answer"),
    "no HTTP": (raw(b"220 mail.example.com ESMTP\r\n"), SendFailed, "no answer"),
    "nothing": (raw(b""), SendFailed, "no answer"),
    "half a head": (raw(b"HTTP/1.1 200 OK\r\nX"), SendFailed, "no answer"),
}


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("kind", ANSWERS)
async def test_an_answer_counts_by_its_status_whatever_follows(kind: str) -> None:
    answer, raises, said = ANSWERS[kind]
    async with receiving(answer) as receiver:
        if raises is None:
            await send(sender(receiver.url))
        else:
            with pytest.raises(raises, match=said) as caught:
                await send(sender(receiver.url))
            assert "hidden" not in str(caught.value)
        assert len(receiver.told) == 1


async def test_an_excerpt_of_a_refusal_is_short() -> None:
    async with receiving(plain(500, body=b"y" * 50_000)) as receiver:
        with pytest.raises(SendFailed) as caught:
            await send(sender(receiver.url))
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("status", [200, 500])
async def test_of_a_body_without_end_little_is_read(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "BODY_WAIT_S", 3600)
    async with receiving(endless(HEAD % status + b"\r\n")) as receiver:
        with pytest.raises(SendFailed) if status == 500 else nullcontext():
            await send(sender(receiver.url))


async def test_a_redirect_is_not_followed() -> None:
    async with receiving() as other, receiving(plain(302, f"Location: {other.url}")) as receiver:
        with pytest.raises(SendFailed, match="answered 302, which is not followed"):
            await send(sender(receiver.url))
        assert other.told == []


async def test_a_receiver_that_is_silent_is_left_when_the_time_is_over() -> None:
    async with receiving(stalled()) as receiver:
        sending = asyncio.ensure_future(send(sender(receiver.url)))
        await receiver.until_told(1)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending


async def test_an_answer_that_comes_before_all_was_sent_is_heard() -> None:
    refusal = stalled(b"HTTP/1.1 413 Large\r\nContent-Length: 0\r\n\r\n")
    large = completed("r-1", content="z" * 32 * 1024 * 1024)
    async with receiving(refusal) as receiver:
        receiver.reads_bodies = False
        with pytest.raises(Permanent, match="answered 413"):
            await send(sender(receiver.url), large)


async def test_nobody_at_the_address_is_said() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        with pytest.raises(SendFailed, match=f"http://127.0.0.1:{port}: no connection"):
            await send(sender(f"http://127.0.0.1:{port}/?token=hidden"))


async def test_a_name_that_is_not_known_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    async def getaddrinfo(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    with pytest.raises(SendFailed, match="its address is not known: Name or service"):
        await send(sender("https://nowhere.example.com/"))


class Names:
    """What names stand for, by the order in which they are asked for."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def getaddrinfo(self, host: str, port: int, **_: Any) -> list[Any]:
        self.asked += 1
        addresses = self.answers.pop(0)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in addresses]


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that were connected to."""
    found: list[str] = []
    connect = asyncio.open_connection

    async def open_connection(host: str, *given: Any, **options: Any) -> Any:
        found.append(host)
        return await connect(host, *given, **options)

    monkeypatch.setattr(asyncio, "open_connection", open_connection)
    return found


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "fd00:ec2::254"],
)
async def test_a_name_of_an_address_that_is_not_public_is_refused_before_any_connection(
    address: str, monkeypatch: pytest.MonkeyPatch, tried: list[str]
) -> None:
    names = Names([address])
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", names.getaddrinfo)
    async with receiving() as receiver:
        url = f"https://receiver.example.com:{receiver.port}/?token=hidden"
        with pytest.raises(SendFailed, match=f"is at {address}, which a webhook may not reach"):
            await send(sender(url, "192.168.7.0/24"))
        assert (tried, receiver.told) == ([], [])


async def test_a_name_that_changes_is_connected_to_where_it_was_looked_at(
    monkeypatch: pytest.MonkeyPatch, tried: list[str]
) -> None:
    names = Names(["127.0.0.1"], ["127.0.0.2"], ["127.0.0.2"])
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", names.getaddrinfo)
    async with receiving() as receiver:
        await send(sender(f"http://receiver.example.com:{receiver.port}/", "127.0.0.1/32"))
        assert (tried, names.asked) == (["127.0.0.1"], 1)
        with pytest.raises(SendFailed, match=r"is at 127\.0\.0\.2, which a webhook may not reach"):
            await send(sender(f"http://receiver.example.com:{receiver.port}/", "127.0.0.1/32"))
        assert (tried, len(receiver.told)) == (["127.0.0.1"], 1)


async def test_of_several_addresses_the_allowed_ones_are_tried_in_turn(
    monkeypatch: pytest.MonkeyPatch, tried: list[str]
) -> None:
    names = Names(["10.0.0.1", "127.0.0.9", "127.0.0.1", "127.0.0.1"])
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", names.getaddrinfo)
    async with receiving(host="127.0.0.1") as receiver:
        await send(sender(f"http://receiver.example.com:{receiver.port}/"))
        assert tried == ["127.0.0.9", "127.0.0.1"]
        assert receiver.told[0].headers["host"] == f"receiver.example.com:{receiver.port}"


async def test_plain_http_stays_within_the_networks_that_were_allowed(
    monkeypatch: pytest.MonkeyPatch, tried: list[str]
) -> None:
    names = Names(["8.8.8.8"])
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", names.getaddrinfo)
    with pytest.raises(SendFailed, match=r"is at 8\.8\.8\.8, which a webhook may not reach"):
        await send(sender("http://receiver.example.com/"))
    assert tried == []


WRONG_AT_START: dict[str, tuple[str, dict[str, Any], str]] = {
    "this machine": ("https://localhost/", {}, "is at 127.0.0.1, which a webhook may not reach"),
    "a private address": ("https://10.0.0.1/", {}, "https://10.0.0.1 is at 10.0.0.1"),
    "metadata": ("http://169.254.169.254/latest", {}, "is at 169.254.169.254"),
    "IPv6": ("https://[::ffff:7f00:1]:8443/", {}, "which a webhook may not reach"),
    "plain http": ("http://example.com/", {}, "http://example.com is not https; use https"),
    "no variable": (
        "https://example.com/",
        {"secret": None, "secret_env": "NOT_SET_ANYWHERE"},
        "the variable NOT_SET_ANYWHERE is not set; set it for the hook-runner",
    ),
    "no file": (
        "https://example.com/",
        {"secret": None, "secret_file": "/nowhere/at/all"},
        "the file /nowhere/at/all cannot be read: No such file or directory",
    ),
    "no secret in the variable": (
        "https://example.com/",
        {"secret": None, "secret_env": "HUSH"},
        "the variable HUSH: a secret must begin with whsec_",
    ),
}


@pytest.mark.parametrize("kind", WRONG_AT_START)
def test_what_can_be_known_at_start_is_said_at_start(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUSH", "hush")
    url, options, said = WRONG_AT_START[kind]
    with pytest.raises(DefinitionError) as caught:
        Sender("books", WebhookHook(url, **({"secret": SECRET} | options)), ())
    assert said in str(caught.value)
    assert "webhook 'books'" in str(caught.value)
    assert "hush" not in str(caught.value)


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[trustme.CA]:
    """One that is trusted from here on."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    exchange._tls.cache_clear()
    yield authority
    exchange._tls.cache_clear()


def tls_of(authority: trustme.CA, host: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(host).configure_cert(context)
    return context


async def test_a_receiver_is_known_by_its_certificate(authority: trustme.CA) -> None:
    async with receiving(tls=tls_of(authority, "localhost")) as receiver:
        await send(sender(f"https://localhost:{receiver.port}/"))
        assert len(receiver.told) == 1


async def test_the_certificate_is_that_of_the_name_and_not_of_the_address(
    authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = Names(["127.0.0.1"], ["127.0.0.1"])
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", names.getaddrinfo)
    async with receiving(tls=tls_of(authority, "receiver.example.com")) as receiver:
        await send(sender(f"https://receiver.example.com:{receiver.port}/"))
    async with receiving(tls=tls_of(authority, "127.0.0.1")) as receiver:
        with pytest.raises(SendFailed, match="its certificate is not trusted: "):
            await send(sender(f"https://receiver.example.com:{receiver.port}/"))


@pytest.mark.parametrize("host", ["localhost", "elsewhere"])
async def test_a_certificate_that_proves_nothing_is_told_nothing(
    authority: trustme.CA, host: str
) -> None:
    by = trustme.CA() if host == "localhost" else authority
    async with receiving(tls=tls_of(by, host)) as receiver:
        with pytest.raises(SendFailed, match="its certificate is not trusted: "):
            await send(sender(f"https://localhost:{receiver.port}/"))
        assert receiver.told == []
