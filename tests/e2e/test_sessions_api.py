"""The sessions that real runs leave, asked for and changed over HTTP and with a NATS library."""

import json
from typing import Any

import httpx2
import pytest

from teambus.contracts.ids import new_id
from tests.support.system import System

pytestmark = [pytest.mark.timeout(240), pytest.mark.asyncio(loop_scope="module")]

QUESTION = "What is a session?"


async def a_session(story: System, **form: str) -> tuple[str, dict[str, Any]]:
    """The id of a session with one run of a leader and two members, and that run."""
    session_id = form.pop("session_id", new_id())
    return session_id, await story.run(QUESTION, session_id=session_id, user_id="ada", **form)


async def got(story: System, path: str, **query: Any) -> Any:
    reply = await story.client.get(path, params=query)
    assert reply.status_code == 200, reply.text
    return reply.json()


def told(reply: httpx2.Response) -> tuple[int, Any]:
    return reply.status_code, reply.json()["detail"]


async def test_a_session_adds_up_what_its_leader_and_members_used(lasting_story: System) -> None:
    session_id, output = await a_session(lasting_story)
    detail = await got(lasting_story, f"/sessions/{session_id}")
    listed = await got(lasting_story, "/sessions", session_name=QUESTION, user_id="ada", limit=100)
    [mine] = [each for each in listed["data"] if each["session_id"] == session_id]
    members = output["member_responses"]
    assert len(members) == 2
    spent = [run["metrics"]["total_tokens"] for run in (output, *members)]
    assert detail["total_tokens"] == mine["total_tokens"] == sum(spent) > spent[0] > 0
    assert detail["metrics"] == mine["metrics"]
    assert (mine["session_name"], mine["session_type"]) == (QUESTION, "team")
    assert (mine["team_id"], mine["user_id"]) == ("content-team", "ada")
    said = [(each["role"], each.get("content")) for each in detail["chat_history"]]
    assert (said[0], said[-1]) == (("user", QUESTION), ("assistant", output["content"]))
    assert detail["team_data"]["name"] == output["team_name"]


async def test_the_runs_of_a_session_are_those_that_were_answered(lasting_story: System) -> None:
    session_id, output = await a_session(lasting_story)
    ids = [*(each["run_id"] for each in output["member_responses"]), output["run_id"]]
    runs = await got(lasting_story, f"/sessions/{session_id}/runs")
    assert [run["run_id"] for run in runs] == ids
    assert [run["parent_run_id"] for run in runs] == [output["run_id"]] * 2 + [""]
    assert runs[-1]["messages"] == output["messages"]
    assert runs[-1]["metrics"] == output["metrics"]
    previews = await got(lasting_story, f"/sessions/{session_id}/run-previews", status="completed")
    assert [run["run_id"] for run in previews] == ids
    whole = [await got(lasting_story, f"/sessions/{session_id}/runs/{id_}") for id_ in ids]
    for run, one in zip(runs, whole, strict=True):
        assert {name: one[name] for name in run} == run
    [of_team] = await got(lasting_story, "/teams/content-team/runs", session_id=session_id)
    assert of_team == whole[-1]


async def test_what_a_session_was_made_with_is_there_for_its_runs_and_after_them(
    lasting_story: System,
) -> None:
    client, session_id = lasting_story.client, new_id()
    given = {
        "session_id": session_id,
        "team_id": "content-team",
        "session_name": "Before",
        "session_state": {"colour": "red"},
        "metadata": {"plan": "free"},
        "user_id": "ada",
    }
    made = await client.post("/sessions?type=team", json=given)
    assert made.status_code == 201
    assert told(await client.post("/sessions?type=team", json=given))[0] == 409
    _, output = await a_session(lasting_story, session_id=session_id)
    assert output["status"] == "COMPLETED"
    detail = await got(lasting_story, f"/sessions/{session_id}")
    assert (detail["session_name"], detail["metadata"]) == ("Before", {"plan": "free"})
    assert detail["session_state"] == {"colour": "red"}
    assert detail["total_tokens"] > 0
    theirs = await lasting_story.post(QUESTION, session_id=session_id, user_id="bob")
    assert told(theirs) == (404, "Session not found")


async def test_a_session_is_changed_forked_and_deleted(lasting_story: System) -> None:
    client = lasting_story.client
    session_id, output = await a_session(lasting_story)
    path = f"/sessions/{session_id}"
    renamed = await client.post(f"{path}/rename", json={"session_name": "Mine"})
    changed = await client.patch(path, json={"session_state": {"a": 1}, "metadata": {"m": 1}})
    assert (renamed.json()["session_name"], changed.json()["session_name"]) == ("Mine", "Mine")

    forked = await client.post(f"/teams/content-team{path}/fork")
    copy_id = forked.json()["session_id"]
    again = await lasting_story.run("And now?", session_id=copy_id, user_id="ada")
    assert again["status"] == "COMPLETED"
    copy = await got(lasting_story, f"/sessions/{copy_id}")
    assert (copy["session_name"], copy["session_state"]) == ("Mine", {"a": 1})
    runs = await got(lasting_story, f"/sessions/{copy_id}/runs")
    assert len(runs) == 6
    assert output["run_id"] not in [run["run_id"] for run in runs]
    polled = f"/teams/content-team/runs/{runs[2]['run_id']}"
    assert (await got(lasting_story, polled, session_id=copy_id))["content"] == output["content"]

    assert (await client.delete(path)).status_code == 204
    assert told(await client.get(path)) == (404, f"Session with id '{session_id}' not found")
    both = {"session_ids": [session_id, copy_id], "session_types": ["team", "team"]}
    assert (await client.request("DELETE", "/sessions", json=both)).status_code == 204
    assert (await client.get(f"/sessions/{copy_id}")).status_code == 404


async def test_what_is_wrong_is_told_and_changes_nothing(lasting_story: System) -> None:
    client = lasting_story.client
    session_id, _ = await a_session(lasting_story)
    path = f"/sessions/{session_id}"
    before = await got(lasting_story, path)
    for reply, status in (
        (await client.patch(path, json={"session_state": 1}), 422),
        (await client.post(f"{path}/rename", json={}), 422),
        (await client.get("/sessions?limit=0"), 422),
        (await client.get("/sessions?type=x"), 422),
        (await client.get(f"{path}/runs?status=x"), 400),
        (await client.get("/sessions?table=x"), 400),
        (await client.get("/sessions?db_id=x"), 404),
        (await client.get(f"{path}/runs/nobody"), 404),
        (await client.get("/teams/content-team/runs?session_id=nobody"), 404),
        (await client.post("/teams/content-team/sessions/nobody/fork"), 400),
        (await client.post("/teams/nobody/sessions/x/fork"), 404),
        (await client.request("DELETE", "/sessions", json={"session_ids": []}), 422),
        (await client.put(path, json={}), 405),
    ):
        assert reply.status_code == status, reply.text
        assert reply.json()["detail"]
    assert await got(lasting_story, path) == before


async def test_a_nats_library_is_enough_to_ask_about_sessions(lasting_story: System) -> None:
    session_id, output = await a_session(lasting_story)

    async def asked(verb: str, **question: Any) -> Any:
        subject = f"teambus.v1.api.default.db.team-db.sessions.{verb}"
        reply = await lasting_story.bus.client.request(
            subject, json.dumps(question).encode(), timeout=10
        )
        assert not reply.headers, reply.headers
        return json.loads(reply.data)

    page = await asked("list", user_id="ada", limit=1000)
    assert session_id in [session["session_id"] for session in page["sessions"]]
    found = await asked("runs", session_id=session_id)
    assert found["runs"] == [output]
    assert found["session"]["metrics"]["total_tokens"] > output["metrics"]["total_tokens"]
    named = await asked("change", session_id=session_id, session_name="By NATS")
    assert named["session"]["session_name"] == "By NATS"
    assert (await got(lasting_story, f"/sessions/{session_id}"))["session_name"] == "By NATS"
    assert await asked("delete", session_ids=[session_id]) == {"deleted": 1}


async def test_sessions_are_there_when_the_runner_is_and_after_it_was_killed(
    lasting_story: System,
) -> None:
    session_id, _ = await a_session(lasting_story)
    path = f"/sessions/{session_id}"
    before = await got(lasting_story, path)
    await lasting_story.runner.kill()
    away = await lasting_story.client.get(path)
    assert (away.status_code, away.json()["code"]) == (503, "database_unserved")
    assert away.headers["retry-after"]
    await lasting_story.runner.start()
    assert await got(lasting_story, path) == before
