"""Who may ask a gateway that has a key."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from teambus.runtime.settings import SettingsError, read_settings
from teambus_gateway.access.refusing import INVALID, MISSING
from teambus_gateway.access.rules import OPEN
from teambus_gateway.settings import GatewaySettings
from tests.integration.gateway_parts import Served, System, system

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "open-sesame"
CLOSED = [
    ("GET", "/teams"),
    ("GET", "/teams/content-team"),
    ("GET", "/teams/"),
    ("GET", "/health//"),
    ("GET", "/health/"),
    ("GET", "/%2e/teams"),
    ("GET", "/HEALTH"),
    ("GET", "/agents"),
    ("GET", "/config"),
    ("GET", "/metrics"),
    ("GET", "/sessions"),
    ("GET", "/nowhere"),
    ("POST", "/teams/content-team/runs"),
    ("POST", "/teams/content-team/runs/r/cancel"),
    ("GET", "/teams/content-team/runs/r?session_id=s"),
    ("GET", "/teams/content-team/runs/r/events"),
    ("DELETE", "/sessions/s"),
]
NOT_THE_KEY = [
    ("Bearer wrong", INVALID),
    ("Bearer", INVALID),
    (f"Basic {KEY}", INVALID),
    (KEY, INVALID),
    (f"Bearer {KEY}x", INVALID),
    (f"Bearer {KEY[:-1]}", INVALID),
    (f"Bearer {KEY.upper()}", INVALID),
    (f"Bearer {KEY}, Bearer {KEY}", INVALID),
    ("Bearer \xff", INVALID),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    async with system(tmp_path_factory.mktemp("key")) as here:
        yield here


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(here: System) -> AsyncIterator[Served]:
    async with here.gateway(security_key=KEY) as gateway:
        yield gateway


@pytest.mark.parametrize(("method", "path"), CLOSED)
async def test_without_the_key_nothing_is_told_or_done(
    here: System, gateway: Served, method: str, path: str
) -> None:
    taken = len(here.runner.taken)
    form = {"message": "hi"} if method == "POST" else None
    answer = await gateway.http.request(method, path, data=form)
    assert (answer.status_code, answer.json()) == (401, {"detail": MISSING})
    assert answer.headers["www-authenticate"] == "Bearer"
    assert len(here.runner.taken) == taken


@pytest.mark.parametrize(("given", "detail"), NOT_THE_KEY)
async def test_what_is_not_the_key_is_refused(gateway: Served, given: str, detail: str) -> None:
    header = {b"Authorization": given.encode("latin-1")}
    answer = await gateway.http.get("/teams", headers=header)
    assert (answer.status_code, answer.json()) == (401, {"detail": detail})


async def test_two_keys_are_no_key(gateway: Served) -> None:
    twice = [("Authorization", f"Bearer {KEY}"), ("Authorization", "Bearer other")]
    assert (await gateway.http.get("/teams", headers=twice)).status_code == 401


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_with_the_key_all_is_open(gateway: Served, scheme: str) -> None:
    key = {"Authorization": f"{scheme} {KEY}"}
    assert (await gateway.http.get("/teams", headers=key)).status_code == 200
    form = {"message": "hi", "stream": "false"}
    answer = await gateway.http.post("/teams/content-team/runs", data=form, headers=key)
    assert answer.json()["status"] == "COMPLETED"


async def test_what_a_client_reads_at_start_is_open(gateway: Served) -> None:
    for path in sorted(OPEN):
        assert (await gateway.http.get(path)).status_code == 200, path
    assert (await gateway.http.get("/info")).json()["auth_mode"] == "security_key"


async def test_the_document_says_where_the_key_is_needed(gateway: Served) -> None:
    document = (await gateway.http.get("/openapi.json")).json()
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    assert document["paths"]["/teams"]["get"]["security"] == [{"bearer": []}]
    assert "401" in document["paths"]["/teams/{team_id}/runs"]["post"]["responses"]
    assert "security" not in document["paths"]["/health"]["get"]


async def test_a_browser_may_ask_whether_it_may_send_a_key(gateway: Served) -> None:
    asks = {
        "Origin": "http://localhost:3000",
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization",
    }
    answer = await gateway.http.options("/teams", headers=asks)
    assert answer.status_code == 200
    refused = await gateway.http.get("/teams", headers={"Origin": "http://localhost:3000"})
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "http://localhost:3000"


async def test_the_key_may_stand_in_a_file_and_is_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    settings = _settings({"OS_SECURITY_KEY_FILE": str(file)})
    assert settings.security_key == KEY
    assert KEY not in repr(settings)


def _settings(more: dict[str, str]) -> GatewaySettings:
    return read_settings(GatewaySettings, "GATEWAY", {"NATS_URL": "nats://x", **more})


async def test_a_key_file_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_text("\n")
    wrong = [
        ({"OS_SECURITY_KEY_FILE": str(tmp_path / "none")}, "cannot be read"),
        ({"OS_SECURITY_KEY_FILE": str(empty)}, "is empty"),
        ({"OS_SECURITY_KEY_FILE": str(empty), "OS_SECURITY_KEY": "k"}, "set one"),
    ]
    for more, says in wrong:
        with pytest.raises(SettingsError, match=says):
            _settings(more)
