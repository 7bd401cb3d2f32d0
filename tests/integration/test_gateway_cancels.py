"""Cancelling through a gateway: the order is on the bus before the answer, or there is none."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import msgspec
import pytest

from teambus.bus import reads, topology
from teambus.bus.api import Reply, ask
from teambus.contracts import headers, subjects
from teambus.contracts.control import CancelRun
from teambus.contracts.message import decode
from tests.integration.gateway_parts import AGENT, Served, System, system

ODD = "any text: ü.*> ?"


async def cancel(gateway: Served, run_id: str, team: str = "content-team") -> httpx2.Response:
    return await gateway.http.post(f"/teams/{team}/runs/{quote(run_id, safe='')}/cancel")


async def ordered(here: System, run_id: str, tenant: str = "default") -> CancelRun | None:
    subject = subjects.control(tenant, "content-team", run_id)
    stored = await reads.last(here.bus, topology.CONTROL, subject)
    return None if stored is None else decode(CancelRun, stored.data)


async def put(here: System, body: Any, tenant: str = "default") -> Reply:
    subject = subjects.api(tenant, "run.cancel")
    return await ask(here.bus, subject, msgspec.json.encode(body), wait_s=10)


@pytest.mark.parametrize("run_id", ["never-seen", ODD, "x" * 512])
async def test_the_order_is_stored_by_the_time_of_the_answer(tmp_path: Path, run_id: str) -> None:
    async with system(tmp_path) as here, here.gateway() as gateway:
        answer = await cancel(gateway, run_id)
        order = await ordered(here, run_id)
    assert (answer.status_code, answer.content) == (200, b"{}")
    assert answer.headers["content-type"] == "application/json"
    assert order is not None
    assert (order.team_id, order.run_id, order.reason) == ("content-team", run_id, None)


async def test_a_run_of_an_agent_is_cancelled_under_the_agents_own_path(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway() as gateway:
        answer = await gateway.http.post(f"/agents/{AGENT.id}/runs/r/cancel")
        assert (answer.status_code, answer.content) == (200, b"{}")
        assert (await gateway.http.post("/agents/content-team/runs/r/cancel")).status_code == 404
        assert (await put(here, {"team_id": AGENT.id, "run_id": "r-2"})).error_code is None
        for run_id in ("r", "r-2"):
            subject = subjects.control("default", AGENT.id, run_id)
            assert await reads.last(here.bus, topology.CONTROL, subject) is not None


async def test_a_run_that_has_ended_may_be_cancelled_without_effect(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway() as gateway:
        ended = (await gateway.post()).json()
        for _ in range(2):
            answer = await gateway.http.post(
                f"/teams/content-team/runs/{ended['run_id']}/cancel",
                params={"session_id": ended["session_id"]},
            )
            assert (answer.status_code, answer.content) == (200, b"{}")
        polled = await gateway.poll(ended["run_id"], ended["session_id"])
    assert polled.json() == ended


async def test_only_an_unknown_team_is_not_found(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway() as gateway:
        answer = await cancel(gateway, "r", team="nobody")
        asked = await put(here, {"team_id": "nobody", "run_id": "r"})
    assert (answer.status_code, answer.json()) == (404, {"detail": "Team not found"})
    assert asked.error_code == "404"


async def test_a_program_on_the_bus_cancels_in_its_own_tenant_and_says_why(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway():
        body = {"team_id": "content-team", "run_id": "r", "reason": "too slow"}
        answer = await put(here, body, tenant="acme")
        order = await ordered(here, "r", tenant="acme")
        assert await ordered(here, "r") is None
    assert (answer.error_code, answer.data) == (None, b"{}")
    assert order is not None
    assert (order.tenant, order.reason) == ("acme", "too slow")


async def test_what_cannot_be_an_order_is_refused_with_the_reason(tmp_path: Path) -> None:
    good = {"team_id": "content-team", "run_id": "r"}
    bad: list[Any] = [
        [],
        {"run_id": "r"},
        {"team_id": "content-team"},
        {**good, "run_id": ""},
        {**good, "run_id": "x" * 513},
        {**good, "reason": "x" * 1001},
        {**good, "reason": 7},
    ]
    async with system(tmp_path) as here, here.gateway() as gateway:
        for body in bad:
            reply = await put(here, body)
            assert reply.error_code == "422", (body, reply)
            assert reply.headers[headers.ERROR_DETAIL]
        assert (await cancel(gateway, "x" * 513)).status_code == 422
        assert await here_is_no_order(here)


async def here_is_no_order(here: System) -> bool:
    bounds = await reads.bounds(here.bus, topology.CONTROL)
    return bounds.last_seq == 0


async def test_a_bus_that_is_away_is_told_and_the_order_may_be_sent_again(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway() as gateway:
        await here.nats.kill()
        answer = await cancel(gateway, "r")
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        assert answer.json() == {
            "detail": "the bus did not take the order to cancel; send it again",
            "code": "bus_unavailable",
            "run_id": "r",
        }
        await here.nats.start()
        again = await cancel(gateway, "r")
        while again.status_code == 503:
            again = await cancel(gateway, "r")
        assert await ordered(here, "r") is not None


async def test_the_document_names_the_endpoint_with_its_parameters(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway() as gateway:
        document = (await gateway.http.get("/openapi.json")).json()
    described = document["paths"]["/teams/{team_id}/runs/{run_id}/cancel"]["post"]
    assert described["operationId"] == "cancel_team_run"
    assert [each["name"] for each in described["parameters"]] == ["team_id", "run_id", "session_id"]
    assert set(described["responses"]) == {"200", "404", "422", "503"}
