"""What an operator may choose of who is let in, and the admission that is made of it."""

from dataclasses import dataclass, field
from pathlib import Path

import structlog

from teambus.contracts.ids import DEFAULT_TENANT, ID_RULE, is_id
from teambus.runtime.settings import SettingsError
from teambus_gateway.access.admission import Admission, Holders, holders_of
from teambus_gateway.access.jwks import JwksLimits, JwksUrl
from teambus_gateway.access.scopes import ADMIN
from teambus_gateway.access.tokens import KeySources, TokenPolicy, Tokens
from teambus_gateway.access.verification_keys import (
    BadKey,
    VerificationKey,
    keys_of_jwks,
    keys_of_text,
)
from teambus_gateway.access.watched import Watched

log = structlog.get_logger(__name__)


def _named(variable: str, *, is_secret: bool = False) -> dict[str, str | bool]:
    return {"variable": variable, "is_secret": is_secret}


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessSettings:
    """The part of the gateway's settings that says who may ask; names as AgentOS has them."""

    tenant: str = field(default=DEFAULT_TENANT, metadata=_named("TEAMBUS_TENANT"))
    security_key: str | None = field(
        default=None, repr=False, metadata=_named("OS_SECURITY_KEY", is_secret=True)
    )
    api_keys_file: str | None = field(default=None, metadata=_named("TEAMBUS_API_KEYS_FILE"))
    jwt_verification_key: str | None = field(
        default=None, repr=False, metadata=_named("JWT_VERIFICATION_KEY", is_secret=True)
    )
    jwt_jwks_file: str | None = field(default=None, metadata=_named("JWT_JWKS_FILE"))
    jwt_jwks_url: str | None = field(default=None, metadata=_named("JWT_JWKS_URL"))
    jwt_jwks_http_allowed: bool = field(default=False, metadata=_named("JWT_JWKS_HTTP_ALLOWED"))
    jwt_jwks_refresh_s: float = field(default=300, metadata=_named("JWT_JWKS_REFRESH_S"))
    jwt_jwks_retry_s: float = field(default=10, metadata=_named("JWT_JWKS_RETRY_S"))
    jwt_jwks_timeout_s: float = field(default=5, metadata=_named("JWT_JWKS_TIMEOUT_S"))
    jwt_jwks_bytes_max: int = field(default=256 * 1024, metadata=_named("JWT_JWKS_BYTES_MAX"))
    jwt_audience: tuple[str, ...] = field(default=(), metadata=_named("JWT_AUDIENCE"))
    jwt_issuer: tuple[str, ...] = field(default=(), metadata=_named("JWT_ISSUER"))
    jwt_leeway_s: float = field(default=10, metadata=_named("JWT_LEEWAY_S"))
    jwt_user_claim: str = field(default="sub", metadata=_named("JWT_USER_CLAIM"))
    jwt_scopes_claim: str = field(default="scopes", metadata=_named("JWT_SCOPES_CLAIM"))
    jwt_session_claim: str = field(default="session_id", metadata=_named("JWT_SESSION_CLAIM"))
    jwt_tenant_claim: str | None = field(default=None, metadata=_named("JWT_TENANT_CLAIM"))
    jwt_admin_scope: str = field(default=ADMIN, metadata=_named("JWT_ADMIN_SCOPE"))
    user_isolation: bool = False
    keys_look_s: float = 5

    @property
    def asks_for_tokens(self) -> bool:
        return bool(self.jwt_verification_key or self.jwt_jwks_file or self.jwt_jwks_url)


def admission_of(settings: AccessSettings) -> Admission:
    """Raises `SettingsError` for what cannot be used, and says nothing of what is in a key."""
    if not is_id(settings.tenant):
        raise SettingsError(f"TEAMBUS_TENANT={settings.tenant!r} is no tenant: {ID_RULE}")
    jwks = _jwks(settings)
    tokens = _tokens(settings, jwks) if settings.asks_for_tokens else None
    root_key = settings.security_key
    if tokens is not None and root_key is not None:
        log.warning("OS_SECURITY_KEY opens nothing where tokens are asked for, as in AgentOS")
        root_key = None
    if tokens is not None and not settings.jwt_audience:
        log.warning("JWT_AUDIENCE is not set: tokens made for other services are let in too")
    admission = Admission(
        settings.tenant,
        root_key,
        _api_keys(settings),
        tokens,
        jwks,
        is_confining=settings.user_isolation,
    )
    if settings.user_isolation and admission.is_open:
        raise SettingsError(
            "GATEWAY_USER_ISOLATION needs users that are known: set JWT_VERIFICATION_KEY, "
            "JWT_JWKS_FILE, JWT_JWKS_URL or TEAMBUS_API_KEYS_FILE"
        )
    return admission


def _tokens(settings: AccessSettings, jwks: JwksUrl | None) -> Tokens:
    policy = TokenPolicy(
        audience=settings.jwt_audience,
        issuer=settings.jwt_issuer,
        leeway_s=settings.jwt_leeway_s,
        user_claim=settings.jwt_user_claim,
        scopes_claim=settings.jwt_scopes_claim,
        session_claim=settings.jwt_session_claim,
        tenant_claim=settings.jwt_tenant_claim,
        admin_scope=settings.jwt_admin_scope,
        tenant=settings.tenant,
        is_confining=settings.user_isolation,
    )
    return Tokens(KeySources(_fixed(settings), _file(settings), jwks), policy)


def _fixed(settings: AccessSettings) -> tuple[VerificationKey, ...]:
    if settings.jwt_verification_key is None:
        return ()
    try:
        return keys_of_text(settings.jwt_verification_key)
    except BadKey as error:
        raise SettingsError(f"JWT_VERIFICATION_KEY cannot be used: {error}") from error


def _file(settings: AccessSettings) -> Watched[tuple[VerificationKey, ...]] | None:
    if settings.jwt_jwks_file is None:
        return None

    def read(data: bytes) -> tuple[VerificationKey, ...]:
        return keys_of_jwks(data, secrets=True)

    path = settings.jwt_jwks_file
    try:
        return Watched(Path(path), read, look_s=settings.keys_look_s)
    except (OSError, ValueError) as error:
        raise SettingsError(f"JWT_JWKS_FILE={path!r} cannot be used: {error}") from error


def _jwks(settings: AccessSettings) -> JwksUrl | None:
    if settings.jwt_jwks_url is None:
        return None
    limits = JwksLimits(
        refresh_s=settings.jwt_jwks_refresh_s,
        retry_s=settings.jwt_jwks_retry_s,
        timeout_s=settings.jwt_jwks_timeout_s,
        bytes_max=settings.jwt_jwks_bytes_max,
    )
    url, http_allowed = settings.jwt_jwks_url, settings.jwt_jwks_http_allowed
    try:
        return JwksUrl(url, limits, http_allowed=http_allowed)
    except ValueError as error:
        raise SettingsError(f"JWT_JWKS_URL cannot be used: {error}") from error


def _api_keys(settings: AccessSettings) -> Watched[Holders] | None:
    if settings.api_keys_file is None:
        return None

    def read(data: bytes) -> Holders:
        return holders_of(data, settings.jwt_admin_scope)

    path = settings.api_keys_file
    try:
        return Watched(Path(path), read, look_s=settings.keys_look_s)
    except (OSError, ValueError) as error:
        raise SettingsError(f"TEAMBUS_API_KEYS_FILE={path!r} cannot be used: {error}") from error
