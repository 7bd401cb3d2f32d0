"""Every way in that is no way in: what somebody may send who has no business here."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import jwt

from teambus.runtime.api_keys import ApiKey, ApiKeys, hash_of, write_api_keys
from tests.support.tokens import ADMIN, Provider, b64, claims, hmac_signed, jwk, pem, raw, rsa_key

Headers: TypeAlias = list[tuple[str, str]]
Keys: TypeAlias = dict[str, str]
Attempt: TypeAlias = Callable[[Provider, Keys], str | Headers]

STRANGER = rsa_key()
ELSEWHERE = "http://127.0.0.1:9/jwks.json"


def by_stranger(**headers: Any) -> str:
    return jwt.encode(claims(), STRANGER, "RS256", headers={"kid": "rsa", **headers})


def bearer(token: str) -> Headers:
    return [("Authorization", f"Bearer {token}")]


def _with_other_payload(good: str) -> str:
    head, _, signature = good.split(".")
    return f"{head}.{b64(str(claims(tenant='other')).encode())}.{signature}"


def _now() -> int:
    return int(time.time())


HEADERS: dict[str, Attempt] = {
    "nothing": lambda p, k: [],
    "an empty header": lambda p, k: [("Authorization", "")],
    "a scheme alone": lambda p, k: [("Authorization", "Bearer")],
    "a scheme and a space": lambda p, k: [("Authorization", "Bearer \xa0")],
    "another scheme": lambda p, k: [("Authorization", f"Basic {p.token()}")],
    "a token without a scheme": lambda p, k: [("Authorization", p.token())],
    "a tab for a space": lambda p, k: [("Authorization", f"Bearer\t{p.token()}")],
    "a token and words": lambda p, k: bearer(f"{p.token()} and more"),
    "two headers": lambda p, k: bearer(p.token()) + bearer("x"),
    "two headers, the second good": lambda p, k: bearer("x") + bearer(p.token()),
    "the same header twice": lambda p, k: bearer(p.token()) * 2,
    "two tokens in a header": lambda p, k: bearer(f"{p.token()}, Bearer {p.token()}"),
    "a cookie": lambda p, k: [("Cookie", f"access_token={p.token()}")],
    "another header": lambda p, k: [("Proxy-Authorization", f"Bearer {p.token()}")],
    "a header for keys": lambda p, k: [("X-API-Key", k["good"])],
    "a header that a proxy might set": lambda p, k: [("X-Forwarded-User", "ada")],
    "a forwarded header": lambda p, k: [("X-Forwarded-Authorization", f"Bearer {p.token()}")],
    "an underscore": lambda p, k: [("Authorization_", f"Bearer {p.token()}")],
}
KEYS: dict[str, Attempt] = {
    "a key that is none": lambda p, k: "tbk_nothing",
    "a prefix alone": lambda p, k: "tbk_",
    "a key cut short": lambda p, k: k["good"][:-1],
    "a key and more": lambda p, k: k["good"] + "A",
    "a key in capitals": lambda p, k: k["good"].upper(),
    "the hash of a key": lambda p, k: k["hash"],
    "the hash of a key as a key": lambda p, k: f"tbk_{k['hash']}",
    "a key that is expired": lambda p, k: k["expired"],
    "the key of AgentOS beside tokens": lambda p, k: k["root"],
    "the id of a key": lambda p, k: "tbk_robot",
}
SIGNATURES: dict[str, Attempt] = {
    "a stranger's key": lambda p, k: by_stranger(),
    "a stranger's key without its id": lambda p, k: jwt.encode(claims(), STRANGER, "RS256"),
    "a stranger's key in the token": lambda p, k: by_stranger(jwk=jwk(STRANGER, "rsa")),
    "the address of a stranger's keys": lambda p, k: by_stranger(jku=ELSEWHERE),
    "the address of a stranger's certificate": lambda p, k: by_stranger(x5u=ELSEWHERE),
    "a stranger's certificate": lambda p, k: by_stranger(x5c=["MIIB"]),
    "alg none": lambda p, k: raw({"alg": "none"}, claims()),
    "alg NONE": lambda p, k: raw({"alg": "NONE", "kid": "rsa"}, claims()),
    "alg none, signed": lambda p, k: raw({"alg": "none"}, claims(), b"x" * 256),
    "no alg": lambda p, k: raw({"kid": "rsa"}, claims()),
    "alg of another type": lambda p, k: raw({"alg": ["RS256"], "kid": "rsa"}, claims()),
    "HS256 with the public RSA key": lambda p, k: hmac_signed(
        {"alg": "HS256", "kid": "rsa"}, claims(), pem(p.rsa).encode()
    ),
    "HS256 with the public RSA key, no id": lambda p, k: hmac_signed(
        {"alg": "HS256"}, claims(), pem(p.rsa).strip().encode()
    ),
    "HS256 with the modulus": lambda p, k: hmac_signed(
        {"alg": "HS256"}, claims(), jwk(p.rsa, None)["n"].encode()
    ),
    "HS256 with nothing": lambda p, k: hmac_signed({"alg": "HS256", "kid": "hs"}, claims(), b""),
    "RS256 signed with the secret": lambda p, k: hmac_signed(
        {"alg": "RS256", "kid": "hs"}, claims(), p.hs
    ),
    "RS512 with the right key": lambda p, k: p.token(alg="RS512"),
    "PS256 with the right key": lambda p, k: p.token(alg="PS256"),
    "HS512 with the right secret": lambda p, k: hmac_signed(
        {"alg": "HS512", "kid": "hs"}, claims(), p.hs, "sha512"
    ),
    "the id of another key": lambda p, k: p.token(headers={"kid": "ec"}),
    "zeros for an ES256 signature": lambda p, k: raw(
        {"alg": "ES256", "kid": "ec"}, claims(), bytes(64)
    ),
    "no signature": lambda p, k: p.token().rsplit(".", 1)[0] + ".",
    "the signature of another token": lambda p, k: ".".join(
        [*p.token(sub="a").split(".")[:2], p.token(sub="b").split(".")[2]]
    ),
    "another payload": lambda p, k: _with_other_payload(p.token()),
    "another payload after a good one": lambda p, k: f"{p.token()}.{b64(b'{}')}",
    "a path for a key": lambda p, k: by_stranger(kid="../../../../../../dev/null"),
    "a secret by its path": lambda p, k: hmac_signed(
        {"alg": "HS256", "kid": "../../../dev/null"}, claims(), b""
    ),
    "a query for a key": lambda p, k: by_stranger(kid="x' UNION SELECT 'a"),
    "a number for a key": lambda p, k: raw({"alg": "RS256", "kid": 7}, claims()),
    "a long name for a key": lambda p, k: by_stranger(kid="k" * 5000),
    "a critical extension": lambda p, k: p.token(headers={"crit": ["exp"]}),
    "a payload that is not encoded": lambda p, k: p.token(headers={"crit": ["b64"], "b64": False}),
}
CLAIMS: dict[str, Attempt] = {
    "expired": lambda p, k: p.token(exp=_now() - 60),
    "expired long ago": lambda p, k: p.token(exp=-1),
    "no end": lambda p, k: p.token(exp=None),
    "an end in words": lambda p, k: p.token(exp="tomorrow"),
    "an end as text": lambda p, k: p.token(exp=str(_now() + 60)),
    "an end that is no number": lambda p, k: p.token(exp=True),
    "an endless end": lambda p, k: p.token(exp=float("inf")),
    "not yet": lambda p, k: p.token(nbf=_now() + 3600),
    "made tomorrow": lambda p, k: p.token(iat=_now() + 86400),
    "another issuer": lambda p, k: p.token(iss="https://issuer.test.evil"),
    "no issuer": lambda p, k: p.token(iss=None),
    "an issuer among others": lambda p, k: by_hand(p, iss=["https://issuer.test"]),
    "another audience": lambda p, k: p.token(aud="another"),
    "no audience": lambda p, k: p.token(aud=None),
    "a part of the audience": lambda p, k: p.token(aud="house"),
    "other audiences": lambda p, k: p.token(aud=["house", "houses2"]),
    "no tenant": lambda p, k: p.token(tenant=None),
    "an empty tenant": lambda p, k: p.token(tenant=""),
    "two tenants": lambda p, k: p.token(tenant=["acme", "other"]),
    "all tenants": lambda p, k: p.token(tenant="*"),
    "all that follows": lambda p, k: p.token(tenant=">"),
    "a tenant of two tokens": lambda p, k: p.token(tenant="acme.desk"),
    "a tenant and a line": lambda p, k: p.token(tenant="acme\r\nX: y"),
    "a tenant and a null": lambda p, k: p.token(tenant="acme\x00"),
    "a tenant that is an object": lambda p, k: p.token(tenant={"id": "acme"}),
    "a user that is a number": lambda p, k: by_hand(p, sub=7),
    "a user that is a list": lambda p, k: by_hand(p, sub=["ada"]),
    "a user without a name": lambda p, k: p.token(sub=""),
    "a user with a long name": lambda p, k: p.token(sub="a" * 600),
    "a service account": lambda p, k: p.token(sub="sa:robot"),
    "the scheduler": lambda p, k: p.token(sub="__scheduler__"),
    "a session that is a list": lambda p, k: p.token(session_id=["s"]),
}
SHAPES: dict[str, Attempt] = {
    "two parts": lambda p, k: p.token().rsplit(".", 1)[0],
    "one part": lambda p, k: p.token().replace(".", ""),
    "dots": lambda p, k: "..",
    "no base64": lambda p, k: "a!.b!.c!",
    "a header that is no object": lambda p, k: raw([], claims()),
    "a header that is no JSON": lambda p, k: raw(b"{", claims()),
    "a deep header": lambda p, k: raw(b'{"alg":"RS256","x":' + b"[" * 3000, claims()),
    "claims that are a list": lambda p, k: hmac_signed({"alg": "HS256", "kid": "hs"}, [1], p.hs),
    "deep claims": lambda p, k: hmac_signed({"alg": "HS256", "kid": "hs"}, b"[" * 4000, p.hs),
    "claims that are no JSON": lambda p, k: hmac_signed(
        {"alg": "HS256", "kid": "hs"}, b"\xff", p.hs
    ),
    "a huge token": lambda p, k: p.token(more="a" * 15_000),
    "a letter that is none of ASCII": lambda p, k: f"{p.token()}\xe9",
}
NOBODY = {**HEADERS, **KEYS, **SIGNATURES, **CLAIMS, **SHAPES}


def by_hand(provider: Provider, **changes: Any) -> str:
    """Well signed, with what no library lets one say."""
    return hmac_signed({"alg": "HS256", "kid": "hs"}, claims(**changes), provider.hs)


PATHS = [
    b"GET /%2e/teams HTTP/1.1",
    b"GET /./teams HTTP/1.1",
    b"GET //teams HTTP/1.1",
    b"GET /teams/ HTTP/1.1",
    b"GET /teams// HTTP/1.1",
    b"GET /teams%2f HTTP/1.1",
    b"GET /teams%00 HTTP/1.1",
    b"GET /teams;/health HTTP/1.1",
    b"GET /health/../teams HTTP/1.1",
    b"GET /health/%2e%2e/teams HTTP/1.1",
    b"GET /health%2f..%2fteams HTTP/1.1",
    b"GET /docs/../teams HTTP/1.1",
    b"GET /docs%2f..%2fteams HTTP/1.1",
    b"GET /openapi.json/../teams HTTP/1.1",
    b"GET /health/teams HTTP/1.1",
    b"GET /TEAMS HTTP/1.1",
    b"GET /%74eams HTTP/1.1",
    b"GET /%2574eams HTTP/1.1",
    b"GET /teams%3fa=/health HTTP/1.1",
    b"GET /teams?path=/health HTTP/1.1",
    b"GET /teams#/health HTTP/1.1",
    b"GET http://x/teams HTTP/1.1",
    b"GET http://x/health/../teams HTTP/1.1",
    b"GET \\teams HTTP/1.1",
    b"HEAD /teams HTTP/1.1",
    b"OPTIONS /teams HTTP/1.1",
    b"PROPFIND /teams HTTP/1.1",
    b"GET /teams HTTP/1.0",
    b"GET /health HTTP/1.1\r\nX-Original-URL: /teams",
    b"GET /health HTTP/1.1\r\nX-Rewrite-URL: /teams",
    b"GET /health HTTP/1.1\r\nX-Forwarded-Prefix: /teams",
    b"OPTIONS /teams HTTP/1.1\r\nX-HTTP-Method-Override: GET",
]
"""Of somebody without a token: the first line, and what follows it."""


def key_file(keys: Keys, folder: Path) -> Path:
    """The file of API keys: `good` is the tenant robots', `expired` was the tenant acme's."""
    good = ApiKey(id="robot", sha256=hash_of(keys["good"]), tenant="robots", scopes=ADMIN)
    late = ApiKey(
        id="late",
        sha256=hash_of(keys["expired"]),
        tenant="acme",
        scopes=ADMIN,
        expires_at=datetime.fromtimestamp(0, UTC),
    )
    file = folder / "keys.json"
    file.write_bytes(write_api_keys(ApiKeys([good, late])))
    keys["hash"] = good.sha256
    return file
