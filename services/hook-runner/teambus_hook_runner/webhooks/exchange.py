"""One POST and its answer, on a connection of its own.

Redirects are answers like others, proxies are not asked, and nothing is read beyond what is needed
to know the status and to say how the body began.
"""

import asyncio
import contextlib
import functools
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

import h11

from teambus.app.webhooks import Network
from teambus_hook_runner.webhooks.addresses import is_allowed, is_public
from teambus_hook_runner.webhooks.answers import Answer, SendFailed

ADDRESSES_TRIED_MAX = 4
CONNECT_TIMEOUT_S = 8
HEAD_BYTES_MAX = 64 * 1024
BODY_BYTES_MAX = 64 * 1024
BODY_WAIT_S = 2
EXCERPT_CHARS_MAX = 200
READ_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class Place:
    """Where a webhook is posted to. `networks` are those it may reach that are not public."""

    host: str
    port: int
    authority: str
    target: str
    is_https: bool
    networks: tuple[Network, ...]

    def __str__(self) -> str:
        """Without path and query, which may hold a token."""
        return f"{'https' if self.is_https else 'http'}://{self.authority}"

    def may_reach(self, address: str) -> bool:
        """Plain http stays within the networks that were allowed: outside, others read along."""
        return is_allowed(address, self.networks) or (self.is_https and is_public(address))


async def post(place: Place, headers: Mapping[str, str], body: bytes) -> Answer:
    """Raises `SendFailed` when there is no answer. How long it may take is up to the caller."""
    reader, writer = await _connected(place)
    try:
        return await _Exchange(place, reader, writer).run(headers, body)
    except (OSError, h11.ProtocolError) as error:
        raise SendFailed(f"{place}: no answer: {_words(error)}") from None
    finally:
        # At once: saying goodbye takes a receiver that listens.
        writer.transport.abort()


async def _connected(place: Place) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """To an address that was looked at: the name is not asked for again."""
    why = ""
    for address in (await _addresses(place))[:ADDRESSES_TRIED_MAX]:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                return await asyncio.open_connection(
                    address,
                    place.port,
                    ssl=_tls() if place.is_https else None,
                    server_hostname=place.host if place.is_https else None,
                )
        except TimeoutError:
            why = f"no connection within {CONNECT_TIMEOUT_S} s"
        except OSError as error:
            why = f"no connection: {_words(error)}"
    raise SendFailed(f"{place}: {why}")


async def _addresses(place: Place) -> list[str]:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise SendFailed(f"{place}: its address is not known: {_words(error)}") from None
    addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
    allowed = [each for each in addresses if place.may_reach(each)]
    if not allowed:
        raise SendFailed(f"{place}: {refusal(addresses[0] if addresses else 'no address')}")
    return allowed


def refusal(address: str) -> str:
    return (
        f"is at {address}, which a webhook may not reach: the address is not public, or the url is"
        " not https; allow its network with WebhookHook(..., networks_allowed=[...]) or"
        " HOOK_RUNNER_WEBHOOK_NETWORKS_ALLOWED"
    )


class _Exchange:
    """Request and answer at the same time: an answer may come before all was sent."""

    def __init__(
        self, place: Place, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._place = place
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES_MAX)

    async def run(self, headers: Mapping[str, str], body: bytes) -> Answer:
        sending = asyncio.ensure_future(self._send(self._request(headers, body)))
        try:
            head = await self._head()
            excerpt = await self._excerpt()
        finally:
            sending.cancel()
            await asyncio.wait({sending})
        named = {name.decode(): value.decode("latin-1") for name, value in head.headers}
        return Answer(head.status_code, named.get("retry-after"), excerpt)

    def _request(self, headers: Mapping[str, str], body: bytes) -> list[bytes]:
        own = {
            "host": self._place.authority,
            "connection": "close",
            "content-length": str(len(body)),
        }
        request = h11.Request(
            method="POST", target=self._place.target, headers=list({**own, **headers}.items())
        )
        parts = [self._http.send(each) for each in (request, h11.Data(body), h11.EndOfMessage())]
        return [each for each in parts if each]

    async def _send(self, parts: list[bytes]) -> None:
        self._writer.writelines(parts)
        # Who answers and hangs up before all was sent has answered.
        with contextlib.suppress(OSError):
            await self._writer.drain()

    async def _head(self) -> h11.Response:
        while True:
            match await self._next():
                case h11.Response() as head:
                    return head
                case h11.InformationalResponse():
                    continue
                case _:
                    raise SendFailed(f"{self._place}: hung up without an answer")

    async def _excerpt(self) -> str:
        """How the body begins. Some of what follows is read too, so that who answers can end."""
        begin, size = b"", 0
        with contextlib.suppress(TimeoutError, OSError, h11.ProtocolError):
            async with asyncio.timeout(BODY_WAIT_S):
                while size < BODY_BYTES_MAX and isinstance(part := await self._next(), h11.Data):
                    begin += bytes(part.data)[: 4 * EXCERPT_CHARS_MAX - len(begin)]
                    size += len(part.data)
        text = begin.decode("utf-8", "replace")
        shown = "".join(each if each.isprintable() else " " for each in text)
        return " ".join(shown.split())[:EXCERPT_CHARS_MAX]

    async def _next(self) -> object:
        while True:
            event = self._http.next_event()
            if event is not h11.NEED_DATA:
                return event
            self._http.receive_data(await self._reader.read(READ_BYTES))


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


@functools.cache
def _tls() -> ssl.SSLContext:
    """Reads the system's certificates, which takes too long to be done for each message."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
