"""Tokens as an identity provider makes them, and as somebody makes them who is none."""

import base64
import hmac
import json
import time
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

ISSUER = "https://issuer.test"
AUDIENCE = "houses"
ADMIN = ["agent_os:admin"]

Claims = dict[str, Any]


def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    form = PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(Encoding.PEM, form).decode()


def jwk(key: Any, kid: str | None) -> Claims:
    """The public half, as a JWKS has it; of a secret all of it."""
    if isinstance(key, bytes):
        made: Claims = {"kty": "oct", "k": b64(key)}
    elif isinstance(key, rsa.RSAPrivateKey):
        made = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
        made.pop("key_ops", None)
    else:
        made = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {**made, "use": "sig", **({} if kid is None else {"kid": kid})}


def jwks(**keys: Any) -> bytes:
    return json.dumps({"keys": [jwk(key, kid) for kid, key in keys.items()]}).encode()


def claims(**changes: Any) -> Claims:
    """Those of an administrator of the tenant `acme`; None takes a claim away."""
    usual = {
        "sub": "ada",
        "tenant": "acme",
        "scopes": ADMIN,
        "aud": AUDIENCE,
        "iss": ISSUER,
        "exp": int(time.time()) + 3600,
    }
    return {name: value for name, value in {**usual, **changes}.items() if value is not None}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def raw(header: Any, payload: Any, signature: bytes = b"") -> str:
    """Three parts that nobody has checked; bytes are taken as they are."""
    parts = [p if isinstance(p, bytes) else json.dumps(p).encode() for p in (header, payload)]
    return ".".join([*(b64(part) for part in parts), b64(signature)])


def hmac_signed(header: Any, payload: Any, secret: bytes, name: str = "sha256") -> str:
    unsigned = raw(header, payload).rsplit(".", 1)[0]
    return f"{unsigned}.{b64(hmac.digest(secret, unsigned.encode(), name))}"


class Provider:
    """One that is trusted: its keys are `rsa`, `ec` and `hs`, under these ids."""

    def __init__(self) -> None:
        self.rsa = rsa_key()
        self.ec = ec_key()
        self.hs = b"a secret of the provider, long enough"

    def jwks(self) -> bytes:
        return jwks(rsa=self.rsa, ec=self.ec, hs=self.hs)

    def token(
        self, *, by: str = "rsa", headers: Claims | None = None, alg: str = "", **changes: Any
    ) -> str:
        key: Any = getattr(self, by)
        alg = alg or {"rsa": "RS256", "ec": "ES256", "hs": "HS256"}[by]
        given = {"kid": by, **(headers or {})}
        return jwt.encode(claims(**changes), key, alg, headers=given)


def environment(provider: Provider, folder: Path) -> dict[str, str]:
    """Of a gateway that trusts it."""
    file = folder / "jwks.json"
    file.write_bytes(provider.jwks())
    return {
        "JWT_JWKS_FILE": str(file),
        "JWT_AUDIENCE": AUDIENCE,
        "JWT_ISSUER": ISSUER,
        "JWT_TENANT_CLAIM": "tenant",
        "JWT_LEEWAY_S": "1",
    }
