"""The runs of a session over HTTP: where members stand, which fields, which errors."""

from pathlib import Path
from typing import Any

from teambus.contracts.output import RunStatus
from teambus_team_runner.sessions import SessionStore
from tests.integration.session_api_parts import library
from tests.integration.session_questions import member, spent, team_run

BYTES_MAX = 20_000
TEAM_FIELDS = [
    "run_id",
    "parent_run_id",
    "team_id",
    "user_id",
    "status",
    "cancellation_stage",
    "content",
    "reasoning_content",
    "reasoning_steps",
    "run_input",
    "run_response_format",
    "metrics",
    "tools",
    "messages",
    "events",
    "created_at",
    "references",
    "citations",
    "reasoning_messages",
    "session_state",
    "input_media",
    "images",
    "videos",
    "audio",
    "files",
    "response_audio",
    "followups",
    "forked_from_run_id",
    "forked_from_message_index",
    "forked_from_session_id",
    "regenerated_from",
    "last_checkpoint_at_message_index",
]
AGENT_FIELDS = [
    "run_id",
    "parent_run_id",
    "agent_id",
    "user_id",
    "status",
    "cancellation_stage",
    "run_input",
    "content",
    "run_response_format",
    "reasoning_content",
    "reasoning_steps",
    "metrics",
    "metadata",
    "messages",
    "tools",
    "events",
    "created_at",
    "references",
    "citations",
    "reasoning_messages",
    "session_state",
    "images",
    "videos",
    "audio",
    "files",
    "response_audio",
    "input_media",
    "followups",
    "forked_from_run_id",
    "forked_from_message_index",
    "forked_from_session_id",
    "regenerated_from",
    "last_checkpoint_at_message_index",
]
STATUSES = (
    "Invalid status value(s) ['A', 'X']; expected one of "
    "['CANCELLED', 'COMPLETED', 'ERROR', 'PAUSED', 'PENDING', 'REGENERATED', 'RUNNING']"
)
LEADERS = {"input_tokens": 10, "output_tokens": 1, "total_tokens": 11, "duration": 0.5}


async def save(store: SessionStore, run_id: str = "r1", fence: int = 1, **changes: Any) -> None:
    session_id = changes.pop("session_id", "s1")
    fields = {"team_id": "content-team", "user_id": "ada", **changes}
    await store.save(team_run(run_id, fence, session_id, **fields))


async def test_a_members_run_comes_before_its_teams_and_each_has_its_own_metrics(
    tmp_path: Path,
) -> None:
    async with library(tmp_path) as here:
        await save(here.store)
        await save(here.store, "r2", 2, content={"title": "x"}, content_type="Article")
        reply = await here.get("/sessions/s1/runs")
    runs = reply.json()
    ids = [run["run_id"] for run in runs]
    assert (reply.status_code, ids) == (200, ["r1-member", "r1", "r2-member", "r2"])
    of_member, of_team, _, structured = runs
    assert (of_member["parent_run_id"], of_member["agent_id"]) == ("r1", "writer")
    assert (of_team["parent_run_id"], of_team["team_id"]) == ("", "content-team")
    assert of_member["user_id"] == of_team["user_id"] == "ada"
    assert of_member["metrics"]["total_tokens"] == 6
    assert of_team["metrics"] == LEADERS | {"details": of_team["metrics"]["details"]}
    assert (of_team["run_input"], of_team["content"]) == ("question of r1", "answer of r1")
    assert of_team["created_at"] == "2023-11-14T22:13:20Z"
    assert (of_team["run_response_format"], structured["run_response_format"]) == ("text", "json")
    assert structured["content"] == {"title": "x"}
    assert "member_responses" not in of_team
    for run in runs:
        assert None not in run.values()
    # What is inside of a field keeps its nulls.
    assert of_team["tools"][0]["approval_id"] is None


async def test_one_run_has_every_field_and_nulls_are_kept(tmp_path: Path) -> None:
    async with library(tmp_path) as here:
        await save(here.store)
        of_team = (await here.get("/sessions/s1/runs/r1")).json()
        of_member = (await here.get("/sessions/s1/runs/r1-member")).json()
    assert list(of_team) == TEAM_FIELDS
    assert list(of_member) == AGENT_FIELDS
    assert (of_team["followups"], of_team["images"]) == (None, [])
    assert of_team["input_media"] == {"images": [], "videos": [], "audios": [], "files": []}
    assert of_member["messages"] is None
    assert of_member["content"] == "a member's words"


async def test_a_run_that_is_not_there_is_404(tmp_path: Path) -> None:
    async with library(tmp_path) as here:
        await save(here.store)
        await here.send("POST", "/sessions", {"session_id": "empty"}, type="team")
        none = await here.get("/sessions/empty/runs/r1")
        other = await here.get("/sessions/s1/runs/r")
        runs = await here.get("/sessions/empty/runs")
        previews = await here.get("/sessions/empty/run-previews")
    assert (none.status_code, none.json()) == (
        404,
        {"detail": "Session with ID empty has no runs"},
    )
    assert (other.status_code, other.json()) == (
        404,
        {"detail": "Run with ID r not found in session s1"},
    )
    assert runs.json() == previews.json() == []


async def test_runs_are_filtered_by_status_and_time_members_too(tmp_path: Path) -> None:
    failed = member("bad", "r2", status=RunStatus.ERROR, created_at=1_700_000_005)
    async with library(tmp_path) as here:
        await save(here.store)
        late = 1_700_000_003
        await save(here.store, "r2", 2, created_at=late, member_responses=[failed])

        async def found(**query: Any) -> list[str]:
            ids = []
            for part in ("runs", "run-previews"):
                runs = (await here.get(f"/sessions/s1/{part}", **query)).json()
                ids.append([run["run_id"] for run in runs])
            assert ids[0] == ids[1]
            return ids[0]

        assert await found(status="error") == ["bad"]
        assert await found(status=["ERROR", "completed"]) == ["r1-member", "r1", "bad", "r2"]
        assert await found(status="PENDING") == []
        assert await found(created_before=1_700_000_003) == ["r1-member", "r1", "r2"]
        for part in ("runs", "run-previews"):
            wrong = await here.get(f"/sessions/s1/{part}", status=["x", "completed", "a"])
            assert (wrong.status_code, wrong.json()["detail"]) == (
                400,
                STATUSES,
            )
            number = await here.get(f"/sessions/s1/{part}", created_after="x")
            assert number.json()["detail"][0]["loc"] == ["query", "created_after"]


async def test_previews_are_runs_in_a_few_words(tmp_path: Path) -> None:
    async with library(tmp_path) as here:
        await save(here.store, content="long " * 100)
        of_member, of_team = (await here.get("/sessions/s1/run-previews")).json()
    assert of_member == {
        "run_id": "r1-member",
        "parent_run_id": "r1",
        "agent_id": "writer",
        "user_id": "ada",
        "status": "COMPLETED",
        "run_input": "a task",
        "content_preview": "a member's words",
        "created_at": "2023-11-14T22:13:20Z",
    }
    assert of_team == {
        "run_id": "r1",
        "parent_run_id": "",
        "team_id": "content-team",
        "user_id": "ada",
        "status": "COMPLETED",
        "run_input": "question of r1",
        "content_preview": ("long " * 100)[:280],
        "created_at": "2023-11-14T22:13:20Z",
    }


async def test_the_runs_of_a_team_are_its_own_and_not_those_of_members(tmp_path: Path) -> None:
    async with library(tmp_path) as here:
        await save(here.store)
        await save(here.store, "r2", 2, status=RunStatus.ERROR)
        await save(here.store, "x", 3, team_id="guest-team")
        await save(here.store, "y", session_id="theirs", team_id="guest-team")

        async def asked(**query: Any) -> Any:
            return await here.get("/teams/content-team/runs", **query)

        runs = (await asked(session_id="s1")).json()
        errors = (await asked(session_id="s1", status="ERROR")).json()
        small = (await asked(session_id="s1", status="error")).json()
        absent = [await asked(session_id=id_) for id_ in ("nobody", "theirs")]
        nothing = await asked()
        no_team = await here.get("/teams/nobody/runs", session_id="s1")
    assert [list(run) for run in runs] == [TEAM_FIELDS, TEAM_FIELDS]
    assert [run["run_id"] for run in runs] == ["r1", "r2"]
    assert ([run["run_id"] for run in errors], small) == (["r2"], [])
    for reply in absent:
        assert (reply.status_code, reply.json()) == (404, {"detail": "Session not found"})
    assert nothing.status_code == 422
    assert nothing.json()["detail"][0]["loc"] == ["query", "session_id"]
    assert (no_team.status_code, no_team.json()) == (404, {"detail": "Team not found"})


async def test_more_runs_than_are_given_at_once_are_refused_with_what_to_do(
    tmp_path: Path,
) -> None:
    async with library(tmp_path, bytes_max=BYTES_MAX) as here:
        for n in (1, 2, 3):
            await save(here.store, f"r{n}", n, created_at=n, content="x" * (BYTES_MAX // 2))
        for path in ("/sessions/s1/runs", "/sessions/s1/run-previews"):
            refused = await here.get(path)
            assert refused.status_code == 413, path
            assert refused.json()["code"] == "session_too_large"
            assert "ask for fewer by the time they were made" in refused.json()["detail"]
        team = await here.get("/teams/content-team/runs", session_id="s1")
        fork = await here.send("POST", "/teams/content-team/sessions/s1/fork")
        some = await here.get("/sessions/s1/runs", created_before=1)
        detail = await here.get("/sessions/s1")
    assert team.status_code == fork.status_code == 413
    assert [run["run_id"] for run in some.json()] == ["r1"]
    assert detail.json()["total_tokens"] == 3 * 17


async def test_runs_that_fit_no_message_are_told_whole(tmp_path: Path) -> None:
    answer = "long " * 300_000
    async with library(tmp_path) as here:
        await save(here.store, content=answer, metrics=spent(1))
        run = (await here.get("/sessions/s1/runs/r1")).json()
        state = {"text": answer}
        changed = await here.send("PATCH", "/sessions/s1", {"session_state": state})
        session = (await here.get("/sessions/s1")).json()
    assert run["content"] == answer
    assert changed.status_code == 200
    assert session["session_state"] == state
