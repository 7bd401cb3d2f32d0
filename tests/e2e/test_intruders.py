"""Attempts to get in, and across from one tenant or user to another: none succeeds.

All against real gateways, runners and hook-runners, with real runs of several tenants behind them.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from teambus.bus import topology
from teambus.contracts import subjects
from teambus_gateway.access.rules import RULES
from tests.e2e.conftest import APPS
from tests.e2e.intruders_parts import NOBODY, PATHS, Headers, Keys, bearer, key_file
from tests.support.processes import Process
from tests.support.system import System, free_port, system_of, until
from tests.support.tokens import Provider, environment

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]

SECRET = "xyzzy-4711"
"""What the victim said and nobody else may hear."""
KEYS: Keys = {
    "good": "tbk_the-key-of-a-robot-that-is-long-enough",
    "expired": "tbk_a-key-that-was-good-in-another-time",
    "root": "the-key-of-agent-os",
}
FORM = {"message": "hello", "stream": "false"}
IN_TEXT = re.compile(r'"(search_time_ms|created_at|updated_at)":[^,}]+')


@dataclass
class House:
    """The system, a gateway for whole tenants and one that confines users, and what ada has."""

    system: System
    provider: Provider
    confining: Process
    confined: httpx2.AsyncClient
    ids: dict[str, str] = field(default_factory=dict)
    slow: dict[str, str] = field(default_factory=dict)
    session: dict[str, Any] = field(default_factory=dict)
    said: set[str] = field(default_factory=set)
    """Every token and key that was ever sent."""

    @property
    def http(self) -> httpx2.AsyncClient:
        return self.system.client

    def token(self, **changes: Any) -> dict[str, str]:
        """The header of somebody known."""
        token = self.provider.token(**changes)
        self.said.add(token)
        return dict(bearer(token))

    async def run(self, headers: dict[str, str], message: str, **form: str) -> dict[str, Any]:
        reply = await self.http.post(
            "/teams/desk/runs", data={**FORM, "message": message, **form}, headers=headers
        )
        assert reply.status_code in (200, 202), reply.text
        output: dict[str, Any] = reply.json()
        return output

    async def requests(self) -> int:
        """How many messages the streams of work and of facts have ever had."""
        stored = await self.system.stored(topology.EVENTS, f"{subjects.ROOT}.event.>")
        return len(stored) + await self.system.queued()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    folder = tmp_path_factory.mktemp("house")
    provider = Provider()
    variables = {
        **environment(provider, folder),
        "TEAMBUS_API_KEYS_FILE": str(key_file(KEYS, folder)),
        "OS_SECURITY_KEY": KEYS["root"],
        "GATEWAY_HEAD_BYTES_MAX": "65536",
    }
    async with system_of(APPS / "houses.py", folder, environment=variables) as system:
        port = free_port()
        more = {"GATEWAY_PORT": str(port), "GATEWAY_USER_ISOLATION": "true"}
        confining = Process("teambus_gateway", system.environment | more, folder / "confining.log")
        await confining.start()
        url = f"http://127.0.0.1:{port}"
        async with httpx2.AsyncClient(base_url=url, timeout=60) as confined:
            house = House(system, provider, confining, confined)
            await settle_in(house)
            yield house
        await confining.close()


async def settle_in(house: House) -> None:
    """Ada of acme: a session with a file, a dead letter, and a run that is under way."""
    ada = house.token()
    form = {**FORM, "message": f"sour {SECRET}"}
    files = {"files": ("a.txt", SECRET.encode(), "text/plain")}
    reply = await house.http.post("/teams/desk/runs", data=form, files=files, headers=ada)
    assert reply.status_code == 200, reply.text
    run = reply.json()
    assert run["user_id"] == "ada"
    house.ids = {"run_id": run["run_id"], "session_id": run["session_id"]}
    [file] = run["input"]["files"]
    house.ids["storage_key"] = file["media_reference"]["storage_key"]

    async def letters() -> list[str]:
        reply = await house.http.get("/dead-letters", headers=ada)
        return [each["id"] for each in reply.json()["data"]]

    [house.ids["letter_id"]] = await until(letters, 60, "no dead letter")
    path = f"/sessions/{house.ids['session_id']}"
    house.session = (await house.http.get(path, headers=ada)).json()
    slow = await house.run(ada, f"slow {SECRET}", background="true")
    house.slow = {"run_id": slow["run_id"], "session_id": slow["session_id"]}


def place(path: str, ids: dict[str, str]) -> str:
    """A path of the table with ids in it."""
    known = {"team_id": "desk", "agent_id": "poet", **ids}
    return re.sub(r"{(\w+)(?::path)?}", lambda found: known[found[1]], path)


def more_of(method: str, path: str, ids: dict[str, str]) -> dict[str, Any]:
    """The rest of a request to an endpoint, with ids wherever one may be said."""
    form = {**FORM, "session_id": ids["session_id"]}
    query = {"session_id": ids["session_id"]}
    match method, path.rpartition("}")[2] or path:
        case "GET", _ if path.startswith(("/teams", "/agents")):
            return {"params": query}
        case "POST", "/runs" | "/continue":
            return {"data": form}
        case "POST", "/resume":
            return {"data": query}
        case "POST", "/cancel":
            return {"params": query}
        case "POST", "/sessions":
            return {"json": {"session_id": ids["session_id"]}}
        case "DELETE", "/sessions":
            return {"json": {"session_ids": [ids["session_id"]], "session_types": ["team"]}}
        case "PATCH", _:
            return {"json": {"session_name": "taken over", "metadata": {"x": 1}}}
        case "POST", "/rename":
            return {"json": {"session_name": "taken over"}}
        case "POST", "/dead-letters/redrive":
            return {"params": {"all": "true"}}
    return {}


async def ask(
    http: httpx2.AsyncClient,
    endpoint: tuple[str, str],
    ids: dict[str, str],
    headers: dict[str, str],
) -> tuple[int, str]:
    """The answer, with each id in it replaced by what it is."""
    method, path = endpoint
    more = more_of(method, path, ids)
    reply = await http.request(method, place(path, ids), headers=headers, **more)
    text = IN_TEXT.sub("", reply.text)
    for name, value in sorted(ids.items(), key=lambda each: -len(each[1])):
        text = text.replace(value, name)
    return reply.status_code, text


def unknown() -> dict[str, str]:
    return {
        "run_id": "no-run",
        "session_id": "no-session",
        "letter_id": "acme:note:no-run",
        "storage_key": f"no-run/{'0' * 64}",
    }


ENDPOINTS = [each for each in RULES if each[1] not in ("/teams", "/agents", "/config")]
STARTS = [("POST", "/teams/{team_id}/runs"), ("POST", "/agents/{agent_id}/runs")]
MAKES = [*STARTS, ("POST", "/sessions")]
"""Here an id that nobody has is one that may be taken."""
LETTERS = [each for each in ENDPOINTS if each[1].startswith("/dead-letters")]
OWN = [
    ("GET", path)
    for method, path in ENDPOINTS
    if method == "GET" and re.search("{(run|session|letter)_id", path) and "agent" not in path
]
OF_IDS = [each for each in ENDPOINTS if each not in MAKES]


@pytest.mark.parametrize("name", NOBODY)
async def test_nobody_gets_in_with(house: House, name: str) -> None:
    made = NOBODY[name](house.provider, KEYS)
    headers: Headers = bearer(made) if isinstance(made, str) else made
    encoded = [(key.encode(), value.encode("latin-1")) for key, value in headers]
    house.said |= {value.rpartition(" ")[2] for key, value in headers if len(value) > 40}
    before = await house.requests()
    for method, path, more in (
        ("GET", "/teams", None),
        ("GET", f"/sessions/{house.ids['session_id']}", None),
        ("POST", "/teams/desk/runs", FORM),
    ):
        reply = await house.http.request(method, path, headers=encoded, data=more)
        assert reply.status_code == 401, reply.text
        assert reply.headers["www-authenticate"].startswith("Bearer")
        assert set(reply.json()) == {"detail"}
        assert not any(value in reply.text for _, value in headers if len(value) > 20)
    assert await house.requests() == before


async def test_nobody_gets_in_beside_the_headers(house: House) -> None:
    token = house.token()["Authorization"].partition(" ")[2]
    for more in ({"access_token": token}, {"token": token}, {"authorization": f"Bearer {token}"}):
        assert (await house.http.get("/teams", params=more)).status_code == 401
        reply = await house.http.post("/teams/desk/runs", data={**FORM, **more})
        assert reply.status_code == 401


@pytest.mark.parametrize("line", PATHS, ids=lambda line: line.decode())
async def test_no_way_of_writing_a_path_leads_past_the_guard(house: House, line: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", house.system.port)
    writer.write(line + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
    async with asyncio.timeout(30):
        answer = await reader.read()
    writer.close()
    assert b"desk" not in answer
    if b"HTTP/1.1 200 " in answer:
        assert b'{"status":"ok"' in answer, answer  # It was `/health` that was asked for.


SCOPED = [
    ("GET", "/teams", ["agents:read"], "teams:read"),
    ("GET", "/teams", ["teams:run"], "teams:read"),
    ("GET", "/teams/desk", ["teams:other:read"], "teams:read"),
    ("GET", "/teams/desk", ["teams::read"], "teams:read"),
    ("GET", "/teams/desk", ["teams:*"], "teams:read"),
    ("GET", "/teams/desk", ["*:read"], "teams:read"),
    ("GET", "/teams/desk", ["*"], "teams:read"),
    ("GET", "/teams/desk", ["teams:desk:read:more"], "teams:read"),
    ("GET", "/teams/desk", ["Teams:read"], "teams:read"),
    ("GET", "/teams/desk", "agent_os:administrator", "teams:read"),
    ("GET", "/teams/desk", {"agent_os:admin": True}, "teams:read"),
    ("GET", "/teams/desk", [["agent_os:admin"]], "teams:read"),
    ("GET", "/teams/desk", None, "teams:read"),
    ("POST", "/teams/desk/runs", ["teams:read"], "teams:run"),
    ("POST", "/teams/desk/runs", ["teams:other:run"], "teams:run"),
    ("POST", "/teams/desk/runs", ["agents:desk:run"], "teams:run"),
    ("POST", "/teams/desk/runs", ["sessions:write"], "teams:run"),
    ("POST", "/teams/desk/runs/r/cancel", ["teams:read"], "teams:run"),
    ("POST", "/teams/desk/runs/r/continue", ["teams:read"], "teams:run"),
    ("GET", "/teams/desk/runs/r?session_id=s", ["teams:run"], "teams:read"),
    ("GET", "/sessions", ["sessions:write"], "sessions:read"),
    ("GET", "/sessions/s", ["sessions:s:read"], "sessions:read"),
    ("POST", "/sessions", ["sessions:read"], "sessions:write"),
    ("PATCH", "/sessions/s", ["sessions:read"], "sessions:write"),
    ("POST", "/sessions/s/rename", ["sessions:read"], "sessions:write"),
    ("DELETE", "/sessions/s", ["sessions:write"], "sessions:delete"),
    ("DELETE", "/sessions", ["sessions:write"], "sessions:delete"),
    ("GET", "/config", ["teams:read"], "config:read"),
    ("GET", "/metrics", ["sessions:read"], "metrics:read"),
    ("POST", "/metrics/refresh", ["metrics:read"], "metrics:write"),
    ("GET", "/dead-letters", ["sessions:read"], "dead_letters:read"),
    ("POST", "/dead-letters/redrive", ["dead_letters:read"], "dead_letters:write"),
    ("DELETE", "/dead-letters/x", ["dead_letters:write"], "dead_letters:delete"),
]


@pytest.mark.parametrize(("method", "path", "scopes", "lacks"), SCOPED)
async def test_what_no_scope_allows_is_not_done(
    house: House, method: str, path: str, scopes: Any, lacks: str
) -> None:
    before = await house.requests()
    reply = await house.http.request(method, path, headers=house.token(scopes=scopes))
    detail = f"Insufficient permissions. Required scope(s): {lacks}"
    assert (reply.status_code, reply.json()) == (403, {"detail": detail})
    assert f'scope="{lacks}"' in reply.headers["www-authenticate"]
    assert await house.requests() == before


ACTS = [
    ("GET", "runs/r?session_id=s"),
    ("GET", "runs/r/events"),
    ("GET", "runs/r/hooks"),
    ("GET", "runs?session_id=s"),
    ("POST", "runs/r/resume"),
    ("POST", "sessions/s/fork"),
]


@pytest.mark.parametrize(("method", "path"), ACTS)
async def test_who_may_read_a_team_may_not_look_into_its_runs(
    house: House, method: str, path: str
) -> None:
    headers = house.token(scopes=["teams:read", "teams:other:run"])
    reply = await house.http.request(method, f"/teams/desk/{path}", headers=headers)
    assert (reply.status_code, reply.json()) == (403, {"detail": "Access denied to run this team"})


@pytest.mark.parametrize("endpoint", OF_IDS, ids=" ".join)
@pytest.mark.parametrize("who", ["token", "key"])
async def test_what_another_tenant_has_is_not_there(
    house: House, endpoint: tuple[str, str], who: str
) -> None:
    """An administrator of another tenant is told the same of it as of what never was."""
    key = dict(bearer(KEYS["good"]))
    stranger = key if who == "key" else house.token(tenant="umbrella", sub="ada")
    told = await ask(house.http, endpoint, house.ids, stranger)
    assert told == await ask(house.http, endpoint, unknown(), stranger)
    assert SECRET not in told[1]


@pytest.mark.parametrize("endpoint", OF_IDS, ids=" ".join)
async def test_what_another_user_has_is_not_there(house: House, endpoint: tuple[str, str]) -> None:
    eve = house.token(sub="eve", scopes=every_scope())
    told = await ask(house.confined, endpoint, house.ids, eve)
    assert told == await ask(house.confined, endpoint, unknown(), eve)
    assert SECRET not in told[1]
    assert (told[0] == 403) == (endpoint in LETTERS)


def every_scope() -> list[str]:
    """All but that of an administrator."""
    run = [f"{kind}:{act}" for kind in ("teams", "agents") for act in ("read", "run")]
    return [*run, *{rule.scope for rule in RULES.values() if rule.scope}]


@pytest.mark.parametrize("endpoint", OWN, ids=" ".join)
async def test_what_is_ones_own_is_there(house: House, endpoint: tuple[str, str]) -> None:
    """Else an answer that is the same for others would mean nothing."""
    ada = house.token(scopes=every_scope())
    told = await ask(house.http, endpoint, house.ids, ada)
    assert told[0] == 200, told
    assert told[1] != (await ask(house.http, endpoint, unknown(), ada))[1]


@pytest.mark.parametrize("endpoint", MAKES, ids=" ".join)
async def test_an_id_of_another_tenant_is_a_new_one(
    house: House, endpoint: tuple[str, str]
) -> None:
    """Sessions of two tenants may have one id, and have nothing of each other."""
    stranger = house.token(tenant=f"maker-{MAKES.index(endpoint)}", sub="ada")
    status, text = await ask(house.http, endpoint, house.ids, stranger)
    assert status in (200, 201), text
    assert SECRET not in text
    kept = await house.http.get(f"/sessions/{house.ids['session_id']}", headers=stranger)
    assert kept.status_code == 200
    assert SECRET not in kept.text


async def test_a_session_of_another_user_cannot_be_entered(house: House) -> None:
    eve = house.token(sub="eve", scopes=every_scope())
    for http in (house.http, house.confined):
        form = {**FORM, "session_id": house.ids["session_id"], "user_id": "ada"}
        reply = await http.post("/teams/desk/runs", data=form, headers=eve)
        assert (reply.status_code, reply.json()) == (404, {"detail": "Session not found"})
    made = {"session_id": house.ids["session_id"], "user_id": "ada", "team_id": "desk"}
    reply = await house.confined.post("/sessions?type=team", json=made, headers=eve)
    assert reply.status_code == 409
    assert SECRET not in reply.text


@pytest.mark.parametrize("path", ["cancel", "resume"])
async def test_who_is_confined_says_in_which_session(house: House, path: str) -> None:
    eve = house.token(sub="eve", scopes=every_scope())
    reply = await house.confined.post(
        f"/teams/desk/runs/{house.slow['run_id']}/{path}", headers=eve
    )
    assert (reply.status_code, reply.json()) == (
        400,
        {"detail": "session_id is required for this action"},
    )


async def test_who_is_confined_has_a_name(house: House) -> None:
    nameless = house.token(sub=None, scopes=["teams:read"])
    reply = await house.confined.get("/teams", headers=nameless)
    told = {"detail": "Authenticated request is missing a user identity"}
    assert (reply.status_code, reply.json()) == (403, told)


TRICKS: dict[str, dict[str, Any]] = {
    "X-Tenant": {"headers": {"X-Tenant": "acme"}},
    "X-Tenant-Id": {"headers": {"X-Tenant-Id": "acme"}},
    "X-Teambus-Tenant": {"headers": {"X-Teambus-Tenant": "acme", "Teambus-Tenant": "acme"}},
    "X-Forwarded": {"headers": {"X-Forwarded-User": "ada", "X-Forwarded-Host": "acme"}},
    "X-Forwarded-For": {"headers": {"X-Forwarded-For": "127.0.0.1", "Forwarded": "for=127.0.0.1"}},
    "X-User": {"headers": {"X-User-Id": "ada", "X-Remote-User": "ada", "Remote-User": "ada"}},
    "Host": {"headers": {"Host": "acme"}},
    "Cookie": {"headers": {"Cookie": "tenant=acme; user_id=ada"}},
    "tenant query": {"params": {"tenant": "acme", "tenant_id": "acme"}},
    "user query": {"params": {"user_id": "ada"}},
    "two users": {"params": [("user_id", "umbrella"), ("user_id", "ada")]},
    "database query": {"params": {"table": "teambus_sessions; --"}},
    "claims in the query": {"params": {"scopes": "agent_os:admin", "sub": "ada"}},
}


@pytest.mark.parametrize("name", TRICKS)
async def test_nothing_in_a_request_makes_it_another_tenants(house: House, name: str) -> None:
    stranger = house.token(tenant="umbrella", sub="ada")
    trick = TRICKS[name]
    headers = {**stranger, **trick.get("headers", {})}
    for path in (f"/sessions/{house.ids['session_id']}", f"/dead-letters/{house.ids['letter_id']}"):
        reply = await house.http.get(path, headers=headers, params=trick.get("params"))
        assert reply.status_code in (400, 404), reply.text
        assert SECRET not in reply.text
    listed = await house.http.get("/sessions", headers=headers)
    assert house.ids["session_id"] not in listed.text
    form = {**FORM, "tenant": "acme", "user_id": "eve", "scopes": "agent_os:admin"}
    params = {"tenant": "acme"}
    url = "/teams/desk/runs"
    reply = await house.http.post(url, data=form, headers=headers, params=params)
    run = reply.json()
    assert (reply.status_code, run["user_id"]) == (200, "ada"), reply.text
    end = await house.system.events.completed("umbrella", "desk", run["run_id"])
    assert end is not None
    assert await house.system.events.completed("acme", "desk", run["run_id"]) is None


@pytest.mark.parametrize("session_id", ["../acme/s", "acme.s", "%2e%2e", "*", ">", "a b", "acme:s"])
async def test_an_id_is_only_an_id(house: House, session_id: str) -> None:
    """Whatever it looks like to streams, paths and databases, it stays in its tenant."""
    stranger = house.token(tenant="umbrella-2", sub="mallory")
    made = await house.http.post(
        "/sessions?type=team", json={"session_id": session_id}, headers=stranger
    )
    assert made.status_code == 201, made.text
    run = await house.run(stranger, "hello", session_id=session_id)
    assert run["session_id"] == session_id
    listed = (await house.http.get("/sessions?limit=100", headers=stranger)).json()["data"]
    assert {each.get("user_id") for each in listed} == {"mallory"}


async def test_the_same_ids_and_keys_of_two_tenants_are_two_runs(house: House) -> None:
    one, other = house.token(tenant="twin-1"), house.token(tenant="twin-2")
    keyed = [
        await house.http.post(
            "/teams/desk/runs", data=FORM, headers={**who, "Idempotency-Key": "the same"}
        )
        for who in (one, other, one)
    ]
    first, second, again = (reply.json()["run_id"] for reply in keyed)
    assert first == again != second
    chosen = [await house.run(who, "hello", run_id="mine", session_id="s") for who in (one, other)]
    assert [run["status"] for run in chosen] == ["COMPLETED"] * 2
    for who in (one, other):
        reply = await house.http.get("/sessions/s/runs", headers=who)
        assert [run["run_id"] for run in reply.json() if not run["parent_run_id"]] == ["mine"]


async def test_the_same_key_of_two_users_is_two_runs(house: House) -> None:
    ids = set()
    for user in ("tick", "tock"):
        headers = {**house.token(sub=user), "Idempotency-Key": "the same"}
        reply = await house.http.post("/teams/desk/runs", data=FORM, headers=headers)
        ids.add(reply.json()["run_id"])
    assert len(ids) == 2


async def test_a_confined_user_has_all_that_is_his_own(house: House) -> None:
    bob = house.token(sub="bob", scopes=every_scope())
    form = {"message": "slow bob", "stream": "false", "background": "true"}
    begun = (await house.confined.post("/teams/desk/runs", data=form, headers=bob)).json()
    run = f"/teams/desk/runs/{begun['run_id']}"
    place = {"session_id": begun["session_id"]}
    polled = await house.confined.get(run, params=place, headers=bob)
    assert polled.json()["status"] in ("PENDING", "RUNNING"), polled.text
    cancelled = await house.confined.post(f"{run}/cancel", params=place, headers=bob)
    assert (cancelled.status_code, cancelled.json()) == (200, {})

    async def has_ended() -> bool:
        reply = await house.confined.get(run, params=place, headers=bob)
        return bool(reply.json()["status"] == "CANCELLED")

    await until(has_ended, 60, lambda: f"not cancelled; {house.system.runner.tail()}")
    for path in ("events", "hooks"):
        reply = await house.confined.get(f"{run}/{path}", headers=bob)
        assert reply.status_code == 200, reply.text
    listed = (await house.confined.get("/sessions", headers=bob)).json()["data"]
    assert [each["session_id"] for each in listed] == [begun["session_id"]]
    resumed = await house.confined.post(f"{run}/resume", data=place, headers=bob)
    assert resumed.status_code == 200
    assert (await house.confined.get("/info")).json()["user_isolation"] is True


async def test_an_administrator_has_what_is_his_users(house: House) -> None:
    root = house.token(sub="root")
    reply = await house.confined.get(f"/sessions/{house.ids['session_id']}", headers=root)
    assert (reply.status_code, SECRET in reply.text) == (200, True)
    assert (await house.confined.get("/dead-letters", headers=root)).status_code == 200


@pytest.mark.parametrize("by", ["rsa", "ec", "hs"])
async def test_whom_the_provider_names_gets_in(house: House, by: str) -> None:
    """Else nothing here would show anything."""
    scopes = ["teams:desk:run", "teams:desk:read"]
    some = house.token(by=by, tenant="welcome", sub="zoe", scopes=scopes)
    run = await house.run(some, "hello", user_id="ada")
    assert (run["status"], run["user_id"]) == ("COMPLETED", "zoe")
    url = f"/teams/desk/runs/{run['run_id']}"
    polled = await house.http.get(url, params={"session_id": run["session_id"]}, headers=some)
    assert polled.json()["run_id"] == run["run_id"]
    teams = await house.http.get("/teams", headers=some)
    assert [team["id"] for team in teams.json()] == ["desk"]
    assert (await house.http.get("/info")).json()["auth_mode"] == "jwt"


async def test_whoever_has_a_key_gets_in(house: House) -> None:
    run = await house.run(dict(bearer(KEYS["good"])), "hello", user_id="somebody")
    assert run["user_id"] == "somebody"
    assert await house.system.events.completed("robots", "desk", run["run_id"]) is not None


async def test_what_the_victim_had_is_untouched(house: House) -> None:
    ada = house.token()
    session = (await house.http.get(f"/sessions/{house.ids['session_id']}", headers=ada)).json()
    assert session == house.session
    assert session["session_name"] == f"sour {SECRET}"
    kept = f"/sessions/{house.ids['session_id']}/media/{house.ids['storage_key']}"
    assert (await house.http.get(kept, headers=ada)).content == SECRET.encode()
    letter = await house.http.get(f"/dead-letters/{house.ids['letter_id']}", headers=ada)
    assert letter.json()["run_id"] == house.ids["run_id"]
    slow = f"/teams/desk/runs/{house.slow['run_id']}"
    reply = await house.http.get(slow, params={"session_id": house.slow["session_id"]}, headers=ada)
    assert reply.json()["status"] == "RUNNING"
    (house.system.folder / "go").touch()

    async def has_ended() -> bool:
        end = await house.system.events.completed("acme", "desk", house.slow["run_id"])
        return end is not None and end.output.status.value == "COMPLETED"

    await until(has_ended, 60, lambda: f"not ended; {house.system.runner.tail()}")


async def test_no_key_and_no_token_is_in_any_log(house: House) -> None:
    logs = list(_logs(house.system.folder))
    assert len(logs) >= 4
    house.said |= {KEYS["good"], KEYS["expired"], KEYS["root"], house.provider.hs.decode()}
    secrets = {part for said in house.said for part in said.split(".")[-1:] if len(part) > 15}
    assert len(secrets) > 40
    for name, text in logs:
        found = [secret for secret in secrets if secret in text]
        assert not found, (name, found)
        assert json.dumps(SECRET)[1:-1] not in text, name


def _logs(folder: Path) -> Iterator[tuple[str, str]]:
    for log in folder.glob("*.log"):
        if log.name != "hooks.log":
            yield log.name, log.read_text(errors="replace")
