"""An agent served by itself, through the whole system: asked over HTTP and over NATS alone."""

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import msgspec
import nats
import pytest
import pytest_asyncio

from teambus.contracts.ids import new_id
from tests.e2e.conftest import APPS
from tests.support.system import System, system_of, until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    async with system_of(APPS / "agents.py", tmp_path_factory.mktemp("agents")) as system:
        yield system


@pytest_asyncio.fixture(loop_scope="module")
async def poet(served: System) -> System:
    await served.model.reset()
    (served.folder / "gate").touch()
    return served


async def ask(
    system: System, message: str, *, key: str | None = None, **form: str
) -> httpx2.Response:
    headers = {"Idempotency-Key": key} if key else {}
    fields = {"message": message, "stream": "false", **form}
    return await system.client.post("/agents/poet/runs", data=fields, headers=headers)


async def answer(system: System, message: str, **form: str) -> dict[str, Any]:
    reply = await ask(system, message, **form)
    assert reply.status_code == 200, reply.text
    output: dict[str, Any] = reply.json()
    return output


@asynccontextmanager
async def nats_of(system: System) -> AsyncIterator[Any]:
    """A NATS client that knows nothing of teambus."""
    bus = await nats.connect(system.nats.url)
    try:
        yield bus
    finally:
        await bus.close()


async def request(bus: Any, run_id: str, question: str) -> None:
    body = json.dumps({"kind": "run.request.v1", "run_id": run_id, "input": question})
    await bus.jetstream().publish("teambus.v1.request.default.poet.std", body.encode())


async def heard(system: System, what: str, run_id: str) -> list[dict[str, Any]]:
    """What the hook wrote of a run, once it did."""

    def lines() -> list[dict[str, Any]]:
        said = [json.loads(line) for line in system.hook_log.read_text().splitlines()]
        return [line for line in said if (line["what"], line["run"]) == (what, run_id)]

    async def some() -> bool:
        return bool(lines())

    await until(some, 30, lambda: f"not {what}: {run_id}; {system.hook_runner.tail(60)}")
    return lines()


async def test_an_agent_answers_by_itself_and_remembers_its_session(poet: System) -> None:
    await poet.model.rules(
        [{"match": ["alpha", "bravo"], "reply": "remembered"}, {"match": "", "reply": "A poem."}]
    )
    first = await answer(poet, "alpha", session_id="verses")
    second = await answer(poet, "bravo", session_id="verses")
    assert (first["agent_id"], first["agent_name"], first["status"]) == (
        "poet",
        "Poet",
        "COMPLETED",
    )
    assert {"team_id", "team_name", "member_responses"}.isdisjoint(first)
    assert (first["content"], second["content"]) == ("A poem.", "remembered")
    assert second["session_state"] == {"colour": "red", "poems": 2}
    path = f"/agents/poet/runs/{first['run_id']}"
    assert (await poet.client.get(path, params={"session_id": "verses"})).json() == first
    with sqlite3.connect(poet.folder / "agents.db") as connection:
        rows = connection.execute(
            "SELECT run_id, team_id, status FROM teambus_sessions_runs"
            " WHERE session_id = 'verses' ORDER BY fence"
        ).fetchall()
    connection.close()
    assert rows == [(run["run_id"], "poet", "COMPLETED") for run in (first, second)]


async def test_an_agents_hook_is_delivered_though_its_runner_was_killed(poet: System) -> None:
    (poet.folder / "gate").unlink()
    run_id = (await answer(poet, "charlie"))["run_id"]
    await heard(poet, "began", run_id)
    await poet.hook_runner.kill()
    (poet.folder / "gate").touch()
    await poet.hook_runner.start()
    [said] = await heard(poet, "ended", run_id)
    assert said == {
        "what": "ended",
        "hook": "poems",
        "run": run_id,
        "kind": "RunOutput",
        "agent": ["Poet", "poet", None],
        "status": "COMPLETED",
        "attempt": 1,
    }


async def test_a_killed_runner_loses_no_run_of_an_agent(poet: System) -> None:
    await poet.model.rules([{"match": "delta", "hold": "slow", "times": 1}])
    run_id = new_id()
    async with nats_of(poet) as bus:
        await request(bus, run_id, "delta")
        await poet.model.wait_for_calls(1, timeout_s=20)
        await poet.runner.kill()
        await poet.model.release("slow")
        await poet.runner.start()
    end = await poet.completed(run_id, team="poet", wait_s=60)
    assert (end.output.status, end.output.agent_id) == ("COMPLETED", "poet")


async def test_the_same_key_is_the_same_run_of_an_agent(poet: System) -> None:
    first = await ask(poet, "echo", key="k")
    calls = len(await poet.model.calls())
    again = await ask(poet, "echo", key="k")
    other = await ask(poet, "else", key="k")
    assert again.content == first.content
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
    assert len(await poet.model.calls()) == calls


async def test_a_nats_library_is_enough_to_ask_an_agent(poet: System) -> None:
    run_id = new_id()
    async with nats_of(poet) as bus:
        live = await bus.subscribe(f"teambus.v1.live.default.{run_id}.completed")
        await request(bus, run_id, "foxtrot")
        event = msgspec.json.decode((await live.next_msg(timeout=30)).data)
    assert (event["team_id"], event["output"]["agent_id"]) == ("poet", "poet")
    assert event["output"]["status"] == "COMPLETED"
    [said] = await heard(poet, "ended", run_id)
    assert said["kind"] == "RunOutput"


async def test_the_same_agent_as_a_member_is_the_teams_and_so_is_its_hook(poet: System) -> None:
    delegated = {"name": "delegate_task_to_member", "arguments": {"member_id": "poet", "task": "t"}}
    await poet.model.rules(
        [
            {"match": "golf", "has_tool_results": False, "tool_calls": [delegated]},
            {"match": "", "reply": "A poem."},
        ]
    )
    output = await poet.run("golf", team="desk", session_id="of-desk")
    [member] = output["member_responses"]
    assert (output["team_id"], member["agent_id"], member["content"]) == ("desk", "poet", "A poem.")
    [said] = await heard(poet, "ended", member["run_id"])
    assert (said["hook"], said["agent"]) == ("poems-members", ["Poet", "poet", None])


async def test_the_sessions_of_an_agent_are_its_own_among_those_of_teams(poet: System) -> None:
    client = poet.client
    made = await client.post("/sessions", json={"agent_id": "poet", "session_state": {"poems": 40}})
    session_id = made.json()["agent_session_id"]
    output = await answer(poet, "Write of spring", session_id=session_id)
    detail = (await client.get(f"/sessions/{session_id}")).json()
    assert (detail["agent_id"], detail["session_name"]) == ("poet", "Write of spring")
    assert detail["session_state"] == {"colour": "red", "poems": 41}
    assert detail["total_tokens"] == output["metrics"]["total_tokens"]
    assert detail["agent_data"]["name"] == "Poet"
    listed = (await client.get("/sessions?type=agent&component_id=poet&limit=100")).json()
    assert session_id in [session["session_id"] for session in listed["data"]]
    [run] = (await client.get("/agents/poet/runs", params={"session_id": session_id})).json()
    assert (run["run_id"], run["agent_id"]) == (output["run_id"], "poet")
    forked = await client.post(f"/agents/poet/sessions/{session_id}/fork")
    [copy] = (await client.get(f"/sessions/{forked.json()['session_id']}/runs")).json()
    assert (copy["content"], copy["forked_from_session_id"]) == (output["content"], session_id)
