"""HTTP clients of model providers: one per account, shared by all its models."""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import cast
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx2
import structlog
from openai import AsyncOpenAI, DefaultAioHttpClient, OpenAIError

from teambus_team_runner.models.failures import AUTHENTICATION, PROVIDER, HttpRefusal
from teambus_team_runner.models.limits import ModelLimits
from teambus_team_runner.models.port import ModelError
from teambus_team_runner.models.wire import UnreadableAnswer

log = structlog.get_logger()

HTTP_ERRORS = 400


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
            path, content=body, cast_to=httpx2.Response, options={"timeout": self._timeout}
        )
        return response.content

    async def aclose(self) -> None:
        await self._sdk.close()


class LeanClient(Client):
    """The same requests without the SDK's machinery; where to and as whom is asked of the SDK."""

    def __init__(self, sdk: AsyncOpenAI, limits: ModelLimits) -> None:
        super().__init__(sdk, limits)
        self._base_url = str(sdk.base_url).rstrip("/")
        self._bytes_max = limits.answer_bytes_max
        given = {**sdk.default_headers, "Content-Type": "application/json"}
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=limits.connections_max, keepalive_timeout=limits.keepalive_s
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers={name: value for name, value in given.items() if isinstance(value, str)},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=limits.connect_timeout_s),
            proxy=_proxy(sdk.base_url),
        )

    async def post(self, path: str, body: bytes) -> bytes:
        async with self._session.post(self._base_url + path, data=body) as response:
            data = await self._read(response)
            if response.status >= HTTP_ERRORS:
                raise HttpRefusal(response.status, response.headers, data)
            return data

    async def aclose(self) -> None:
        await self._session.close()
        await super().aclose()

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        chunks, size = [], 0
        async for chunk in response.content.iter_any():
            chunks.append(chunk)
            size += len(chunk)
            if size > self._bytes_max:
                raise UnreadableAnswer(f"it is larger than {self._bytes_max} bytes")
        return b"".join(chunks)


class Clients:
    """All clients of a process, made when first needed."""

    def __init__(self, limits: ModelLimits) -> None:
        self._limits = limits
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
        key = account.api_key or os.environ.get("OPENAI_API_KEY", "").strip()
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
        kind = Client if self._limits.client == "sdk" else LeanClient
        return kind(sdk, self._limits)


def _proxy(url: httpx2.URL) -> str | None:
    """The proxy that the environment names for this provider, looked up once."""
    if proxy_bypass(url.host):
        return None
    return getproxies().get(url.scheme)


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
