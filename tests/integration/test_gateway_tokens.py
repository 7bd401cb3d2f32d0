"""Keys that change while the gateway runs, and what every answer and every caller is held to."""

import http.server
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import jwt
import pytest
import pytest_asyncio

from teambus.runtime.api_keys import ApiKey, ApiKeys, hash_of, write_api_keys
from tests.integration.gateway_parts import Served, System, system
from tests.support.system import until
from tests.support.tokens import ADMIN, claims, jwks, rsa_key

pytestmark = pytest.mark.asyncio(loop_scope="module")

FIRST, SECOND = rsa_key(), rsa_key()
ELSEWHERE = "/elsewhere"
"""Where somebody else has the keys."""
HURRIED = {"jwt_jwks_retry_s": 0.0, "jwt_jwks_refresh_s": 3600.0, "jwt_jwks_timeout_s": 1.0}


@dataclass
class Jwks:
    """An identity provider's keys behind a URL, and how often they were fetched."""

    said: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    drip_s: float = 0
    fetched: int = 0
    url: str = ""

    def answer(self, to: http.server.BaseHTTPRequestHandler) -> None:
        self.fetched += 1
        if to.path == ELSEWHERE:
            to.send_response(200)
            to.end_headers()
            to.wfile.write(jwks(one=FIRST))
            return
        to.send_response(self.status)
        for name, value in self.headers.items():
            to.send_header(name, value)
        to.end_headers()
        if not self.drip_s:
            to.wfile.write(self.said)
            return
        for at in range(len(self.said)):
            to.wfile.write(self.said[at : at + 1])
            time.sleep(self.drip_s)


@contextmanager
def provider(**facts: Any) -> Iterator[Jwks]:
    keys = Jwks(**facts)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            # The gateway hangs up, which some of these are about.
            with suppress(OSError):
                keys.answer(self)

        def log_message(self, *_: Any) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        keys.url = f"http://127.0.0.1:{server.server_address[1]}/jwks"
        yield keys
        server.shutdown()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    async with system(tmp_path_factory.mktemp("tokens")) as here:
        yield here


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def signed(key: Any, kid: str | None, **changes: Any) -> dict[str, str]:
    headers = {} if kid is None else {"kid": kid}
    return bearer(jwt.encode(claims(**changes), key, "RS256", headers=headers))


async def teams(gateway: Served, headers: dict[str, str]) -> httpx2.Response:
    return await gateway.http.get("/teams", headers=headers)


async def test_a_new_key_of_the_provider_is_fetched_when_a_token_names_it(here: System) -> None:
    with provider(said=jwks(one=FIRST)) as keys:
        async with here.gateway(jwt_jwks_url=keys.url, **HURRIED) as gateway:
            old, new = signed(FIRST, "one"), signed(SECOND, "two")
            assert (await teams(gateway, old)).status_code == 200
            fetched = keys.fetched
            assert (await teams(gateway, old)).status_code == 200
            assert keys.fetched == fetched
            assert (await teams(gateway, new)).status_code == 401
            keys.said = jwks(two=SECOND)
            assert (await teams(gateway, new)).status_code == 200
            # The provider does not have it any more, so what it signed is not known any more.
            assert (await teams(gateway, old)).status_code == 401


async def test_unknown_keys_do_not_make_the_provider_busy(here: System) -> None:
    with provider(said=jwks(one=FIRST)) as keys:
        limits = {**HURRIED, "jwt_jwks_retry_s": 3600.0}
        async with here.gateway(jwt_jwks_url=keys.url, **limits) as gateway:
            assert (await teams(gateway, signed(FIRST, "one"))).status_code == 200
            for number in range(20):
                assert (await teams(gateway, signed(SECOND, f"no-{number}"))).status_code == 401
            assert keys.fetched == 1


@pytest.mark.parametrize(
    "facts",
    [
        {"status": 500, "said": b"no"},
        {"said": b"<html>"},
        {"said": b'{"keys":[]}'},
        {"said": b" " * 300_000 + jwks(one=FIRST)},
        {"status": 302, "headers": {"Location": ELSEWHERE}},
        {"said": b" " * 500 + jwks(one=FIRST), "drip_s": 0.01},
    ],
    ids=["an error", "a page", "no key", "too much", "a redirect", "too slow"],
)
async def test_while_there_is_no_key_nobody_is_let_in_nor_turned_away(
    here: System, facts: dict[str, Any]
) -> None:
    with provider(**facts) as keys:
        async with here.gateway(jwt_jwks_url=keys.url, **HURRIED) as gateway:
            refused = await teams(gateway, signed(FIRST, "one"))
            assert (refused.status_code, refused.json()["code"]) == (503, "keys_unknown")
            assert refused.headers["retry-after"] == "5"
            assert gateway.parts.admission.missing() == "the JWKS was never read"
            keys.status, keys.said, keys.drip_s, keys.headers = 200, jwks(one=FIRST), 0, {}

            async def is_let_in() -> bool:
                return (await teams(gateway, signed(FIRST, "one"))).status_code == 200

            await until(is_let_in, 30, "not let in")
            assert gateway.parts.admission.missing() is None


async def test_a_provider_that_is_away_changes_nothing_for_its_users(here: System) -> None:
    with provider(said=jwks(one=FIRST)) as keys:
        async with here.gateway(jwt_jwks_url=keys.url, **HURRIED) as gateway:
            assert (await teams(gateway, signed(FIRST, "one"))).status_code == 200
            keys.status, keys.said = 503, b""
            assert (await teams(gateway, signed(SECOND, "two"))).status_code == 401
            assert (await teams(gateway, signed(FIRST, "one", sub="bob"))).status_code == 200


async def test_keys_of_a_file_are_exchanged_without_a_restart(here: System, tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_bytes(jwks(one=FIRST))
    async with here.gateway(jwt_jwks_file=str(file), keys_look_s=0.0) as gateway:
        old, new = signed(FIRST, "one"), signed(SECOND, "two")
        assert (await teams(gateway, old)).status_code == 200
        file.write_bytes(b"{")
        assert (await teams(gateway, old)).status_code == 200
        file.write_bytes(jwks(two=SECOND))
        assert [(await teams(gateway, each)).status_code for each in (old, new)] == [401, 200]


def write(file: Path, *keys: tuple[str, str, list[str]]) -> None:
    listed = [
        ApiKey(id=id_, sha256=hash_of(key), tenant="acme", scopes=scopes, user_id=id_)
        for id_, key, scopes in keys
    ]
    file.write_bytes(write_api_keys(ApiKeys(listed)))


async def test_keys_are_given_and_taken_without_a_restart(here: System, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    write(file, ("one", "tbk_first-key", ["teams:read"]))
    async with here.gateway(api_keys_file=str(file), keys_look_s=0.0) as gateway:
        one, two = bearer("tbk_first-key"), bearer("tbk_second-key")

        async def told() -> list[int]:
            return [(await teams(gateway, each)).status_code for each in (one, two)]

        assert await told() == [200, 401]
        write(file, ("one", "tbk_first-key", ["teams:read"]), ("two", "tbk_second-key", ADMIN))
        assert await told() == [200, 200]
        file.unlink()
        assert await told() == [200, 200]
        write(file, ("two", "tbk_second-key", ["metrics:read"]))
        assert await told() == [401, 403]
        write(file)
        assert await told() == [401, 401]
        info = (await gateway.http.get("/info")).json()
        assert (info["auth_mode"], info["user_isolation"]) == ("security_key", False)


async def test_keys_stand_beside_the_key_of_agentos(here: System, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    write(file, ("one", "tbk_first-key", ADMIN))
    async with here.gateway(api_keys_file=str(file), security_key="sesame") as gateway:
        for key in ("sesame", "tbk_first-key"):
            assert (await teams(gateway, bearer(key))).status_code == 200
        taken = len(here.runner.taken)
        form = {"message": "hi", "stream": "false", "user_id": "mallory"}
        path = "/teams/content-team/runs"
        reply = await gateway.http.post(path, data=form, headers=bearer("tbk_first-key"))
        assert reply.status_code == 200
        assert here.runner.taken[taken].user_id == "one"


async def test_a_tenant_that_asks_too_often_waits_and_others_do_not(
    here: System, tmp_path: Path
) -> None:
    file = tmp_path / "jwks.json"
    file.write_bytes(jwks(one=FIRST))
    limits = {"requests_per_s": 0.01, "requests_burst": 2}
    tenant = {"jwt_tenant_claim": "tenant"}
    async with here.gateway(jwt_jwks_file=str(file), **tenant, **limits) as gateway:
        busy, other = signed(FIRST, "one"), signed(FIRST, "one", tenant="other", sub="bob")
        told = [(await teams(gateway, busy)).status_code for _ in range(3)]
        assert told == [200, 200, 429]
        refused = await teams(gateway, signed(FIRST, "one", sub="somebody-else"))
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
        assert 1 <= int(refused.headers["retry-after"]) <= 100
        assert (await teams(gateway, other)).status_code == 200
        assert (await gateway.http.get("/health")).status_code == 200
        assert (await teams(gateway, {})).status_code == 401


async def test_every_answer_tells_browsers_and_caches_to_be_careful(here: System) -> None:
    async with here.gateway(security_key="sesame", hsts_s=600) as gateway:
        root = bearer("sesame")
        run = "/teams/content-team/runs"
        streamed = await gateway.http.post(run, data={"message": "hi"}, headers=root)
        answers = {
            "list": await teams(gateway, root),
            "refusal": await teams(gateway, {}),
            "nowhere": await gateway.http.get("/nowhere", headers=root),
            "open": await gateway.http.get("/health"),
            "document": await gateway.http.get("/docs"),
            "stream": streamed,
        }
        for name, answer in answers.items():
            said = answer.headers
            assert said["x-content-type-options"] == "nosniff", name
            assert said["x-frame-options"] == "DENY", name
            assert said["referrer-policy"] == "no-referrer", name
            assert "frame-ancestors 'none'" in said["content-security-policy"], name
            assert said["strict-transport-security"] == "max-age=600; includeSubDomains", name
        for name in ("list", "refusal", "nowhere"):
            assert answers[name].headers["cache-control"] == "no-store"
        assert streamed.headers["cache-control"] == "no-cache"
        assert "cache-control" not in answers["open"].headers
        for source in ("cdn.jsdelivr.net", "'unsafe-inline'"):
            assert source in answers["document"].headers["content-security-policy"]
            assert source not in answers["list"].headers["content-security-policy"]


async def test_without_a_setting_nothing_is_said_of_tls(here: System) -> None:
    async with here.gateway() as gateway:
        assert "strict-transport-security" not in (await teams(gateway, {})).headers


async def test_a_browser_may_ask_before_it_has_a_token(here: System, tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_bytes(jwks(one=FIRST))
    limits = {"requests_per_s": 0.01, "requests_burst": 1}
    async with here.gateway(jwt_jwks_file=str(file), **limits) as gateway:
        asks = {
            "Origin": "http://localhost:3000",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization",
        }
        for _ in range(3):
            answer = await gateway.http.options("/teams/content-team/runs", headers=asks)
            assert answer.status_code == 200
            assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"
        refused = await gateway.http.get("/teams", headers={"Origin": "http://localhost:3000"})
        assert (refused.status_code, refused.json()) == (
            401,
            {"detail": "Authorization header missing"},
        )
        assert refused.headers["www-authenticate"] == "Bearer"
        assert refused.headers["access-control-allow-origin"] == "http://localhost:3000"
        # What is no question of a browser is a request like others.
        assert (await gateway.http.options("/teams")).status_code == 401


async def test_a_session_in_the_token_is_the_session_of_its_runs(
    here: System, tmp_path: Path
) -> None:
    file = tmp_path / "jwks.json"
    file.write_bytes(jwks(one=FIRST))
    async with here.gateway(jwt_jwks_file=str(file)) as gateway:
        form = {"message": "hi", "stream": "false", "session_id": "another", "user_id": "eve"}
        path = "/teams/content-team/runs"
        headers = signed(FIRST, "one", session_id="mine")
        reply = await gateway.http.post(path, data=form, headers=headers)
        assert (reply.json()["session_id"], reply.json()["user_id"]) == ("mine", "ada")


async def test_the_document_says_where_a_token_is_needed(here: System, tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_bytes(jwks(one=FIRST))
    async with here.gateway(jwt_jwks_file=str(file)) as gateway:
        document = json.loads((await gateway.http.get("/openapi.json")).text)
        asked = document["paths"]["/teams"]["get"]
        assert asked["security"] == [{"bearer": []}]
        assert {"401", "403"} <= set(asked["responses"])
        assert "security" not in document["paths"]["/health"]["get"]
