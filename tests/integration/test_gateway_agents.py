"""The gateway's endpoints for agents that are served by themselves."""

from pathlib import Path

import msgspec

from teambus.bus import catalogue
from teambus.bus.api import Question, Reply, answering, ask
from teambus.contracts import subjects
from teambus.contracts.catalogue import AgentDescription, AppDescription
from teambus.contracts.message import decode
from teambus.contracts.run import RunCompleted, RunRequest
from tests.integration.gateway_parts import finished, system
from tests.support.system import until

POET = "/agents/poet"
NOT_FOUND = (404, {"detail": "Agent not found"})


async def test_agents_are_described_as_agentos_does(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway() as gateway:
        listed = (await gateway.http.get("/agents")).json()
        poet = (await gateway.http.get(POET)).json()
        config = (await gateway.http.get("/config")).json()
        info = (await gateway.http.get("/info")).json()
    assert listed == [poet]
    assert (poet["id"], poet["name"], poet["db_id"]) == ("poet", "Poet", "team-db")
    assert [agent["id"] for agent in config["agents"]] == ["poet"]
    assert (info["agent_count"], info["team_count"]) == (1, 1)


async def test_an_agent_is_no_team_and_a_team_no_agent(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway() as gateway:
        for path, detail in (("/agents/content-team", "Agent"), ("/teams/poet", "Team")):
            for reply in (
                await gateway.http.get(path),
                await gateway.post(path=path),
                await gateway.poll("r", "s", path=path),
            ):
                assert (reply.status_code, reply.json()) == (404, {"detail": f"{detail} not found"})
    assert here.runner.taken == []


async def test_an_agents_run_is_answered_without_a_team_in_it(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway() as gateway:
        reply = await gateway.post(path=POET, session_id="s", user_id="ann")
        body = reply.json()
        again = await gateway.poll(body["run_id"], "s", path=POET)
        of_team = await gateway.poll(body["run_id"], "s")
    assert reply.status_code == 200, body
    assert (body["agent_id"], body["agent_name"], body["content"]) == (
        "poet",
        "Poet",
        "answer to Hello",
    )
    assert {"team_id", "team_name", "member_responses"}.isdisjoint(body)
    assert (body["status"], body["content_type"], body["tools"]) == ("COMPLETED", "str", [])
    assert again.content == reply.content
    assert (of_team.status_code, of_team.json()) == (404, {"detail": "Run not found"})


async def test_an_agents_run_under_way_is_the_agents(tmp_path: Path) -> None:
    async with system(tmp_path, go=False) as here, here.gateway(reply_timeout_s=0.3) as gateway:
        late = await gateway.post(path=POET, session_id="s")
        poll = late.json()["poll"]
        assert (late.status_code, poll) == (
            504,
            f"{POET}/runs/{late.json()['run_id']}?session_id=s",
        )
        pending = (await gateway.http.get(poll)).json()
        here.runner.go.set()

        async def completed() -> bool:
            return bool((await gateway.http.get(poll)).json()["status"] == "COMPLETED")

        await until(completed, 10, "the run does not end")
    assert pending.pop("created_at") > 0
    assert pending == {
        "run_id": late.json()["run_id"],
        "agent_id": "poet",
        "agent_name": "Poet",
        "session_id": "s",
        "status": "PENDING",
        "content_type": "str",
        "model": "gpt-5.2",
        "model_provider": "OpenAI",
    }


async def test_an_agents_run_the_bus_has_forgotten_comes_from_the_database(tmp_path: Path) -> None:
    output = finished(RunRequest(run_id="old", input="x", session_id="s"), of_agent=True).output

    async def answer(_: Question) -> Reply:
        return Reply(msgspec.json.encode(output))

    subject = subjects.api("default", "db.team-db.run")
    async with system(tmp_path) as here, here.gateway() as gateway:
        async with answering(here.bus, subject, answer, queue="db", at_once_max=1):
            await here.bus.barrier()
            found = await gateway.poll("old", "s", path=POET)
            of_team = await gateway.poll("old", "s")
    assert (found.status_code, found.json()["agent_id"]) == (200, "poet")
    assert "team_id" not in found.json()
    assert of_team.status_code == 404


async def test_one_key_is_one_run_of_an_agent_and_another_of_a_team(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway() as gateway:
        first, again = [await gateway.post(path=POET, key="k") for _ in range(2)]
        other = await gateway.post(key="k")
    assert first.content == again.content
    assert other.status_code == 200
    assert first.json()["run_id"] != other.json()["run_id"]
    assert len(here.runner.taken) == 2


async def test_an_agent_is_asked_on_the_bus_by_its_id(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway():
        asked = msgspec.json.encode({"team_id": "poet", "input": "hi"})
        started = await ask(here.bus, subjects.api("default", "run.start"), asked, wait_s=10)
        assert started.error_code is None, started
        run_id = msgspec.json.decode(started.data)["run_id"]
        wanted = msgspec.json.encode({"team_id": "poet", "run_id": run_id, "timeout_s": 10})
        ended = await ask(here.bus, subjects.api("default", "run.wait"), wanted, wait_s=20)
    event = decode(RunCompleted, ended.data)
    assert (event.team_id, event.output.agent_id) == ("poet", "poet")
    assert event.output.content == "answer to hi"


async def test_an_agent_provisioned_later_is_known_at_once(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway(catalogue_poll_s=60) as gateway:
        late = await gateway.http.get("/agents/late")
        assert (late.status_code, late.json()) == NOT_FOUND
        agents = [AgentDescription(id="late", name="Late")]
        await catalogue.put(here.bus, AppDescription(id="other", agents=agents))
        assert (await gateway.http.get("/agents/late")).status_code == 200
        listed = (await gateway.http.get("/agents")).json()
    assert [agent["id"] for agent in listed] == ["late", "poet"]


async def test_the_openapi_document_describes_agents_as_teams(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway() as gateway:
        paths = (await gateway.http.get("/openapi.json")).json()["paths"]
    of_teams = {path for path in paths if path.startswith("/teams")}
    of_agents = {path for path in paths if path.startswith("/agents")}
    assert {path.replace("team", "agent") for path in of_teams} == of_agents
    post = paths["/agents/{agent_id}/runs"]["post"]
    assert (post["operationId"], post["tags"]) == ("run_agent", ["Agents"])
    assert {each["name"] for each in post["parameters"]} == {"agent_id", "Idempotency-Key"}
