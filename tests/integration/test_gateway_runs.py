"""Runs through the gateway: what is answered, and what becomes of the run."""

import asyncio
from pathlib import Path

import pytest

from teambus.contracts.output import RunStatus
from teambus.contracts.run import RunCompleted, RunRefused, RunRequest
from tests.integration.gateway_parts import finished, reconnected, system
from tests.support.system import until

MIB = 1024 * 1024


async def test_a_finished_run_is_the_reply(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway() as gateway:
        response = await gateway.post("Write about Python", user_id="u1", session_id="s1")
    body = response.json()
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    assert body["status"] == "COMPLETED"
    assert body["content"] == "answer to Write about Python"
    assert (body["session_id"], body["user_id"], body["team_name"]) == ("s1", "u1", "ContentTeam")
    assert body["member_responses"] == []
    assert None not in body.values()


async def test_both_form_encodings_ask_the_same(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway() as gateway:
        fields = {"message": "grüße, 世界 & more\r\nline", "stream": "false", "session_id": "s"}
        await gateway.http.post("/teams/content-team/runs", data=fields)
        parts = [(name, (None, value)) for name, value in fields.items()]
        response = await gateway.http.post("/teams/content-team/runs", files=parts)
        assert response.status_code == 200, response.text
    first, second = here.runner.taken
    assert first.input == second.input == "grüße, 世界 & more\r\nline"


async def test_a_run_of_its_own_session_is_given_one(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway() as gateway:
        first, second = (await gateway.post()).json(), (await gateway.post()).json()
    assert first["session_id"]
    assert first["session_id"] != second["session_id"]
    assert first["run_id"] != second["run_id"]


async def test_any_text_may_name_a_session(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway() as gateway:
        for session_id in ("../..", ">", "*", "a b\n", "x" * 512, "🎈.>"):
            response = await gateway.post(session_id=session_id)
            body = response.json()
            assert (response.status_code, body["session_id"]) == (200, session_id)
            assert (await gateway.poll(body["run_id"], session_id)).json() == body


async def test_two_mebibytes_travel_beside_the_message(tmp_path: Path) -> None:
    message = "é" * MIB
    async with system(tmp_path) as here, here.gateway() as gateway:
        response = await gateway.post(message)
        assert response.status_code == 200, response.text
        assert here.runner.taken[0].input == message
        assert response.json()["input"]["input_content"] == message


async def test_an_error_inside_a_run_is_200_with_status_error(tmp_path: Path) -> None:
    def ending(request: RunRequest) -> RunCompleted:
        return finished(request, status=RunStatus.ERROR, code="model_error", content="no model")

    async with system(tmp_path) as here, here.gateway() as gateway:
        here.runner.ending = ending
        response = await gateway.post()
    assert (response.status_code, response.json()["status"]) == (200, "ERROR")


@pytest.mark.parametrize(
    ("code", "status", "detail"),
    [("session_not_found", 404, "Session not found"), ("run_id_in_use", 409, "belongs to another")],
)
async def test_an_end_that_http_has_a_status_for_gets_it(
    tmp_path: Path, code: str, status: int, detail: str
) -> None:
    def ending(request: RunRequest) -> RunCompleted:
        return finished(request, status=RunStatus.ERROR, code=code)

    async with system(tmp_path) as here, here.gateway() as gateway:
        here.runner.ending = ending
        response = await gateway.post()
    assert response.status_code == status
    assert detail in response.json()["detail"]


async def test_only_a_refusal_of_the_own_request_counts(tmp_path: Path) -> None:
    async with system(tmp_path, go=False) as here, here.gateway() as gateway:

        def refused(request: RunRequest, seq: int) -> RunRefused:
            return RunRefused(
                event_id=f"refused:{request.run_id}:{seq}",
                tenant="default",
                team_id="content-team",
                run_id=request.run_id,
                request_seq=seq,
                code="run_id_in_use",
                detail="in use",
            )

        asking = asyncio.create_task(gateway.post())
        await here.runner.until_taken(1)
        request, seq = here.runner.taken[0], here.runner.seqs[0]
        await here.events.refuse(refused(request, seq + 7))
        await gateway.bus.barrier()
        done, _ = await asyncio.wait({asking}, timeout=1)
        assert not done
        here.runner.ending = lambda asked: refused(asked, seq)
        here.runner.go.set()
        response = await asking
    assert (response.status_code, response.json()["code"]) == (409, "run_id_in_use")


async def test_a_client_that_leaves_changes_nothing(tmp_path: Path) -> None:
    async with system(tmp_path, go=False) as here, here.gateway() as gateway:
        asking = asyncio.create_task(gateway.post(run_id="left", session_id="s"))
        await here.runner.until_taken(1)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        here.runner.go.set()
        response = await gateway.post(run_id="left", session_id="s")
        assert (response.status_code, response.json()["status"]) == (200, "COMPLETED")
        assert (await gateway.poll("left", "s")).json()["status"] == "COMPLETED"


async def test_a_run_that_outlasts_the_reply_goes_on_and_can_be_polled(tmp_path: Path) -> None:
    async with system(tmp_path, go=False) as here, here.gateway(reply_timeout_s=0.3) as gateway:
        response = await gateway.post(session_id="a/b ?")
        body = response.json()
        assert (response.status_code, body["code"]) == (504, "reply_timeout")
        assert body["session_id"] == "a/b ?"
        polled = await gateway.http.get(body["poll"])
        assert (polled.status_code, polled.json()["status"]) == (200, "PENDING")
        here.runner.go.set()

        async def completed() -> bool:
            run = (await gateway.http.get(body["poll"])).json()
            return bool((run["run_id"], run["status"]) == (body["run_id"], "COMPLETED"))

        await until(completed, 10, "the run does not end")


async def test_a_used_up_quota_is_429_with_a_time_to_come_back(tmp_path: Path) -> None:
    async with system(tmp_path, requests_per_team_max=1, work=False) as here:
        async with here.gateway(reply_timeout_s=0.2) as gateway:
            first, second = await gateway.post(), await gateway.post()
    assert first.status_code == 504
    assert (second.status_code, second.json()["code"]) == (429, "quota_exceeded")
    assert int(second.headers["retry-after"]) > 0


async def test_a_bus_that_is_down_leaves_the_outcome_unknown_and_names_the_run(
    tmp_path: Path,
) -> None:
    async with system(tmp_path) as here, here.gateway(publish_patience_s=0.3) as gateway:
        assert (await gateway.post()).status_code == 200
        await here.nats.kill()
        response = await gateway.post()
        body = response.json()
        assert (response.status_code, body["code"]) == (503, "outcome_unknown")
        assert int(response.headers["retry-after"]) > 0
        assert body["run_id"]
        assert (await gateway.poll(body["run_id"], "s")).status_code == 503
        await here.nats.restart()
        await reconnected(gateway.bus, here.bus)
        assert (await gateway.post()).status_code == 200


async def test_a_run_that_ends_while_the_bus_restarts_is_still_answered(tmp_path: Path) -> None:
    async with system(tmp_path, go=False) as here, here.gateway() as gateway:
        asking = asyncio.create_task(gateway.post())
        await here.runner.until_taken(1)
        await here.nats.restart()
        here.runner.go.set()
        assert (await asking).status_code == 200


async def test_a_gateway_with_too_many_waiting_refuses_the_next(tmp_path: Path) -> None:
    async with system(tmp_path, go=False) as here, here.gateway(waiting_max=1) as gateway:
        first = asyncio.create_task(gateway.post())
        await here.runner.until_taken(1)
        second = await gateway.post()
        here.runner.go.set()
        assert (await first).status_code == 200
        assert (await gateway.post()).status_code == 200
    assert (second.status_code, second.json()["code"]) == (503, "too_many_waiting")
    assert int(second.headers["retry-after"]) > 0


async def test_a_drain_lets_those_who_wait_have_their_answer(tmp_path: Path) -> None:
    async with system(tmp_path, go=False) as here, here.gateway() as gateway:
        asking = asyncio.create_task(gateway.post())
        await here.runner.until_taken(1)
        gateway.stop.set()
        here.runner.go.set()
        assert (await asking).status_code == 200
        await gateway.serving


async def test_a_drain_that_is_over_says_where_to_ask(tmp_path: Path) -> None:
    async with system(tmp_path, go=False) as here, here.gateway(drain_s=0.5) as gateway:
        asking = asyncio.create_task(gateway.post())
        await here.runner.until_taken(1)
        gateway.stop.set()
        response = await asking
        assert (response.status_code, response.json()["code"]) == (503, "draining")
        assert int(response.headers["retry-after"]) > 0
        async with here.gateway() as other:
            assert (await other.http.get(response.json()["poll"])).json()["status"] == "PENDING"
