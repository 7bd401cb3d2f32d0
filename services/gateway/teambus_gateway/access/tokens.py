"""JSON Web Tokens: who a signed token says its bearer is. Nothing in a token decides how it is
checked, and once checked it is known until it expires or the keys change.
"""

import hashlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jwt
import msgspec
from jwt.utils import base64url_decode

from teambus.contracts.ids import ID_RULE, TEXT_ID_LENGTH_MAX, Tenant, is_id
from teambus_gateway.access.caller import Caller
from teambus_gateway.access.jwks import JwksUrl
from teambus_gateway.access.refusing import unauthorized
from teambus_gateway.access.scopes import ADMIN, read_scopes
from teambus_gateway.access.verification_keys import VerificationKey
from teambus_gateway.access.watched import Watched
from teambus_gateway.problems import Problem

TOKEN_CHARS_MAX = 16 * 1024
KID_CHARS_MAX = 512
KNOWN_MAX = 10_000
SCOPES_MAX = 1_000

EXPIRED = "Token has expired"
WRONG_AUDIENCE = "Invalid token audience - token not valid for this AgentOS instance"
RESERVED = ("sa:", "__oauth__:")
"""Users whom AgentOS makes itself: no token may say that it is one of them."""
SCHEDULER = "__scheduler__"

WORDS: dict[type[Exception], str] = {
    jwt.ImmatureSignatureError: "it is not valid yet",
    jwt.InvalidIssuerError: "it is from another issuer",
    jwt.MissingRequiredClaimError: "a claim is missing",
    jwt.InvalidSignatureError: "Signature verification failed",
}


@dataclass(frozen=True, slots=True)
class TokenPolicy:
    """What a token must say, and which of its claims say who its bearer is."""

    audience: tuple[str, ...] = ()
    issuer: tuple[str, ...] = ()
    leeway_s: float = 10
    user_claim: str = "sub"
    scopes_claim: str = "scopes"
    session_claim: str = "session_id"
    tenant_claim: str | None = None
    admin_scope: str = ADMIN
    tenant: Tenant = "default"
    """Whose everybody is when no claim says it."""
    is_confining: bool = False


@dataclass(frozen=True, slots=True)
class KeySources:
    """Where keys come from; each source may be missing."""

    fixed: tuple[VerificationKey, ...] = ()
    file: Watched[tuple[VerificationKey, ...]] | None = None
    url: JwksUrl | None = None
    retry_after_s: int = 5

    @property
    def version(self) -> tuple[int, int]:
        return self.file.version if self.file else 0, self.url.version if self.url else 0

    def all(self) -> Iterator[VerificationKey]:
        yield from self.fixed
        if self.file is not None:
            yield from self.file.current()
        if self.url is not None:
            yield from self.url.keys or ()


class _Header(msgspec.Struct):
    """The part of a token that nobody has signed for yet. Keys, and addresses of keys, in it are
    not looked at.
    """

    alg: str
    kid: str | None = None
    crit: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    b64: bool = True


_header = msgspec.json.Decoder(_Header)


class Tokens:
    """Tells callers by their tokens."""

    def __init__(self, keys: KeySources, policy: TokenPolicy) -> None:
        self._keys = keys
        self._policy = policy
        self._known: dict[bytes, tuple[Caller, float]] = {}
        self._known_for = keys.version

    async def caller(self, token: str) -> Caller:
        """Raises `Problem`: 401, or 503 while there are no keys yet."""
        if len(token) > TOKEN_CHARS_MAX:
            raise invalid("it is too long")
        digest = hashlib.sha256(token.encode("latin-1")).digest()
        known = self._look_up(digest)
        return known or await self._check(token, digest)

    def _look_up(self, digest: bytes) -> Caller | None:
        if self._keys.file is not None:
            self._keys.file.current()
        if self._known_for != self._keys.version:
            self._known.clear()
            self._known_for = self._keys.version
        caller, until = self._known.get(digest, (None, 0.0))
        return caller if time.time() < until else None

    async def _check(self, token: str, digest: bytes) -> Caller:
        header = _read_header(token)
        keys = self._fitting(header)
        if not keys and self._keys.url is not None:
            await self._keys.url.refresh()
            keys = self._fitting(header)
        if not keys:
            raise self._no_key()
        version = self._keys.version
        claims = self._claims(token, keys)
        caller = self._caller(claims)
        if version == self._known_for:
            self._remember(digest, caller, claims["exp"] + self._policy.leeway_s)
        return caller

    def _remember(self, digest: bytes, caller: Caller, until: float) -> None:
        self._known.pop(digest, None)
        self._known[digest] = (caller, until)
        if len(self._known) > KNOWN_MAX:
            del self._known[next(iter(self._known))]

    def _fitting(self, header: _Header) -> list[VerificationKey]:
        named = (None, header.kid)
        return [
            key
            for key in self._keys.all()
            if key.algorithm == header.alg and (header.kid is None or key.kid in named)
        ]

    def _no_key(self) -> Problem:
        url = self._keys.url
        if url is not None and url.keys is None:
            detail = "the keys that tokens are checked with are not known yet; try again later"
            return Problem(503, detail, "keys_unknown", retry_after_s=self._keys.retry_after_s)
        return invalid("no key fits it")

    def _claims(self, token: str, keys: list[VerificationKey]) -> dict[str, Any]:
        for key in keys:
            try:
                return self._decoded(token, key)
            except jwt.InvalidSignatureError:
                continue
        raise invalid(WORDS[jwt.InvalidSignatureError])

    def _decoded(self, token: str, key: VerificationKey) -> dict[str, Any]:
        policy = self._policy
        try:
            claims = jwt.decode(
                token,
                key.material,
                algorithms=[key.algorithm],
                audience=policy.audience or None,
                issuer=policy.issuer or None,
                leeway=policy.leeway_s,
                options={"require": ["exp"], "verify_aud": bool(policy.audience)},
            )
        except jwt.InvalidSignatureError:
            raise
        except jwt.ExpiredSignatureError as error:
            raise unauthorized(EXPIRED) from error
        except jwt.InvalidAudienceError as error:
            raise unauthorized(WRONG_AUDIENCE) from error
        except jwt.PyJWTError as error:
            raise invalid(WORDS.get(type(error), "it cannot be read")) from error
        except (ValueError, TypeError, RecursionError, OverflowError) as error:
            raise invalid("it cannot be read") from error
        expires_at = claims["exp"]
        if type(expires_at) not in (int, float) or not math.isfinite(expires_at):
            raise invalid("exp is no time")
        return claims

    def _caller(self, claims: dict[str, Any]) -> Caller:
        policy = self._policy
        user_id = _text(claims, policy.user_claim)
        if user_id is not None and (user_id.startswith(RESERVED) or user_id == SCHEDULER):
            raise unauthorized("Invalid token subject")
        grants = read_scopes(_scopes(claims, policy.scopes_claim), policy.admin_scope)
        return Caller(
            tenant=self._tenant(claims),
            user_id=user_id,
            grants=grants,
            session_id=_text(claims, policy.session_claim),
            is_confined=policy.is_confining and not grants.is_admin,
        )

    def _tenant(self, claims: dict[str, Any]) -> Tenant:
        name = self._policy.tenant_claim
        if name is None:
            return self._policy.tenant
        tenant = claims.get(name)
        if not isinstance(tenant, str) or not is_id(tenant):
            raise invalid(f"the claim {name!r} names no tenant: {ID_RULE}")
        return tenant


def invalid(why: str) -> Problem:
    return unauthorized(f"Invalid token: {why}")


def _read_header(token: str) -> _Header:
    parts = token.split(".")
    if len(parts) != 3:
        raise invalid("it has not three parts")
    try:
        header = _header.decode(base64url_decode(parts[0]))
    except (ValueError, RecursionError) as error:
        raise invalid("its header cannot be read") from error
    if header.crit is not msgspec.UNSET or not header.b64:
        raise invalid("it asks for what is not known here")
    if len(header.kid or "") > KID_CHARS_MAX:
        raise invalid("its header cannot be read")
    return header


def _text(claims: dict[str, Any], name: str) -> str | None:
    value = claims.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not 1 <= len(value) <= TEXT_ID_LENGTH_MAX:
        raise invalid(f"the claim {name!r} is not 1 to {TEXT_ID_LENGTH_MAX} characters")
    return value


def _scopes(claims: dict[str, Any], name: str) -> list[str]:
    """A list, or words in one text as OAuth has them. Anything else grants nothing."""
    given = claims.get(name)
    if isinstance(given, str):
        given = given.split()
    if not isinstance(given, list):
        return []
    return [each for each in given[:SCOPES_MAX] if isinstance(each, str)]
