"""Which pages of browsers may ask, by the headers that browsers go by."""

from pathlib import Path

import pytest

from teambus_gateway.settings import ORIGINS
from tests.integration.gateway_parts import Served, system

MINE = "https://mine.example"
OTHER = "https://other.example"


async def asked_before(
    gateway: Served, origin: str, method: str = "POST", headers: str = "idempotency-key"
) -> tuple[int, dict[str, str]]:
    """The answer to what a browser asks before it sends."""
    answer = await gateway.http.options(
        "/teams/content-team/runs",
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": headers,
        },
    )
    return answer.status_code, dict(answer.headers)


async def test_the_pages_of_agentos_are_let_in_by_default(tmp_path: Path) -> None:
    assert set(ORIGINS) == {
        "http://localhost:3000",
        "https://agno.com",
        "https://www.agno.com",
        "https://app.agno.com",
        "https://os-stg.agno.com",
        "https://os.agno.com",
    }
    async with system(tmp_path) as here, here.gateway() as gateway:
        for origin in ORIGINS:
            answer = await gateway.http.get("/health", headers={"Origin": origin})
            assert answer.headers["access-control-allow-origin"] == origin
            assert answer.headers["access-control-allow-credentials"] == "true"
            assert answer.headers["access-control-expose-headers"] == "*"
            assert answer.headers["vary"] == "Origin"
            status, headers = await asked_before(gateway, origin)
            assert (status, headers["access-control-allow-origin"]) == (200, origin)
            assert headers["access-control-allow-credentials"] == "true"


async def test_origins_of_ones_own_are_let_in_beside_the_list(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway(cors_origins=(MINE,)) as gateway:
        for origin in (MINE, *ORIGINS):
            answer = await gateway.http.get("/", headers={"Origin": origin})
            assert answer.headers["access-control-allow-origin"] == origin
        allowed = await asked_before(gateway, MINE)
        refused = await asked_before(gateway, OTHER)
    assert (allowed[0], allowed[1]["access-control-allow-origin"]) == (200, MINE)
    assert refused[0] == 400
    assert "access-control-allow-origin" not in refused[1]


async def test_the_list_may_be_left_out(tmp_path: Path) -> None:
    alone = {"cors_origins": (MINE,), "cors_agentos_origins": False}
    async with system(tmp_path) as here, here.gateway(**alone) as gateway:
        mine = await gateway.http.get("/", headers={"Origin": MINE})
        others = [
            await gateway.http.get("/", headers={"Origin": each}) for each in (OTHER, *ORIGINS)
        ]
    assert mine.headers["access-control-allow-origin"] == MINE
    for other in others:
        assert other.status_code == 200
        assert "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
async def test_every_method_and_header_may_be_sent_from_there(tmp_path: Path, method: str) -> None:
    wanted = "authorization, content-type, idempotency-key, last-event-id"
    async with system(tmp_path) as here, here.gateway(cors_origins=(MINE,)) as gateway:
        status, headers = await asked_before(gateway, MINE, method, wanted)
    assert status == 200
    assert method in headers["access-control-allow-methods"]
    assert set(wanted.split(", ")) <= set(headers["access-control-allow-headers"].split(", "))
    assert int(headers["access-control-max-age"]) > 0


async def test_a_page_may_read_what_is_wrong_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with system(tmp_path) as here, here.gateway(cors_origins=(MINE,)) as gateway:
        origin = {"Origin": MINE}
        answers = [
            await gateway.http.get("/teams/nobody", headers=origin),
            await gateway.http.get("/nowhere", headers=origin),
            await gateway.http.post("/teams/content-team/runs", headers=origin),
        ]
        monkeypatch.setattr("teambus_gateway.routes.config_shape", None)
        answers.append(await gateway.http.get("/config", headers=origin))
    assert [answer.status_code for answer in answers] == [404, 404, 422, 500]
    for answer in answers:
        assert answer.headers["access-control-allow-origin"] == MINE


async def test_a_program_that_is_no_page_is_told_nothing_of_origins(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway() as gateway:
        answer = await gateway.http.get("/health")
        bare = await gateway.http.options("/teams/content-team/runs")
    assert [name for name in answer.headers if name.startswith("access-control")] == []
    assert bare.status_code == 405
