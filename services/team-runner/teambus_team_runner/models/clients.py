"""HTTP clients of model providers: one per account, shared by all its models."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast
from urllib.request import getproxies, proxy_bypass

import httpx2
import structlog
from openai import AsyncOpenAI, AsyncStream, DefaultAioHttpClient, OpenAIError
from openai._types import RequestOptions

from teambus_team_runner.models.connections import PORTS, Connections
from teambus_team_runner.models.failures import AUTHENTICATION, PROVIDER, HttpRefusal
from teambus_team_runner.models.http import post_head
from teambus_team_runner.models.limits import ModelLimits
from teambus_team_runner.models.port import ModelError, outgoing_headers
from teambus_team_runner.models.wire import UnreadableAnswer

log = structlog.get_logger()

REFUSALS = 300

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")


@dataclass(frozen=True, slots=True)
class Account:
    """Where and as whom to call; what is None comes from the environment at the first call."""

    api_key: str | None = None
    base_url: str | None = None
    organization: str | None = None
    headers: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        return "Account(...)"


class Client:
    """A provider's client with a place for each of its connections.

    Waiting for a place happens before a try, so that it neither counts as the provider's time nor
    lets the proof of ownership taken before the try grow old.
    """

    def __init__(self, sdk: AsyncOpenAI, limits: ModelLimits) -> None:
        self._sdk = sdk
        self._timeout = httpx2.Timeout(
            limits.timeout_s, connect=limits.connect_timeout_s, pool=None
        )
        self.places = asyncio.Semaphore(limits.connections_max)
        self.where = sdk.base_url.host or "the model provider"

    async def post(self, path: str, body: bytes) -> bytes:
        """One HTTP try, without retries and bounded by its caller."""
        response = await self._sdk.post(
            path, content=body, cast_to=httpx2.Response, options=self._options()
        )
        return response.content

    @asynccontextmanager
    async def stream(self, path: str, body: bytes) -> AsyncIterator[AsyncIterator[bytes]]:
        """The same, with the answer's body as it comes; leaving the block early aborts the call."""
        answer = await self._sdk.post(
            path,
            content=body,
            cast_to=httpx2.Response,
            options=self._options(),
            stream=True,
            stream_cls=AsyncStream[object],
        )
        response = cast(httpx2.Response, answer)
        try:
            yield response.aiter_bytes()
        finally:
            await response.aclose()

    def _options(self) -> RequestOptions:
        options: RequestOptions = {"timeout": self._timeout}
        if (more := outgoing_headers()) is not None:
            options["headers"] = more
        return options

    async def aclose(self) -> None:
        await self._sdk.close()


class LeanClient(Client):
    """The same requests without the SDK's machinery; where to and as whom is asked of the SDK.

    It reads HTTP/1.1 itself and knows no proxies. A redirect is a refusal.
    """

    def __init__(self, sdk: AsyncOpenAI, limits: ModelLimits) -> None:
        super().__init__(sdk, limits)
        self._connections = Connections(sdk.base_url, limits)
        self._heads: dict[str, bytes] = {}

    async def post(self, path: str, body: bytes) -> bytes:
        connection = await self._connections.take()
        try:
            connection.send(self._request(path, body))
            data = await connection.whole()
            if connection.status >= REFUSALS:
                raise HttpRefusal(connection.status, connection.headers, data)
            return data
        finally:
            self._connections.give_back(connection)

    @asynccontextmanager
    async def stream(self, path: str, body: bytes) -> AsyncIterator[AsyncIterator[bytes]]:
        connection = await self._connections.take()
        try:
            connection.send(self._request(path, body))
            if (status := await connection.head()) >= REFUSALS:
                raise HttpRefusal(status, connection.headers, await connection.whole())
            yield connection.chunks()
        finally:
            self._connections.give_back(connection)

    async def aclose(self) -> None:
        self._connections.close()
        await super().aclose()

    def _request(self, path: str, body: bytes) -> bytes:
        head = self._heads.get(path)
        if head is None:
            base = self._sdk.base_url
            url = base.copy_with(raw_path=base.raw_path.rstrip(b"/") + path.encode())
            given = {**_headers(self._sdk), "Content-Type": "application/json"}
            head = self._heads[path] = post_head(url, given)
        if (more := outgoing_headers()) is not None:
            return b"%b%d\r\n%b\r\n%b" % (head, len(body), _lines(more), body)
        return b"%b%d\r\n\r\n%b" % (head, len(body), body)


class Clients:
    """All clients of a process, made when first needed."""

    def __init__(self, limits: ModelLimits, *, api_key: str = "") -> None:
        self._limits = limits
        self._api_key = api_key
        self._clients: dict[Account, Client] = {}

    def of(self, account: Account) -> Client:
        """The account's client; raises `ModelError` when it has no key or cannot be made."""
        client = self._clients.get(account)
        if client is None:
            client = self._clients[account] = self._open(account)
        return client

    async def aclose(self) -> None:
        """Close every connection. One that fails to close does not keep the others open."""
        while self._clients:
            _, client = self._clients.popitem()
            await _close(client)

    def _open(self, account: Account) -> Client:
        key = account.api_key or os.environ.get("OPENAI_API_KEY", "").strip() or self._api_key
        if not key:
            text = "OPENAI_API_KEY is not set; set it, or give the model an api_key"
            raise ModelError(AUTHENTICATION, text)
        if not (key.isascii() and key.isprintable()):
            text = "the key in OPENAI_API_KEY has characters that no header can carry"
            raise ModelError(AUTHENTICATION, text)
        try:
            sdk = AsyncOpenAI(
                api_key=key,
                base_url=account.base_url,
                organization=account.organization,
                default_headers={"Accept-Encoding": "identity", **dict(account.headers)},
                max_retries=0,
                http_client=_http_client(self._limits),
            )
        except (ValueError, httpx2.InvalidURL, OpenAIError) as error:
            text = f"no model client can be made ({type(error).__name__}); check OPENAI_BASE_URL"
            raise ModelError(PROVIDER, text) from None
        if sdk.base_url.userinfo:
            text = "the base URL holds a name or password, which would replace the key; remove it"
            raise ModelError(PROVIDER, text)
        for name, value in _headers(sdk).items():
            if not (_NAME.fullmatch(name) and _VALUE.fullmatch(value)):
                text = f"the header {name!r} has characters that no header can carry"
                raise ModelError(PROVIDER, text)
        return self._client(sdk)

    def _client(self, sdk: AsyncOpenAI) -> Client:
        url, proxied = sdk.base_url, _is_proxied(sdk.base_url)
        is_fit = url.scheme in PORTS and bool(url.host) and not proxied
        kind = LeanClient if is_fit and self._limits.client == "lean" else Client
        client = kind(sdk, self._limits)
        log.info("model client opened", host=client.where, kind=kind.__name__, proxied=proxied)
        return client


def _lines(headers: Mapping[str, str]) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()


def _headers(sdk: AsyncOpenAI) -> dict[str, str]:
    """What the SDK would send; its own `default_headers` are without the key."""
    given = {**sdk.auth_headers, **sdk.default_headers}
    return {name: value for name, value in given.items() if isinstance(value, str)}


def _is_proxied(url: httpx2.URL) -> bool:
    """Whether the environment names a proxy for this provider; looked up once."""
    return url.scheme in getproxies() and not proxy_bypass(url.host)


async def _close(client: Client) -> None:
    try:
        await client.aclose()
    except Exception as error:  # whatever it is, the other clients are closed too
        log.warning("could not close a model client", host=client.where, exc_info=error)


def _http_client(limits: ModelLimits) -> httpx2.AsyncClient:
    async def bound(response: httpx2.Response) -> None:
        stream = cast(httpx2.AsyncByteStream, response.stream)
        response.stream = _BoundedStream(stream, limits.answer_bytes_max)

    return DefaultAioHttpClient(
        limits=httpx2.Limits(
            max_connections=limits.connections_max,
            max_keepalive_connections=limits.connections_max,
            keepalive_expiry=limits.keepalive_s,
        ),
        event_hooks={"response": [bound]},
    )


class _BoundedStream(httpx2.AsyncByteStream):
    """A body that refuses to grow over `bytes_max`."""

    def __init__(self, stream: httpx2.AsyncByteStream, bytes_max: int) -> None:
        self._stream = stream
        self._bytes_max = bytes_max

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._stream:
            size += len(chunk)
            if size > self._bytes_max:
                raise UnreadableAnswer(f"it is larger than {self._bytes_max} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()
