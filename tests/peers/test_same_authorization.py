"""Who may do what with which token, at AgentOS and here: the same status, and the same words."""

import time
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import jwt
import pytest
import pytest_asyncio

from tests.peers.agentos import agentos
from tests.peers.conftest import ours

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]

SECRET = "a secret of both, that is long enough to be one"
TEAM, AGENT = "content-team", "assistant"
ASKED = [
    ("GET", "/teams"),
    ("GET", f"/teams/{TEAM}"),
    ("GET", "/teams/nobody"),
    ("POST", f"/teams/{TEAM}/runs"),
    ("POST", "/teams/nobody/runs"),
    ("GET", f"/teams/{TEAM}/runs?session_id=s"),
    ("GET", f"/teams/{TEAM}/runs/r?session_id=s"),
    ("POST", f"/teams/{TEAM}/runs/r/cancel"),
    ("POST", f"/teams/{TEAM}/runs/r/resume"),
    ("POST", f"/teams/{TEAM}/sessions/s/fork"),
    ("GET", "/agents"),
    ("GET", f"/agents/{AGENT}"),
    ("POST", f"/agents/{AGENT}/runs"),
    ("GET", f"/agents/{AGENT}/runs/r?session_id=s"),
    ("GET", "/sessions"),
    ("GET", "/sessions/s"),
    ("GET", "/sessions/s/runs"),
    ("POST", "/sessions/s/rename"),
    ("PATCH", "/sessions/s"),
    ("DELETE", "/sessions/s"),
    ("GET", "/config"),
    ("GET", "/metrics"),
    ("POST", "/metrics/refresh"),
    ("GET", "/metrics/refresh/status"),
    ("GET", "/health"),
    ("GET", "/info"),
    ("GET", "/openapi.json"),
]
SCOPES: dict[str, list[str]] = {
    "none": [],
    "admin": ["agent_os:admin"],
    "read": ["teams:read", "agents:read", "sessions:read", "config:read", "metrics:read"],
    "run": ["teams:run", "agents:run"],
    "read and run": ["teams:read", "teams:run", "agents:read", "agents:run"],
    "one team": [f"teams:{TEAM}:read", f"teams:{TEAM}:run"],
    "one team, run": [f"teams:{TEAM}:run"],
    "another team": ["teams:nobody:read", "teams:nobody:run"],
    "any team": ["teams:*:read", "teams:*:run"],
    "one agent": [f"agents:{AGENT}:read", f"agents:{AGENT}:run"],
    "writes": ["sessions:write", "metrics:write"],
    "deletes": ["sessions:delete"],
    "one session": ["sessions:s:read", "sessions:*:write"],
    "old words": ["system:read"],
    "nonsense": ["teams", "read", "*", "teams:*", "a:b:c:d", "TEAMS:READ"],
}
TOKENS: dict[str, dict[str, Any]] = {
    "expired": {"exp": int(time.time()) - 60},
    "a little expired": {"exp": int(time.time()) - 3, "scopes": ["teams:read"]},
    "a service account": {"sub": "sa:robot"},
    "the scheduler": {"sub": "__scheduler__"},
    "one scope as text": {"scopes": "teams:read"},
    "scopes that are a number": {"scopes": 7},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def both(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[tuple[httpx2.AsyncClient, httpx2.AsyncClient]]:
    folder = tmp_path_factory.mktemp
    async with (
        agentos(folder("theirs"), {"PEER_JWT_SECRET": SECRET}) as theirs,
        ours(folder("ours"), {"JWT_VERIFICATION_KEY": SECRET}) as here,
        httpx2.AsyncClient(base_url=theirs.url, timeout=60) as them,
        httpx2.AsyncClient(base_url=here.url, timeout=60) as us,
    ):
        yield them, us


def headers(**claims: Any) -> dict[str, str]:
    given = {"sub": "ada", "exp": int(time.time()) + 3600, **claims}
    return {"Authorization": f"Bearer {jwt.encode(given, SECRET, 'HS256')}"}


async def told(
    http: httpx2.AsyncClient, method: str, path: str, headers: dict[str, str]
) -> tuple[int, Any]:
    """The status, and of a refusal its words; what is let in is compared elsewhere."""
    answer = await http.request(method, path, headers=headers)
    if answer.status_code in (401, 403):
        return answer.status_code, answer.json()
    if answer.status_code == 200 and path in ("/teams", "/agents", "/config"):
        return 200, ids(answer.json())
    return answer.status_code, None


def ids(said: Any) -> Any:
    if isinstance(said, dict):
        return [ids(said["teams"]), ids(said["agents"])]
    return [each["id"] for each in said]


@pytest.mark.parametrize("scopes", SCOPES)
async def test_a_scope_opens_the_same(
    both: tuple[httpx2.AsyncClient, httpx2.AsyncClient], scopes: str
) -> None:
    them, us = both
    given = headers(scopes=SCOPES[scopes])
    different = {}
    for method, path in ASKED:
        theirs = await told(them, method, path, given)
        here = await told(us, method, path, given)
        if theirs != here:
            different[f"{method} {path}"] = (theirs, here)
    assert different == {}


@pytest.mark.parametrize("token", TOKENS)
async def test_a_token_is_good_or_bad_for_both(
    both: tuple[httpx2.AsyncClient, httpx2.AsyncClient], token: str
) -> None:
    them, us = both
    given = headers(**TOKENS[token])
    assert await told(us, "GET", "/teams", given) == await told(them, "GET", "/teams", given)


async def test_without_a_token_both_say_the_same(
    both: tuple[httpx2.AsyncClient, httpx2.AsyncClient],
) -> None:
    them, us = both
    for method, path in ASKED:
        assert await told(us, method, path, {}) == await told(them, method, path, {}), path
    info = [(await http.get("/info")).json() for http in both]
    assert info[0]["auth_mode"] == info[1]["auth_mode"] == "jwt"
