"""The endpoints of sessions, field by field as AgentOS has them, in front of a real database."""

from pathlib import Path
from typing import Any

import pytest

from teambus.contracts.output import RunStatus
from teambus_team_runner.sessions import SessionStore
from tests.integration.session_api_parts import Library, library
from tests.integration.session_questions import team_run

METRICS = {
    "input_tokens": 15,
    "output_tokens": 2,
    "total_tokens": 17,
    "details": {
        "model": [
            {
                "id": "gpt-5.2",
                "provider": "OpenAI",
                "input_tokens": 15,
                "output_tokens": 2,
                "total_tokens": 17,
            }
        ]
    },
}
TIMES = {"created_at": "2023-11-14T22:13:20Z", "updated_at": "2023-11-14T22:13:21Z"}
NO_SESSION = (404, {"detail": "Session with id 'nobody' not found"})


async def save(store: SessionStore, run_id: str = "r1", fence: int = 1, **changes: Any) -> None:
    session_id = changes.pop("session_id", "s1")
    fields = {"team_id": "content-team", "user_id": "ada", **changes}
    await store.save(team_run(run_id, fence, session_id, **fields))


async def told(reply: Any) -> tuple[int, Any]:
    return reply.status_code, reply.json()


def wrong(reply: Any) -> list[tuple[str, list[Any]]]:
    assert reply.status_code == 422, reply.text
    return [(each["type"], each["loc"]) for each in reply.json()["detail"]]


async def test_a_list_has_a_page_of_sessions_and_says_how_many_there_are(tmp_path: Path) -> None:
    async with library(tmp_path) as here:
        await save(here.store, state={"seen": 1})
        await here.send("POST", "/sessions", {"session_id": "bare"}, type="team")
        status, body = await told(await here.get("/sessions"))
        second = (await here.get("/sessions", limit=1, page=2)).json()
        beyond = (await here.get("/sessions", limit=1, page=9)).json()
        zero = (await here.get("/sessions", limit=1, page=0)).json()
    assert status == 200
    bare, used = body["data"]
    assert used == {
        "session_id": "s1",
        "session_name": "question of r1",
        "session_state": {"seen": 1},
        **TIMES,
        "session_type": "team",
        "user_id": "ada",
        "team_id": "content-team",
        "metrics": METRICS,
        "total_tokens": 17,
    }
    assert list(bare) == [
        "session_id",
        "session_name",
        "created_at",
        "updated_at",
        "session_type",
    ]
    took = body["meta"].pop("search_time_ms")
    assert isinstance(took, float)
    assert took > 0
    assert body["meta"] == {"page": 1, "limit": 20, "total_pages": 1, "total_count": 2}
    assert [each["session_id"] for each in second["data"]] == ["s1"]
    assert (second["meta"]["total_pages"], second["meta"]["total_count"]) == (2, 2)
    assert (beyond["data"], beyond["meta"]["page"], beyond["meta"]["total_count"]) == ([], 9, 2)
    assert [each["session_id"] for each in zero["data"]] == ["bare"]


async def test_a_list_is_filtered_and_sorted(tmp_path: Path) -> None:
    async with library(tmp_path) as here:
        await save(here.store)
        await save(here.store, "r2", session_id="s2", user_id="bob", created_at=5)
        await here.send("POST", "/sessions", {"session_id": "a1", "agent_id": "clerk"})

        async def found(**query: Any) -> list[str]:
            listed = (await here.get("/sessions", **query)).json()["data"]
            return [session["session_id"] for session in listed]

        assert await found(type="agent") == ["a1"]
        assert await found(type="workflow") == []
        assert await found(component_id="clerk") == ["a1"]
        assert await found(component_id="content-team", user_id="bob") == ["s2"]
        assert await found(session_name="QUESTION of r1") == ["s1"]
        assert await found(sort_by="session_id", sort_order="asc") == ["a1", "s1", "s2"]
        assert await found(sort_by="agent_id") == ["s2", "s1", "a1"]
        assert await found(sort_by="no such field") == ["a1", "s1", "s2"]


async def test_a_session_is_told_with_what_was_said_in_it(tmp_path: Path) -> None:
    async with library(tmp_path) as here:
        await save(here.store, state={"seen": 1})
        status, body = await told(await here.get("/sessions/s1"))
    said = body.pop("chat_history")
    assert [(each["role"], each["content"]) for each in said] == [
        ("user", "question of r1"),
        ("assistant", "answer of r1"),
    ]
    model = {"id": "gpt-5.2", "name": "OpenAIChat", "provider": "OpenAI"}
    assert (status, body) == (
        200,
        {
            "session_id": "s1",
            "session_name": "question of r1",
            "session_state": {"seen": 1},
            "user_id": "ada",
            "team_id": "content-team",
            "metrics": METRICS,
            "team_data": {"name": "ContentTeam", "team_id": "content-team", "model": model},
            **TIMES,
            "total_tokens": 17,
        },
    )


async def test_a_session_of_an_agent_has_its_shape_its_runs_and_its_forks(tmp_path: Path) -> None:
    own: dict[str, Any] = {"team_id": "clerk", "agent_id": "clerk", "member_responses": []}
    async with library(tmp_path) as here:
        await save(here.store, **own)
        await save(here.store, "x", session_id="s2")
        [listed] = (await here.get("/sessions", type="agent")).json()["data"]
        session = (await here.get("/sessions/s1")).json()
        of_session = (await here.get("/sessions/s1/runs/r1")).json()
        runs = (await here.get("/agents/clerk/runs", session_id="s1")).json()
        of_team = await here.get("/agents/clerk/runs", session_id="s2")
        forked = await here.send("POST", "/agents/clerk/sessions/s1/fork")
        not_forked = await here.send("POST", "/agents/clerk/sessions/s2/fork")
        nobody = await here.get("/agents/content-team/runs", session_id="s1")
    assert (listed["agent_id"], listed["session_type"]) == ("clerk", "agent")
    assert "team_id" not in listed
    assert (session["agent_session_id"], session["agent_id"]) == ("s1", "clerk")
    model = {"id": "gpt-5.2", "name": "OpenAIChat", "provider": "OpenAI"}
    assert session["agent_data"] == {"name": "Clerk", "agent_id": "clerk", "model": model}
    assert session["total_tokens"] == 11
    assert runs == [of_session]
    assert (of_session["agent_id"], "team_id" in of_session) == ("clerk", False)
    assert await told(of_team) == (404, {"detail": "Session not found"})
    assert forked.status_code == 200
    assert not_forked.status_code == 400
    assert await told(nobody) == (404, {"detail": "Agent not found"})


async def test_a_session_is_shown_as_the_type_that_is_asked_for(tmp_path: Path) -> None:
    async with library(tmp_path) as here:
        await save(here.store)
        as_agent = (await here.get("/sessions/s1", type="agent")).json()
        workflow = await here.get("/sessions/s1", type="workflow")
    assert (as_agent["agent_session_id"], as_agent["session_id"]) == ("s1", "s1")
    assert "team_id" not in as_agent
    assert "agent_id" not in as_agent
    assert workflow.json() == {"detail": "Workflow Session with id 's1' not found"}


async def test_a_session_that_is_not_there_is_404_in_the_words_of_each_endpoint(
    tmp_path: Path,
) -> None:
    async with library(tmp_path) as here:
        await save(here.store)
        assert await told(await here.get("/sessions/nobody")) == NO_SESSION
        typed = await here.get("/sessions/nobody", type="team")
        assert typed.json() == {"detail": "Team Session with id 'nobody' not found"}
        others = await here.get("/sessions/s1", user_id="bob")
        assert await told(others) == (404, {"detail": "Session with id 's1' not found"})
        assert await told(await here.send("PATCH", "/sessions/nobody", {})) == NO_SESSION
        renamed = await here.send("POST", "/sessions/nobody/rename", {"session_name": "x"})
        assert await told(renamed) == NO_SESSION
        for part in ("runs", "run-previews", "runs/r1"):
            reply = await here.get(f"/sessions/nobody/{part}")
            assert await told(reply) == (404, {"detail": "Session with ID nobody not found"})


async def test_a_session_is_made_with_what_it_is_given(tmp_path: Path) -> None:
    given = {
        "session_id": "a1",
        "session_name": "N",
        "session_state": {"a": 1},
        "metadata": {"m": 1},
        "user_id": "ada",
        "agent_id": "clerk",
        "team_id": None,
    }
    async with library(tmp_path) as here:
        agent = await here.send("POST", "/sessions", given)
        team = await here.send(
            "POST", "/sessions", {"session_id": "t1", "team_id": "content-team"}, type="team"
        )
        bare = await here.gateway.http.post("/sessions")
        empty_id = await here.send("POST", "/sessions", {"session_id": ""})
        again = await here.send("POST", "/sessions", {"session_id": "a1", "session_name": "M"})
        kept = (await here.get("/sessions/a1")).json()
    body = agent.json()
    assert body.pop("created_at") == body.pop("updated_at")
    assert (agent.status_code, body) == (
        201,
        {
            "user_id": "ada",
            "agent_session_id": "a1",
            "session_id": "a1",
            "session_name": "N",
            "session_state": {"a": 1},
            "agent_id": "clerk",
            "metrics": {},
            "metadata": {"m": 1},
            "chat_history": [],
        },
    )
    of_team = team.json()
    assert of_team.pop("created_at") == of_team.pop("updated_at")
    assert of_team == {
        "session_id": "t1",
        "session_name": "",
        "team_id": "content-team",
        "chat_history": [],
    }
    assert bare.status_code == empty_id.status_code == 201
    assert len(bare.json()["session_id"]) == 36
    assert set(bare.json()) == {
        "agent_session_id",
        "session_id",
        "session_name",
        "chat_history",
        "created_at",
        "updated_at",
    }
    assert await told(again) == (
        409,
        {"detail": "Session with id 'a1' already exists. Use PATCH /sessions/a1 to update it."},
    )
    assert kept["session_name"] == "N"


async def test_what_cannot_be_made_is_told_field_by_field(tmp_path: Path) -> None:
    bad = {"session_id": 1, "session_state": "x", "metadata": []}
    async with library(tmp_path) as here:
        post = here.gateway.http.post
        assert wrong(await here.send("POST", "/sessions", bad)) == [
            ("string_type", ["body", "session_id"]),
            ("dict_type", ["body", "session_state"]),
            ("dict_type", ["body", "metadata"]),
        ]
        long = {"session_id": "x" * 513, "session_name": "x" * 1001}
        assert wrong(await here.send("POST", "/sessions", long)) == [
            ("string_too_long", ["body", "session_id"]),
            ("string_too_long", ["body", "session_name"]),
        ]
        nul = {"session_id": "a\x00b"}
        assert wrong(await here.send("POST", "/sessions", nul)) == [
            ("string_pattern_mismatch", ["body", "session_id"])
        ]
        for body in ([1], "text"):
            assert wrong(await here.send("POST", "/sessions", body)) == [
                ("model_attributes_type", ["body"])
            ]
        as_text = await post("/sessions", content=b"{}", headers={"content-type": "text/plain"})
        assert wrong(as_text) == [("model_attributes_type", ["body"])]
        json = {"content-type": "application/json"}
        for content in (b"{", b'{"a": \xff}', b'{"session_name": "\\ud800"}', b"[" * 100_000):
            broken = await post("/sessions", content=content, headers=json)
            assert wrong(broken) == [("json_invalid", ["body"])], content[:20]
        deep = await post(
            "/sessions",
            content=b'{"metadata": {"a": ' + b"[" * 99 + b"]" * 99 + b"}}",
            headers=json,
        )
        assert wrong(deep) == [("value_error", ["body"])]
        assert wrong(await here.send("POST", "/sessions", {}, type="x")) == [
            ("enum", ["query", "type"])
        ]
        workflow = await here.send("POST", "/sessions", {}, type="workflow")
        assert workflow.status_code == 501
        assert (await here.get("/sessions")).json()["meta"]["total_count"] == 0


async def test_each_thing_given_replaces_the_stored_one(tmp_path: Path) -> None:
    async with library(tmp_path) as here:
        await save(here.store, state={"seen": 1})
        renamed = await here.send("POST", "/sessions/s1/rename", {"session_name": "Mine"})
        change = {"session_state": {"z": 2}, "metadata": {"m": 1}, "session_name": None}
        changed = await here.send("PATCH", "/sessions/s1", change)
        summary = {"summary": "short", "topics": ["x"]}
        summed = await here.send("PATCH", "/sessions/s1", {"summary": summary})
        listed = (await here.get("/sessions")).json()["data"]
    assert renamed.status_code == changed.status_code == summed.status_code == 200
    body = renamed.json()
    assert (body["session_name"], body["session_state"]) == ("Mine", {"seen": 1})
    assert (body["session_summary"], body["metadata"]) == (None, None)
    assert [each["role"] for each in body["chat_history"]] == ["user", "assistant"]
    body = changed.json()
    assert (body["session_name"], body["session_state"]) == ("Mine", {"z": 2})
    assert body["metadata"] == {"m": 1}
    assert summed.json()["session_summary"] == summary
    assert listed[0]["session_summary"] == summary
    assert summed.json()["metrics"] == METRICS


async def test_a_wrong_change_is_told_and_changes_nothing(tmp_path: Path) -> None:
    async with library(tmp_path) as here:
        await save(here.store, state={"seen": 1})
        before = (await here.get("/sessions/s1")).json()
        bad = {"session_state": [], "session_name": 3, "summary": {"x": 1}}
        assert wrong(await here.send("PATCH", "/sessions/s1", bad)) == [
            ("string_type", ["body", "session_name"]),
            ("dict_type", ["body", "session_state"]),
            ("missing", ["body", "summary", "summary"]),
            ("extra_forbidden", ["body", "summary", "x"]),
        ]
        assert wrong(await here.send("PATCH", "/sessions/s1")) == [("missing", ["body"])]
        name = [("missing", ["body", "session_name"])]
        assert wrong(await here.send("POST", "/sessions/s1/rename")) == name
        assert wrong(await here.send("POST", "/sessions/s1/rename", {})) == name
        assert (await here.get("/sessions/s1")).json() == before


async def test_deleting_is_204_also_of_what_is_not_there(tmp_path: Path) -> None:
    async with library(tmp_path) as here:
        for n in range(4):
            await save(here.store, f"r{n}", session_id=f"s{n}")
        one = await here.send("DELETE", "/sessions/s0")
        again = await here.send("DELETE", "/sessions/s0")
        others = await here.send("DELETE", "/sessions/s3", user_id="bob")
        media = await here.send("DELETE", "/sessions/s3", delete_media=True)
        many = {"session_ids": ["s1", "s2", "x"], "session_types": ["team", "team", "agent"]}
        several = await here.send("DELETE", "/sessions", many)
        left = (await here.get("/sessions")).json()["data"]
        uneven = {"session_ids": ["s3"], "session_types": ["team", "team"]}
        refused = await here.send("DELETE", "/sessions", uneven)
        nothing = {"session_ids": [], "session_types": ["x"]}
        assert wrong(await here.send("DELETE", "/sessions", nothing)) == [
            ("too_short", ["body", "session_ids"]),
            ("enum", ["body", "session_types", 0]),
        ]
        assert wrong(await here.send("DELETE", "/sessions")) == [("missing", ["body"])]
    for reply in (one, again, others, several):
        assert (reply.status_code, reply.content) == (204, b"")
    assert [session["session_id"] for session in left] == ["s3"]
    assert await told(media) == (503, {"detail": "Media storage is not configured on AgentOS"})
    assert await told(refused) == (
        400,
        {"detail": "Session IDs and session types must have the same length"},
    )


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"limit": 0}, [("greater_than_equal", ["query", "limit"])]),
        ({"limit": 1001}, [("less_than_equal", ["query", "limit"])]),
        ({"page": 2**40}, [("less_than_equal", ["query", "page"])]),
        (
            {"sort_order": "x", "type": "z", "page": "-1", "limit": "q"},
            [
                ("enum", ["query", "type"]),
                ("int_parsing", ["query", "limit"]),
                ("greater_than_equal", ["query", "page"]),
                ("enum", ["query", "sort_order"]),
            ],
        ),
    ],
)
async def test_a_wrong_query_is_told_field_by_field(
    tmp_path: Path, query: dict[str, Any], expected: list[tuple[str, list[str]]]
) -> None:
    async with library(tmp_path) as here:
        assert wrong(await here.get("/sessions", **query)) == expected


async def a_fork(here: Library, session_id: str, **query: Any) -> Any:
    return await here.send("POST", f"/teams/content-team/sessions/{session_id}/fork", **query)


async def test_a_fork_is_a_session_of_its_own(tmp_path: Path) -> None:
    async with library(tmp_path) as here:
        await save(here.store, state={"seen": 1})
        await save(here.store, "x", session_id="theirs", team_id="other-team")
        await here.send("POST", "/sessions", {"session_id": "empty"}, type="team")
        forked = await a_fork(here, "s1")
        copy = (await here.get(f"/sessions/{forked.json()['session_id']}")).json()
        runs = (await here.get(f"/sessions/{forked.json()['session_id']}/runs")).json()
        nobody = await here.send("POST", "/teams/nobody/sessions/s1/fork")
        refused = [await a_fork(here, id_) for id_ in ("empty", "nobody", "theirs")]
        refused.append(await a_fork(here, "s1", user_id="bob"))
    assert forked.status_code == 200
    assert forked.json() == {
        "session_id": forked.json()["session_id"],
        "forked_from_session_id": "s1",
    }
    assert (copy["session_name"], copy["session_state"]) == ("question of r1", {"seen": 1})
    assert copy["metrics"] == METRICS
    of_member, of_team = runs
    assert of_member["parent_run_id"] == of_team["run_id"] != "r1"
    assert (of_team["forked_from_session_id"], of_team["status"]) == ("s1", RunStatus.COMPLETED)
    assert await told(nobody) == (404, {"detail": "Team not found"})
    for reply in refused:
        assert await told(reply) == (400, {"detail": "Source session has no runs to fork."})
