"""The JWKS of an identity provider, fetched from its URL: kept fresh, and fetched at once, though
not often, when a token names a key that is not in it.
"""

import asyncio
import ssl
import time
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import structlog

from teambus_gateway.access.verification_keys import BadKey, VerificationKey, keys_of_jwks

log = structlog.get_logger(__name__)

PIECE_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class JwksLimits:
    """`retry_s` lies between two fetches, whoever asks for them."""

    refresh_s: float = 300
    retry_s: float = 10
    timeout_s: float = 5
    bytes_max: int = 256 * 1024


class JwksUrl:
    """Keys behind a URL; while it cannot be fetched, those it had before. None before the first."""

    def __init__(self, url: str, limits: JwksLimits, *, http_allowed: bool) -> None:
        """Raises `BadKey` for a URL that is not to be trusted."""
        _check(url, http_allowed=http_allowed)
        self._url = url
        self._limits = limits
        self._asking = asyncio.Lock()
        self._asked_at = float("-inf")
        self._opener = urllib.request.build_opener(
            _NoRedirect, urllib.request.HTTPSHandler(context=ssl.create_default_context())
        )
        self.keys: tuple[VerificationKey, ...] | None = None
        self.version = 0

    async def keep_fresh(self) -> None:
        """Runs until cancelled."""
        while True:
            await self.refresh()
            limits = self._limits
            await asyncio.sleep(limits.retry_s if self.keys is None else limits.refresh_s)

    async def refresh(self) -> None:
        """Fetch, unless that was done a moment ago. Who comes while it is done waits for it."""
        version = self.version
        async with self._asking:
            now = time.monotonic()
            if self.version != version or now - self._asked_at < self._limits.retry_s:
                return
            self._asked_at = now
            await self._fetch()

    async def _fetch(self) -> None:
        try:
            data = await asyncio.to_thread(self._get)
            keys = keys_of_jwks(data, secrets=False)
        except (OSError, HTTPException, ValueError) as error:
            log.error("the JWKS cannot be fetched", url=self._shown(), why=str(error))
            return
        if keys != self.keys:
            self.keys = keys
            self.version += 1
            log.info("the JWKS was read", url=self._shown(), keys=len(keys))

    def _get(self) -> bytes:
        """Raises `OSError`, `HTTPException` or `ValueError`; takes `timeout_s` and little more."""
        limits = self._limits
        until = time.monotonic() + limits.timeout_s
        request = urllib.request.Request(self._url, headers={"Accept": "application/json"})
        with self._opener.open(request, timeout=limits.timeout_s) as answer:
            return _read(answer, limits.bytes_max, until)

    def _shown(self) -> str:
        """Without a query, which may have a secret in it."""
        parts = urlsplit(self._url)
        return f"{parts.scheme}://{parts.hostname}{parts.path}"


def _read(answer: HTTPResponse, bytes_max: int, until: float) -> bytes:
    data = b""
    while piece := answer.read1(PIECE_BYTES):
        data += piece
        if len(data) > bytes_max:
            raise BadKey(f"the JWKS is larger than {bytes_max} bytes")
        if time.monotonic() > until:
            raise TimeoutError("the JWKS comes too slowly")
    return data


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Keys are taken from where the operator says, and from nowhere else."""


def _check(url: str, *, http_allowed: bool) -> None:
    parts = urlsplit(url)
    if not parts.hostname or parts.scheme not in ("http", "https"):
        raise BadKey("not the URL of a JWKS: it begins with https://")
    if parts.username or parts.password:
        raise BadKey("a name and password in the URL are not sent; leave them out")
    if parts.scheme == "http" and not (http_allowed or _is_here(parts.hostname)):
        raise BadKey(
            "keys that come over http may be anybody's: use https, "
            "or set JWT_JWKS_HTTP_ALLOWED=true"
        )


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
