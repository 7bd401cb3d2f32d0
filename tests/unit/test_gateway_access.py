"""Scopes, keys and rates, as plain functions."""

import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from fastapi import FastAPI

from teambus.runtime.settings import SettingsError, read_settings
from teambus_gateway.access import tokens as tokens_module
from teambus_gateway.access.admission import holders_of
from teambus_gateway.access.caller import Caller
from teambus_gateway.access.configured import admission_of
from teambus_gateway.access.jwks import JwksLimits, JwksUrl
from teambus_gateway.access.rates import TENANTS_MAX, Rates
from teambus_gateway.access.rules import RULES, GatedRoute, Rule
from teambus_gateway.access.scopes import read_scopes
from teambus_gateway.access.tokens import KeySources, TokenPolicy, Tokens
from teambus_gateway.access.verification_keys import BadKey, keys_of_jwks, keys_of_text
from teambus_gateway.access.watched import Watched
from teambus_gateway.problems import Problem
from teambus_gateway.settings import GatewaySettings
from tests.support.tokens import b64, claims, ec_key, jwk, pem, rsa_key

RSA, EC = rsa_key(), ec_key()
SECRET = b"a secret that is long enough to be one"
HASH = "0" * 64


@pytest.mark.parametrize(
    ("scopes", "all_", "mine", "others"),
    [
        (["teams:run"], True, True, True),
        (["teams:*:run"], True, True, True),
        (["teams:mine:run"], False, True, False),
        (["agent_os:admin"], True, True, True),
        (["teams:read"], False, False, False),
        (["agents:run"], False, False, False),
        (["teams"], False, False, False),
        (["teams:mine:run:x"], False, False, False),
        (["teams::run", ":run", "teams:"], False, False, False),
    ],
)
def test_a_scope_is_for_all_or_for_one(
    scopes: list[str], all_: bool, mine: bool, others: bool
) -> None:
    grants = read_scopes(scopes)
    assert grants.allow("teams", "run") is all_
    assert grants.allow("teams", "run", "mine") is mine
    assert grants.allow("teams", "run", "another") is others
    assert grants.allow_some("teams", "run") is (all_ or mine)


def test_old_words_and_an_admin_scope_of_ones_own_are_known() -> None:
    assert read_scopes(["system:read"]).allow("config", "read")
    assert read_scopes(["root"], "root").is_admin
    assert not read_scopes(["agent_os:admin"], "root").is_admin


def test_a_rule_asks_for_its_scope_and_then_for_its_act() -> None:
    rule, place = Rule("teams:read", "run"), {"team_id": "t"}
    for scopes, detail in (
        (["teams:t:read", "teams:t:run"], None),
        (["teams:t:run"], "Insufficient permissions. Required scope(s): teams:read"),
        (["teams:t:read"], "Access denied to run this team"),
    ):
        caller = Caller("acme", grants=read_scopes(scopes))
        if detail is None:
            rule.check(caller, place)
            continue
        with pytest.raises(Problem) as refused:
            rule.check(caller, place)
        assert (refused.value.status, refused.value.detail) == (403, detail)


def test_every_rule_needs_something() -> None:
    assert all(rule.scope or rule.act for rule in RULES.values())


def test_an_endpoint_without_a_rule_cannot_be_added() -> None:
    app = FastAPI()
    app.router.route_class = GatedRoute

    async def answer() -> None: ...

    with pytest.raises(KeyError):
        app.get("/teams/{team_id}/secrets")(answer)
    with pytest.raises(KeyError):
        app.delete("/teams")(answer)
    app.get("/teams")(answer)
    app.get("/health")(answer)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_tenant_gets_its_burst_and_then_its_rate() -> None:
    clock = Clock()
    rates = Rates(2, 3, clock)
    for _ in range(3):
        rates.take("acme")
    with pytest.raises(Problem) as refused:
        rates.take("acme")
    assert (refused.value.status, refused.value.headers["retry-after"]) == (429, "1")
    rates.take("other")
    clock.now += 0.5
    rates.take("acme")
    with pytest.raises(Problem):
        rates.take("acme")
    clock.now += 1000
    for _ in range(3):
        rates.take("acme")
    with pytest.raises(Problem):
        rates.take("acme")


def test_a_slow_rate_says_how_long_to_wait() -> None:
    rates = Rates(0.1, 1, Clock())
    rates.take("acme")
    with pytest.raises(Problem) as refused:
        rates.take("acme")
    assert refused.value.headers["retry-after"] == "10"


def test_buckets_are_not_kept_for_ever() -> None:
    rates = Rates(1, 1, Clock())
    for number in range(TENANTS_MAX + 50):
        rates.take(str(number))
    assert len(rates._full_at) == TENANTS_MAX


def test_the_kind_of_a_key_decides_on_its_algorithm() -> None:
    both = keys_of_text(f"{pem(RSA)}\n{pem(EC)}")
    assert [key.algorithm for key in both] == ["RS256", "ES256"]
    [secret] = keys_of_text(SECRET.decode())
    assert (secret.algorithm, secret.material) == ("HS256", SECRET)
    listed = json.dumps({"keys": [jwk(RSA, "r"), jwk(EC, None), jwk(SECRET, "h")]}).encode()
    found = [(key.algorithm, key.kid) for key in keys_of_jwks(listed, secrets=True)]
    assert found == [("RS256", "r"), ("ES256", None), ("HS256", "h")]
    fetched = [key.algorithm for key in keys_of_jwks(listed, secrets=False)]
    assert fetched == ["RS256", "ES256"]


def _private() -> str:
    made = RSA.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return made.decode()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("short", "at least 32 bytes, this 5"),
        (_private(), "a private key; give the public one"),
        (pem(RSA).replace("END", "ENDE"), "the PEM has no end"),
        (pem(RSA).replace("M", "A"), "damaged"),
        (pem(rsa.generate_private_key(65537, 1024)), "at least 2048 bits, this 1024"),
        (pem(ec.generate_private_key(ec.SECP384R1())), "nor one of the curve P-256"),
        (pem(RSA).replace("PUBLIC KEY", "CERTIFICATE"), "it is a certificate"),
    ],
)
def test_a_key_that_checks_nothing_is_told(text: str, says: str) -> None:
    with pytest.raises(BadKey, match=says) as refused:
        keys_of_text(text)
    assert text[30:60] not in str(refused.value) or len(text) < 30


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"use": "enc"}, "not for signatures"),
        ({"key_ops": ["encrypt"]}, "not for signatures"),
        ({"alg": "RS512"}, "for another algorithm"),
        ({"d": "AQAB"}, "private key"),
        ({"kty": "OKP", "crv": "Ed25519"}, "neither RSA"),
        ({"n": "!"}, "damaged"),
        ({"n": b64(b"\x00")}, "damaged"),
        ({"kid": 7}, "cannot be read"),
    ],
)
def test_a_key_of_a_jwks_that_is_for_something_else_is_left_out(
    more: dict[str, Any], says: str
) -> None:
    listed = json.dumps({"keys": [{**jwk(RSA, "r"), **more}, jwk(EC, "e")]}).encode()
    assert [key.kid for key in keys_of_jwks(listed, secrets=True)] == ["e"]
    alone = json.dumps({"keys": [{**jwk(RSA, "r"), **more}]}).encode()
    with pytest.raises(BadKey, match=says):
        keys_of_jwks(alone, secrets=True)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"keys":1}', b"\xff", b"[" * 5000])
def test_what_is_no_jwks_is_told(data: bytes) -> None:
    with pytest.raises(BadKey):
        keys_of_jwks(data, secrets=True)


@pytest.mark.parametrize(
    ("url", "is_good"),
    [
        ("https://id.example/jwks", True),
        ("http://127.0.0.1:8080/jwks", True),
        ("http://[::1]/jwks", True),
        ("http://localhost/jwks", True),
        ("http://id.example/jwks", False),
        ("http://127.0.0.1.evil.example/jwks", False),
        ("http://localhost.evil.example/jwks", False),
        ("https://name:word@id.example/jwks", False),
        ("file:///etc/jwks", False),
        ("ftp://id.example/jwks", False),
        ("id.example/jwks", False),
        ("https://", False),
    ],
)
def test_keys_come_only_from_where_nobody_can_change_them(url: str, is_good: bool) -> None:
    if is_good:
        JwksUrl(url, JwksLimits(), http_allowed=False)
        return
    with pytest.raises(BadKey):
        JwksUrl(url, JwksLimits(), http_allowed=False)


def test_http_may_be_allowed_by_name() -> None:
    JwksUrl("http://id.example/jwks", JwksLimits(), http_allowed=True)


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ({}, "missing"),
        ({"id": "a", "sha256": "x", "scopes": ["a:b"]}, "sha256"),
        ({"id": "a", "sha256": HASH, "scopes": []}, "scopes"),
        ({"id": "a b", "sha256": HASH, "scopes": ["a:b"]}, "no id of a key"),
        ({"id": "a", "sha256": HASH, "scopes": ["a:b"], "tenant": "*"}, "'\\*' is no tenant"),
        ({"id": "a", "sha256": HASH, "scopes": ["a:b"], "user_id": ""}, "user_id"),
        ({"id": "a", "sha256": HASH, "scopes": ["a:b"], "key": "k"}, "unknown field `key`"),
        ({"id": "a", "sha256": HASH, "scopes": ["a:b"], "expires_at": "2030-01-01T00:00:00"}, "Z"),
    ],
)
def test_a_file_of_keys_that_cannot_be_used_is_told(key: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        holders_of(json.dumps({"keys": [key]}).encode())


def test_two_keys_are_two() -> None:
    one = {"id": "a", "sha256": HASH, "scopes": ["a:b"]}
    for other, what in (({**one, "id": "b"}, "hash"), ({**one, "sha256": "1" * 64}, "id")):
        with pytest.raises(ValueError, match=f"the same {what}"):
            holders_of(json.dumps({"keys": [one, other]}).encode())


def test_a_file_is_read_again_when_it_has_changed_and_can_be_read(tmp_path: Path) -> None:
    def read(data: bytes) -> int:
        return int(data)

    file = tmp_path / "number"
    file.write_text("1")
    watched = Watched(file, read, look_s=0)
    assert (watched.current(), watched.version) == (1, 1)
    file.write_text("22")
    assert (watched.current(), watched.version) == (22, 2)
    file.write_text("no number")
    assert (watched.current(), watched.version) == (22, 2)
    file.unlink()
    assert watched.current() == 22
    # As Kubernetes exchanges a secret: a link is turned.
    (tmp_path / "other").write_text("333")
    file.symlink_to(tmp_path / "other")
    assert (watched.current(), watched.version) == (333, 3)


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"JWT_VERIFICATION_KEY": "a-short-secret"}, "JWT_VERIFICATION_KEY cannot be used: a sec"),
        ({"JWT_JWKS_FILE": "/nowhere/jwks"}, "JWT_JWKS_FILE='/nowhere/jwks' cannot be used"),
        ({"JWT_JWKS_URL": "http://id.example/"}, "use https, or set JWT_JWKS_HTTP_ALLOWED=true"),
        ({"TEAMBUS_API_KEYS_FILE": "/nowhere/keys"}, "TEAMBUS_API_KEYS_FILE='/nowhere/keys'"),
        ({"TEAMBUS_TENANT": "a.b"}, "TEAMBUS_TENANT='a.b' is no tenant"),
        ({"GATEWAY_USER_ISOLATION": "true"}, "needs users that are known"),
    ],
)
def test_a_gateway_that_could_let_nobody_in_rightly_does_not_start(
    variables: dict[str, str], says: str
) -> None:
    settings = read_settings(GatewaySettings, "GATEWAY", {"NATS_URL": "nats://x", **variables})
    with pytest.raises(SettingsError, match=says) as refused:
        admission_of(settings)
    assert "a-short-secret" not in str(refused.value)
    assert "a-short-secret" not in repr(settings)


async def test_a_token_is_checked_once_and_known_until_it_expires(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checked: list[str] = []
    decode = jwt.decode

    def counted(token: str, *args: Any, **more: Any) -> Any:
        checked.append(token)
        return decode(token, *args, **more)

    monkeypatch.setattr(jwt, "decode", counted)
    expires_at = int(time.time()) + 1000
    tokens = Tokens(KeySources(keys_of_text(pem(RSA))), TokenPolicy(leeway_s=10))
    token = jwt.encode(claims(exp=expires_at), RSA, "RS256")
    for later_s, times in ((0, 1), (1009, 1), (1010, 2)):
        monkeypatch.setattr(tokens_module, "time", _At(expires_at - 1000 + later_s))
        assert (await tokens.caller(token)).user_id == "ada"
        assert len(checked) == times, later_s
    for _ in range(2):
        with pytest.raises(Problem):
            await tokens.caller(f"{token}x")
    assert len(checked) == times + 2  # What is refused is not remembered.


class _At:
    def __init__(self, now: float) -> None:
        self._now = now

    def time(self) -> float:
        return self._now


async def test_only_so_many_tokens_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens_module, "KNOWN_MAX", 3)
    tokens = Tokens(KeySources(keys_of_text(SECRET.decode())), TokenPolicy())
    for number in range(5):
        await tokens.caller(jwt.encode(claims(sub=f"u-{number}"), SECRET, "HS256"))
    assert len(tokens._known) == 3
