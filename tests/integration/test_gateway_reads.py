"""What the gateway tells of teams, of itself and of runs."""

import time
from pathlib import Path

import msgspec
import pytest

from teambus.bus import catalogue
from teambus.bus.api import Question, Reply, answering
from teambus.bus.publish import Publication, publish
from teambus.bus.sessions import Sessions
from teambus.contracts import subjects
from teambus.contracts.catalogue import AppDescription, TeamDescription
from teambus.contracts.journal import AttemptStarted, JournalEntry
from teambus.contracts.message import encode
from teambus.contracts.output import RunStatus
from teambus.contracts.run import RunRequest
from teambus.contracts.session import SessionClaim, SessionRecord
from tests.integration.gateway_parts import TEAM, Served, System, finished, system
from tests.support.system import until

NOT_FOUND = (404, {"detail": "Run not found"})


async def test_a_team_is_described_as_agentos_does(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway() as gateway:
        listed = (await gateway.http.get("/teams")).json()
        team = (await gateway.http.get("/teams/content-team")).json()
        nobody = await gateway.http.get("/teams/nobody")
    assert listed == [team]
    assert (nobody.status_code, nobody.json()) == (404, {"detail": "Team not found"})
    assert (team["id"], team["name"], team["mode"]) == ("content-team", "ContentTeam", "coordinate")
    assert team["model"] == {"name": "OpenAIChat", "model": "gpt-5.2", "provider": "OpenAI"}
    assert [tool["name"] for tool in team["tools"]["tools"]] == ["delegate_task_to_member"]
    assert [member["id"] for member in team["members"]] == ["researcher", "writer"]
    assert (team["is_factory"], team["is_component"], team["sandboxed"]) == (False, False, False)
    assert None not in team.values()


async def test_the_app_is_described_as_agentos_does(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway() as gateway:
        config = (await gateway.http.get("/config")).json()
        info = (await gateway.http.get("/info")).json()
        home = (await gateway.http.get("/")).json()
        health = (await gateway.http.get("/health")).json()
    required = {"os_id", "databases", "agents", "teams", "workflows", "interfaces", "company"}
    assert required <= config.keys()
    assert (config["os_id"], config["databases"]) == ("story", ["team-db"])
    assert config["available_models"] == [{"id": "gpt-5.2", "provider": "OpenAI"}]
    assert config["teams"][0]["model"] == {"id": "gpt-5.2", "provider": "OpenAI"}
    assert (info["team_count"], info["auth_mode"]) == (1, "none")
    assert info["mcp"] == {
        "enabled": False,
        "path": None,
        "oauth": None,
        "tool_run_endpoint": False,
    }
    assert home == {"name": "Story", "health": "/health", "info": "/info", "docs": "/docs"}
    assert health["status"] == "ok"
    assert health["instantiated_at"].endswith("Z")


async def test_the_openapi_document_describes_the_form(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway() as gateway:
        document = (await gateway.http.get("/openapi.json")).json()
        docs = await gateway.http.get("/docs")
    post = document["paths"]["/teams/{team_id}/runs"]["post"]
    kinds = post["requestBody"]["content"]
    assert kinds.keys() == {"multipart/form-data", "application/x-www-form-urlencoded"}
    assert kinds["multipart/form-data"]["schema"]["required"] == ["message"]
    assert {p["name"] for p in post["parameters"]} == {"team_id", "Idempotency-Key"}
    assert docs.status_code == 200


async def test_unknown_paths_and_methods_are_told_apart(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway() as gateway:
        path = await gateway.http.get("/nowhere")
        method = await gateway.http.delete("/teams")
    assert (path.status_code, path.json()) == (404, {"detail": "Not Found"})
    assert (method.status_code, method.json()) == (405, {"detail": "Method Not Allowed"})


async def test_what_nobody_expected_is_a_500_without_its_insides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with system(tmp_path) as here, here.gateway() as gateway:
        monkeypatch.setattr(gateway.parts.catalogue, "_teams", None)
        response = await gateway.http.get("/teams", headers={"Origin": "http://localhost:3000"})
    assert response.status_code == 500
    assert response.json() == {"detail": "Internal server error (AttributeError)"}
    assert response.headers["access-control-allow-origin"] == "http://localhost:3000"


async def test_a_team_provisioned_later_is_known_at_once(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway(catalogue_poll_s=60) as gateway:
        assert (await gateway.http.get("/teams/late")).status_code == 404
        team = TeamDescription(id="late", name="Late")
        await catalogue.put(here.bus, AppDescription(id="other", teams=[team]))
        assert (await gateway.http.get("/teams/late")).status_code == 200
        assert len((await gateway.http.get("/teams")).json()) == 2


async def test_a_changed_team_is_seen_within_the_poll(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway(catalogue_poll_s=0.05) as gateway:
        team = msgspec.structs.replace(TEAM, name="Renamed")
        await catalogue.put(here.bus, AppDescription(id="story", teams=[team]))

        async def renamed() -> bool:
            reply = await gateway.http.get("/teams/content-team")
            return bool(reply.json()["name"] == "Renamed")

        await until(renamed, 10, "the old name is still shown")


async def test_a_run_is_found_only_under_its_team_and_session(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway() as gateway:
        body = (await gateway.post(session_id="s")).json()
        assert (await gateway.poll(body["run_id"], "s")).json() == body
        for reply in (
            await gateway.poll(body["run_id"], "other"),
            await gateway.poll("nobody", "s"),
            await gateway.poll(">", "s"),
        ):
            assert (reply.status_code, reply.json()) == NOT_FOUND
        no_team = await gateway.http.get(f"/teams/x/runs/{body['run_id']}?session_id=s")
        assert no_team.json() == {"detail": "Team not found"}
        no_session = await gateway.http.get(f"/teams/content-team/runs/{body['run_id']}")
        assert no_session.status_code == 422
        assert no_session.json()["detail"][0]["loc"] == ["query", "session_id"]


async def _begin(here: System, run_id: str, team_id: str = TEAM.id) -> None:
    """What a runner writes when it takes a run."""
    started = AttemptStarted(
        runner="test", request_seq=1, team_id=team_id, request_digest="", at=time.time()
    )
    entry = JournalEntry(nonce=run_id, attempt="a", n=0, records=[started])
    subject = subjects.journal("default", run_id)
    await publish(here.bus, Publication(subject, encode(entry), run_id))


async def test_an_accepted_run_is_pending_until_a_runner_takes_it(tmp_path: Path) -> None:
    async with system(tmp_path, work=False) as here:
        async with here.gateway(reply_timeout_s=0.1) as gateway:
            await gateway.post("Hello", run_id="r", session_id="s", metadata='{"urgent": true}')
            pending = (await gateway.poll("r", "s")).json()
            await _begin(here, "r")
            running = (await gateway.poll("r", "s")).json()
            other = await gateway.poll("r", "other")
    created_at = pending.pop("created_at")
    assert abs(created_at - time.time()) < 60
    assert pending == {
        "run_id": "r",
        "team_id": "content-team",
        "team_name": "ContentTeam",
        "session_id": "s",
        "status": "PENDING",
        "content_type": "str",
        "member_responses": [],
        "model": "gpt-5.2",
        "model_provider": "OpenAI",
    }
    assert running == pending | {
        "status": "RUNNING",
        "created_at": created_at,
        "input": {"input_content": "Hello"},
        "metadata": {"urgent": True},
        "metrics": {},
    }
    assert (other.status_code, other.json()) == NOT_FOUND


async def test_a_run_at_work_is_not_told_to_have_been_asked_what_another_was(
    tmp_path: Path,
) -> None:
    async with system(tmp_path, work=False) as here:
        async with here.gateway(reply_timeout_s=0.1) as gateway:
            await gateway.post("Something else", run_id="other", session_id="s")
            await gateway.post("Hello", run_id="r", session_id="s")
            await _begin(here, "r")
            running = (await gateway.poll("r", "s")).json()
    assert (running["status"], running.get("input")) == ("RUNNING", None)


async def test_a_run_nobody_accepted_is_found_by_its_journal_and_session(tmp_path: Path) -> None:
    async with system(tmp_path, work=False) as here, here.gateway() as gateway:
        await _begin(here, "r")
        assert (await gateway.poll("r", "s")).status_code == 404
        sessions = Sessions(here.bus)
        claim = SessionClaim(run_id="r", team_id=TEAM.id, request_seq=1)
        seen = await sessions.read("default", "s")
        await sessions.replace(seen, SessionRecord(tenant="default", session_id="s", holder=claim))
        assert (await gateway.poll("r", "s")).json()["status"] == "RUNNING"
        await _begin(here, "elsewhere", team_id="other-team")
        assert (await gateway.poll("elsewhere", "s")).status_code == 404


async def _ask_for_old_run(gateway: Served) -> tuple[int, object]:
    response = await gateway.poll("old", "s")
    return response.status_code, response.json()


async def test_a_run_the_bus_has_forgotten_comes_from_the_database(tmp_path: Path) -> None:
    request = RunRequest(run_id="old", input="x", session_id="s")
    output = finished(request, status=RunStatus.COMPLETED).output
    asked: list[object] = []
    reply = Reply(msgspec.json.encode(output))

    async def answer(question: Question) -> Reply:
        asked.append(msgspec.json.decode(question.data))
        return reply

    subject = subjects.api("default", "db.team-db.run")
    async with system(tmp_path) as here, here.gateway(store_timeout_s=0.3) as gateway:
        assert await _ask_for_old_run(gateway) == NOT_FOUND
        async with answering(here.bus, subject, answer, queue="db", at_once_max=1):
            await here.bus.barrier()
            assert await _ask_for_old_run(gateway) == (200, msgspec.to_builtins(output))
            assert asked == [{"run_id": "old", "session_id": "s"}]
            reply = Reply(b"")
            assert await _ask_for_old_run(gateway) == NOT_FOUND
            output.team_id = "other-team"
            reply = Reply(msgspec.json.encode(output))
            assert await _ask_for_old_run(gateway) == NOT_FOUND
            reply = Reply.error(503, "database is away")
            assert (await _ask_for_old_run(gateway))[0] == 503
