"""Going on with runs over HTTP: what is refused before anything is asked of a runner."""

from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from teambus.bus.api import Question, Reply, answering
from teambus.contracts import subjects
from teambus.contracts.output import (
    ChatMessage,
    FunctionCall,
    RunStatus,
    TeamRunOutput,
    ToolCall,
)
from teambus.contracts.run import Continuation, RunCompleted, RunRequest
from teambus.contracts.stored_api import RunQuery
from tests.integration.gateway_parts import AGENT, Served, System, finished, system

TEAM_PATH, AGENT_PATH = "/teams/content-team", "/agents/poet"


def with_messages(request: RunRequest, **changes: Any) -> RunCompleted:
    """An end as a runner makes it: with a transcript."""
    of_agent = changes.pop("of_agent", False)
    completed = finished(request, of_agent=of_agent, **changes)
    completed.output.messages = [message("system"), message("user"), message("assistant")]
    return completed


def message(role: str, *calls: str) -> ChatMessage:
    function = FunctionCall(name="look_up", arguments="{}")
    return ChatMessage(
        id=role,
        role=role,
        from_history=False,
        stop_after_tool_call=False,
        created_at=1,
        tool_calls=[ToolCall(id=id_, function=function) for id_ in calls] or None,
    )


async def go_on(
    gateway: Served,
    run_id: str,
    *,
    path: str = TEAM_PATH,
    key: str | None = None,
    **fields: str,
) -> httpx2.Response:
    given = {} if key is None else {"Idempotency-Key": key}
    form = {"stream": "false", "session_id": "s", **fields}
    return await gateway.http.post(f"{path}/runs/{run_id}/continue", data=form, headers=given)


async def an_ended_run(here: System, gateway: Served, **fields: str) -> str:
    here.runner.ending = with_messages
    reply = await gateway.post("First", session_id="s", **fields)
    assert reply.status_code == 200, reply.text
    run_id: str = reply.json()["run_id"]
    return run_id


async def test_a_new_run_is_asked_for_that_goes_on_with_the_old(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway() as gateway:
        before = await an_ended_run(here, gateway, user_id="ann")
        more = '{"urgent": true}'
        reply = await go_on(
            gateway, before, input="More", metadata=more, dependencies=more, user_id="ann"
        )
    request = here.runner.taken[1]
    assert reply.status_code == 200
    assert reply.json()["run_id"] == request.run_id != before
    assert (request.input, request.session_id, request.user_id) == ("More", "s", "ann")
    assert request.metadata == request.dependencies == {"urgent": True}
    assert request.continues == Continuation(run_id=before)


async def test_how_much_is_kept_and_what_is_made_anew_is_passed_on(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway() as gateway:
        before = await an_ended_run(here, gateway)
        await go_on(gateway, before, continue_from=" 2 ")
        await go_on(gateway, before, continue_from="last_user", replace_original="")
        steer = {"additional_instructions": "Shorter."}
        await go_on(gateway, before, regenerate="true", replace_original="false", **steer)
    numbered, last, anew = here.runner.taken[1:]
    assert numbered.continues == Continuation(run_id=before, continue_from=2)
    assert last.continues == Continuation(run_id=before, continue_from="last_user")
    assert anew.continues == Continuation(run_id=before, regenerate=True, replace_original=False)
    assert (numbered.input, anew.input) == ("", "Shorter.")


async def test_an_agents_run_is_gone_on_with_like_a_teams(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway() as gateway:
        here.runner.ending = lambda request: with_messages(request, of_agent=True)
        reply = await gateway.post("First", session_id="s", path=AGENT_PATH)
        before = reply.json()["run_id"]
        more = await go_on(gateway, before, path=AGENT_PATH, tools="[]")
        as_team = await go_on(gateway, before)
    assert (more.status_code, more.json()["agent_id"]) == (200, AGENT.id)
    assert as_team.status_code == 404


async def test_another_users_run_is_not_there_to_go_on_with(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway() as gateway:
        before = await an_ended_run(here, gateway, user_id="ann")
        refused = await go_on(gateway, before, user_id="eve")
        nobodys = await go_on(gateway, before)
    assert refused.status_code == 404
    assert refused.json() == {"detail": f"No runs found for run ID {before}"}
    assert nobodys.status_code == 200
    assert len(here.runner.taken) == 2


async def test_a_run_at_work_is_not_gone_on_with(tmp_path: Path) -> None:
    async with system(tmp_path, go=False) as here, here.gateway() as gateway:
        reply = await gateway.post("First", session_id="s", background="true")
        run_id = reply.json()["run_id"]
        refused = await go_on(gateway, run_id)
        told = await go_on(gateway, run_id, stream="true")
    assert refused.status_code == 409
    assert refused.json() == {"detail": f"Cannot continue run {run_id}: run is pending"}
    assert told.status_code == 200
    assert told.headers["content-type"].startswith("text/event-stream")
    assert f"Cannot continue run {run_id}: run is pending" in told.text
    assert len(here.runner.taken) <= 1


async def test_the_same_key_goes_on_once(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway() as gateway:
        before = await an_ended_run(here, gateway)
        first, again = [await go_on(gateway, before, key="k") for _ in range(2)]
        other = await go_on(gateway, before, key="k", input="Something else")
    assert first.content == again.content
    assert len(here.runner.taken) == 2
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")


async def test_in_the_background_the_new_run_is_named_and_not_waited_for(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway() as gateway:
        before = await an_ended_run(here, gateway)
        reply = await go_on(gateway, before, background="true")
    body = reply.json()
    assert (reply.status_code, body["session_id"], body["status"]) == (202, "s", "PENDING")
    assert body["run_id"] != before


@pytest.mark.parametrize(
    ("code", "status"),
    [("run_not_found", 404), ("run_not_continuable", 409), ("wrong_continuation", 400)],
)
async def test_what_a_runner_finds_out_later_has_the_same_status(
    tmp_path: Path, code: str, status: int
) -> None:
    async with system(tmp_path) as here, here.gateway() as gateway:
        before = await an_ended_run(here, gateway)
        error = RunStatus.ERROR
        here.runner.ending = lambda r: finished(r, status=error, code=code, content="It is gone.")
        reply = await go_on(gateway, before)
    assert (reply.status_code, reply.json()["detail"]) == (status, "It is gone.")


async def test_a_run_the_bus_has_forgotten_is_found_in_its_database(tmp_path: Path) -> None:
    async def stored(question: Question) -> Reply:
        query = msgspec.json.decode(question.data, type=RunQuery)
        asked = RunRequest(run_id=query.run_id, input="First", session_id=query.session_id)
        old: TeamRunOutput = with_messages(asked).output
        return Reply(msgspec.json.encode(old))

    subject = subjects.api("*", "db.team-db.run")
    async with system(tmp_path) as here, here.gateway() as gateway:
        here.runner.ending = with_messages
        async with answering(here.bus, subject, stored, queue="q", at_once_max=1):
            reply = await go_on(gateway, "long-ago")
    assert reply.status_code == 200
    assert here.runner.taken[0].continues == Continuation(run_id="long-ago")


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"session_id": ""}, 400),
        ({"session_id": "x" * 600}, 422),
        ({"requirements": "{"}, 400),
        ({"requirements": '["yes"]'}, 400),
        ({"continue_from": "²"}, 400),
        ({"continue_from": "9" * 40}, 400),
        ({"continue_from": "--1"}, 400),
        ({"regenerate": "perhaps"}, 422),
        ({"metadata": "[1]"}, 400),
    ],
)
async def test_a_form_that_is_wrong_is_refused_streamed_or_not(
    tmp_path: Path, fields: dict[str, str], status: int
) -> None:
    async with system(tmp_path) as here, here.gateway() as gateway:
        for stream in ("false", "true"):
            reply = await go_on(gateway, "any", stream=stream, **fields)
            assert reply.status_code == status, reply.text
    assert here.runner.taken == []
