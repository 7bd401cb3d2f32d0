"""Keys that tokens are checked with, from PEM, a secret or a JWKS. The kind of a key decides by
which algorithm it checks, never the token.
"""

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import msgspec
import structlog
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

log = structlog.get_logger(__name__)

Algorithm: TypeAlias = Literal["RS256", "ES256", "HS256"]
Material: TypeAlias = "rsa.RSAPublicKey | ec.EllipticCurvePublicKey | bytes"

RSA_BITS_MIN = 2048
SECRET_BYTES_MIN = 32
KEYS_MAX = 100

_PEM = re.compile(r"-----BEGIN ([A-Z ]+)-----.*?-----END \1-----", re.DOTALL)


class BadKey(ValueError):
    """a key that tokens cannot be checked with; says nothing of what is in it"""


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A key with an id checks only tokens that name it, or none."""

    algorithm: Algorithm
    material: Material = field(repr=False)
    kid: str | None = None


class _Jwk(msgspec.Struct):
    kty: str
    kid: str | None = None
    use: str | None = None
    alg: str | None = None
    key_ops: list[str] | None = None
    n: str = ""
    e: str = ""
    crv: str = ""
    x: str = ""
    y: str = ""
    k: str = ""
    d: str | None = None


class _Jwks(msgspec.Struct):
    keys: list[msgspec.Raw]


def keys_of_text(text: str) -> tuple[VerificationKey, ...]:
    """Public keys in PEM, one or more; else the text itself is a secret. Raises `BadKey`."""
    if "-----BEGIN" not in text:
        return (VerificationKey("HS256", _strong(text.encode())),)
    blocks = list(_PEM.finditer(text))
    if not blocks:
        raise BadKey("the PEM has no end; give the whole file")
    return tuple(_of_pem(block[1], block[0]) for block in blocks)


def keys_of_jwks(data: bytes, *, secrets: bool) -> tuple[VerificationKey, ...]:
    """Those that can be used; the others are left out. A secret counts only if `secrets` says so.

    Raises `BadKey` for what is no JWKS, or has no key that can be used.
    """
    try:
        listed = msgspec.json.decode(data, type=_Jwks).keys
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadKey(f"not a JWKS: {error}") from error
    if len(listed) > KEYS_MAX:
        raise BadKey(f"more than {KEYS_MAX} keys")
    found: list[VerificationKey] = []
    reasons: list[str] = []
    for each in listed:
        try:
            found.append(_of_jwk(each, secrets=secrets))
        except BadKey as error:
            reasons.append(str(error))
            log.debug("a key of a JWKS is left out", reason=str(error))
    if not found:
        raise BadKey("; ".join(["no key in it can be used", *sorted(set(reasons))[:3]]))
    return tuple(found)


def _of_pem(label: str, block: str) -> VerificationKey:
    if "PRIVATE" in label:
        raise BadKey("it is a private key; give the public one: openssl pkey -pubout")
    if label not in ("PUBLIC KEY", "RSA PUBLIC KEY"):
        raise BadKey(f"it is a {label.lower()}; give the public key in PEM")
    try:
        return _of_public(load_pem_public_key(block.encode()), None)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BadKey(str(error) if isinstance(error, BadKey) else "the PEM is damaged") from error


def _of_public(key: Any, kid: str | None) -> VerificationKey:
    match key:
        case rsa.RSAPublicKey():
            if key.key_size < RSA_BITS_MIN:
                raise BadKey(f"an RSA key has at least {RSA_BITS_MIN} bits, this {key.key_size}")
            return VerificationKey("RS256", key, kid)
        case ec.EllipticCurvePublicKey() if isinstance(key.curve, ec.SECP256R1):
            return VerificationKey("ES256", key, kid)
    raise BadKey("neither an RSA key nor one of the curve P-256")


def _of_jwk(raw: msgspec.Raw, *, secrets: bool) -> VerificationKey:
    try:
        jwk = msgspec.json.decode(raw, type=_Jwk)
        key = _made(jwk, secrets=secrets)
    except (msgspec.DecodeError, binascii.Error, UnicodeEncodeError, RecursionError) as error:
        raise BadKey("a key cannot be read") from error
    if jwk.use not in (None, "sig") or "verify" not in (jwk.key_ops or ("verify",)):
        raise BadKey("a key is not for signatures")
    if jwk.alg not in (None, key.algorithm):
        raise BadKey("a key is for another algorithm")
    return key


def _made(jwk: _Jwk, *, secrets: bool) -> VerificationKey:
    if jwk.d is not None:
        raise BadKey("it is a private key; publish only the public one")
    match jwk.kty:
        case "RSA":
            return _of_public(_rsa(jwk), jwk.kid)
        case "EC" if jwk.crv == "P-256":
            return _of_public(_ec(jwk), jwk.kid)
        case "oct" if secrets:
            return VerificationKey("HS256", _strong(_bytes(jwk.k)), jwk.kid)
        case "oct":
            raise BadKey("a secret that anybody can fetch is none")
    raise BadKey("a key is neither RSA nor of the curve P-256")


def _rsa(jwk: _Jwk) -> Any:
    try:
        return rsa.RSAPublicNumbers(_number(jwk.e), _number(jwk.n)).public_key()
    except ValueError as error:
        raise BadKey("an RSA key is damaged") from error


def _ec(jwk: _Jwk) -> Any:
    try:
        return ec.EllipticCurvePublicNumbers(
            _number(jwk.x), _number(jwk.y), ec.SECP256R1()
        ).public_key()
    except ValueError as error:
        raise BadKey("a key of the curve P-256 is damaged") from error


def _strong(secret: bytes) -> bytes:
    if len(secret) < SECRET_BYTES_MIN:
        raise BadKey(f"a secret has at least {SECRET_BYTES_MIN} bytes, this {len(secret)}")
    return secret


def _number(text: str) -> int:
    return int.from_bytes(_bytes(text), "big")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
