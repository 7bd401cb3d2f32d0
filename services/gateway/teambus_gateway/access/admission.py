"""Who is let in: whoever has a key or a token that is known, or anybody where none is asked for."""

import asyncio
import hmac
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from teambus.contracts.ids import Tenant
from teambus.runtime.api_keys import PREFIX, ApiKey, hash_of, is_expired, read_api_keys
from teambus_gateway.access.caller import Caller
from teambus_gateway.access.jwks import JwksUrl
from teambus_gateway.access.refusing import INVALID, MISSING, MISSING_TOKEN, unauthorized
from teambus_gateway.access.scopes import ADMIN, Grants, read_scopes
from teambus_gateway.access.tokens import Tokens, invalid
from teambus_gateway.access.watched import Watched

Holders = dict[str, tuple[ApiKey, Grants]]
"""Who has a key, by its hash."""


@dataclass(frozen=True, slots=True)
class Admission:
    """The ways in that are configured; with none, everybody is a user of `tenant`."""

    tenant: Tenant
    root_key: str | None = field(default=None, repr=False)
    api_keys: Watched[Holders] | None = None
    tokens: Tokens | None = None
    jwks: JwksUrl | None = None
    is_confining: bool = False

    @property
    def is_open(self) -> bool:
        return self.root_key is None and self.api_keys is None and self.tokens is None

    @property
    def anybody(self) -> Caller:
        return Caller(self.tenant)

    def missing(self) -> str | None:
        """What keeps this gateway from knowing its callers."""
        return "the JWKS was never read" if self.jwks and self.jwks.keys is None else None

    @asynccontextmanager
    async def keeping_fresh(self) -> AsyncIterator[None]:
        """Keep the keys of an identity provider fresh while the block runs."""
        if self.jwks is None:
            yield
            return
        keeping = asyncio.create_task(self.jwks.keep_fresh(), name="keep the JWKS fresh")
        try:
            yield
        finally:
            keeping.cancel()
            with suppress(asyncio.CancelledError):
                await keeping

    async def caller(self, authorization: list[str]) -> Caller:
        """By the values of its `Authorization`. Raises `Problem`: 401, or 503 without any key."""
        if not authorization:
            detail = MISSING_TOKEN if self.tokens else MISSING
            raise unauthorized(detail, is_missing=True)
        scheme, _, token = authorization[0].partition(" ")
        token = token.strip()
        if len(authorization) > 1 or scheme.lower() != "bearer" or not token:
            raise self._refusal("it is not one bearer token")
        if self.api_keys is not None and token.startswith(PREFIX):
            return self._holder(self.api_keys.current(), token)
        if self.tokens is not None:
            return await self.tokens.caller(token)
        # Compared in any case, so that the time taken tells nothing of the key.
        given, key = token.encode("latin-1"), (self.root_key or "").encode()
        if hmac.compare_digest(given, key) and self.root_key is not None:
            return Caller(self.tenant)
        raise unauthorized(INVALID)

    def _holder(self, holders: Holders, token: str) -> Caller:
        """Found by a hash: how long that takes tells of the hash, which tells nothing of a key."""
        found = holders.get(hash_of(token))
        if found is None or is_expired(found[0], time.time()):
            raise unauthorized(INVALID)
        key, grants = found
        is_confined = self.is_confining and not grants.is_admin
        return Caller(key.tenant, key.user_id, grants, is_confined=is_confined)

    def _refusal(self, why: str) -> Exception:
        return invalid(why) if self.tokens is not None else unauthorized(INVALID)


def holders_of(data: bytes, admin_scope: str = ADMIN) -> Holders:
    """Raises `ValueError`."""
    keys = read_api_keys(data).keys
    return {key.sha256: (key, read_scopes(key.scopes, admin_scope)) for key in keys}
