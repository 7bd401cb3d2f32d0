"""A nats-server in operator mode: an operator, one account, and users with JWTs of their own."""

import base64
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import nkeys  # type: ignore[import-untyped]  # it comes without types

from teambus.bus.permissions import Rights
from teambus.cli.permissions import permissions

UNLIMITED = {"subs": -1, "data": -1, "payload": -1}
ACCOUNT_LIMITS = {
    **UNLIMITED,
    "imports": -1,
    "exports": -1,
    "wildcards": True,
    "conn": -1,
    "leaf": -1,
}
JETSTREAM_LIMITS = {"mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1}
CREDENTIALS = """\
-----BEGIN NATS USER JWT-----
{token}
------END NATS USER JWT------

-----BEGIN USER NKEY SEED-----
{seed}
------END USER NKEY SEED------
"""


class Operator:
    """Signs accounts and users."""

    def __init__(self) -> None:
        self._key = _pair(nkeys.PREFIX_BYTE_OPERATOR)[0]
        self._account = _pair(nkeys.PREFIX_BYTE_ACCOUNT)[0]
        self._system = _pair(nkeys.PREFIX_BYTE_ACCOUNT)[0]

    def configuration(self) -> str:
        operator = _token(self._key, _name(self._key), {"type": "operator"})
        accounts = {
            _name(each): _token(self._key, _name(each), {"type": "account", "limits": limits})
            for each, limits in (
                (self._account, ACCOUNT_LIMITS | JETSTREAM_LIMITS),
                (self._system, ACCOUNT_LIMITS),
            )
        }
        return (
            f"operator: {operator}\nsystem_account: {_name(self._system)}\n"
            f"resolver: MEMORY\nresolver_preload: {json.dumps(accounts)}\n"
        )

    def write_credentials(self, file: Path, rights: Rights, *, lasts_s: float = 3600) -> None:
        """The JWT and the seed of a user who may do this."""
        key, seed = _pair(nkeys.PREFIX_BYTE_USER)
        listed = permissions(rights)["permissions"]
        claims = {"type": "user", **UNLIMITED, "pub": listed["publish"], "sub": listed["subscribe"]}
        token = _token(self._account, _name(key), claims, lasts_s=lasts_s)
        file.write_text(CREDENTIALS.format(token=token, seed=seed))


def _pair(kind: int) -> tuple[nkeys.KeyPair, str]:
    seed = bytes(nkeys.encode_seed(os.urandom(32), kind))
    return nkeys.from_seed(bytearray(seed)), seed.decode()


def _name(key: nkeys.KeyPair) -> str:
    return str(key.public_key.decode())


def _token(
    issuer: nkeys.KeyPair, subject: str, claims: dict[str, Any], *, lasts_s: float = 3600
) -> str:
    body = {
        "iss": _name(issuer),
        "sub": subject,
        "name": subject,
        "iat": int(time.time()),
        "exp": int(time.time() + lasts_s),
        "nats": {**claims, "version": 2},
    }
    body["jti"] = base64.b32encode(hashlib.sha256(json.dumps(body).encode()).digest()).decode()
    parts = [
        _text(json.dumps(part).encode()) for part in ({"typ": "JWT", "alg": "ed25519-nkey"}, body)
    ]
    said = ".".join(parts)
    return f"{said}.{_text(issuer.sign(said.encode()))}"


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
