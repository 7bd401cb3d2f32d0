"""Runs that nobody waits for: accepted, polled, streamed with numbers, sent again."""

import asyncio
from pathlib import Path

import msgspec

from teambus.bus import catalogue, reads, topology
from teambus.bus.publish import Publication, publish
from teambus.contracts import subjects
from teambus.contracts.catalogue import AppDescription, TeamDescription
from teambus.contracts.journal import AttemptStarted, JournalEntry
from teambus.contracts.message import decode, encode
from teambus.contracts.output import RunStatus
from teambus.contracts.run import RunAccepted, RunCompleted, RunRequest
from tests.integration.gateway_parts import AGENT, TEAM, System, finished, reconnected, system
from tests.integration.stream_parts import speaker_of, streaming
from tests.support.sse import numbers


async def begin(here: System, run_id: str) -> None:
    """What a runner writes when it takes a run."""
    started = AttemptStarted(runner="test", request_seq=1, team_id=TEAM.id, request_digest="", at=1)
    entry = JournalEntry(nonce=run_id, attempt="a", n=0, records=[started])
    subject = subjects.journal("default", run_id)
    await publish(here.bus, Publication(subject, encode(entry), run_id))


async def test_a_background_run_is_accepted_and_polled_to_its_end(tmp_path: Path) -> None:
    async with system(tmp_path, go=False) as here, here.gateway() as gateway:
        response = await gateway.post(background="true")
        body = response.json()
        assert response.status_code == 202
        assert list(body) == ["run_id", "session_id", "status"]
        assert body["status"] == "PENDING"
        where = (body["run_id"], body["session_id"])
        assert (await gateway.poll(*where)).json()["status"] == "PENDING"
        await begin(here, body["run_id"])
        assert (await gateway.poll(*where)).json()["status"] == "RUNNING"
        await here.runner.until_taken(1)
        await here.events.complete(finished(here.runner.taken[0]))
        assert (await gateway.poll(*where)).json()["content"] == "answer to Hello"
    assert not here.runner.taken[0].stream


async def test_what_was_said_to_be_accepted_is_on_the_bus(tmp_path: Path) -> None:
    async with system(tmp_path, work=False) as here, here.gateway() as gateway:
        body = (await gateway.post(background="true", session_id="s")).json()
        accepted = subjects.event("default", TEAM.id, body["run_id"], "accepted")
        event = await reads.last(here.bus, topology.EVENTS, accepted)
        request = await reads.last(
            here.bus, topology.REQUESTS, subjects.request("default", TEAM.id)
        )
    assert event is not None
    assert request is not None
    assert decode(RunAccepted, event.data).session_id == "s"
    assert decode(RunRequest, request.data).run_id == body["run_id"]


async def test_a_background_run_that_the_bus_did_not_take_is_not_accepted(tmp_path: Path) -> None:
    async with system(tmp_path, requests_per_team_max=1, work=False) as here:
        async with here.gateway(publish_patience_s=0.3) as gateway:
            assert (await gateway.post(background="true")).status_code == 202
            full = await gateway.post(background="true")
            await here.nats.kill()
            unknown = await gateway.post(background="true")
            await here.nats.restart()
            await reconnected(gateway.bus, here.bus)
    assert (full.status_code, full.json()["code"]) == (429, "quota_exceeded")
    assert (unknown.status_code, unknown.json()["code"]) == (503, "outcome_unknown")


async def test_a_key_sent_again_gets_the_ids_of_before_and_where_the_run_stands(
    tmp_path: Path,
) -> None:
    async with system(tmp_path, go=False) as here, here.gateway() as gateway:
        first = await gateway.post(background="true", key="k")
        again = await gateway.post(background="true", key="k")
        ids = {name: first.json()[name] for name in ("run_id", "session_id")}
        assert again.json() == first.json() == {**ids, "status": "PENDING"}
        await begin(here, ids["run_id"])
        running = await gateway.post(background="true", key="k")
        assert running.json() == {**ids, "status": "RUNNING"}
        await here.runner.until_taken(1)
        await here.events.complete(
            finished(here.runner.taken[0], status=RunStatus.ERROR, code="model_error")
        )
        ended = await gateway.post(background="true", key="k")
        assert (ended.status_code, ended.json()) == (202, {**ids, "status": "ERROR"})
        other = await gateway.post("else", background="true", key="k")
        waited = await gateway.post(key="k")
    assert other.status_code == 409
    assert waited.json()["status"] == "ERROR"
    assert len(here.runner.taken) == 1


async def test_a_background_stream_has_the_numbers_in_its_data(tmp_path: Path) -> None:
    async with system(tmp_path, go=False) as here, here.gateway() as gateway:
        asking = asyncio.create_task(speaker_of(here))
        async with streaming(gateway, background="true", key="k") as source:
            speaker = await asking
            await speaker.say(count=2)
            events = await source.take(2)
            async with streaming(gateway, background="true", key="k") as repeated:
                await speaker.end()
                again = await repeated.rest()
            events += await source.rest()
        polled = await gateway.poll(speaker.run_id, speaker.session_id)
    assert [event.data["event_index"] for event in events] == [0, 1, 2]
    assert numbers(events) == numbers(again) == [0, 1, 2]
    assert events[0].raw.endswith(',"event_index":0}')
    assert events[-1].event == "TeamRunCompleted"
    assert polled.json()["status"] == "COMPLETED"


async def test_a_background_stream_is_known_before_a_runner_takes_it(tmp_path: Path) -> None:
    async with system(tmp_path, work=False) as here, here.gateway() as gateway:
        async with streaming(gateway, background="true", run_id="r", session_id="s") as source:
            assert source.response.status_code == 200
            assert (await gateway.poll("r", "s")).json()["status"] == "PENDING"


async def test_a_background_run_needs_a_database(tmp_path: Path) -> None:
    bare = AppDescription(
        id="bare",
        teams=[TeamDescription(id="bare", name="Bare")],
        agents=[msgspec.structs.replace(AGENT, id="lone", db_id=None)],
    )
    async with system(tmp_path) as here, here.gateway() as gateway:
        await catalogue.put(here.bus, bare)
        of_team = await gateway.post(path="/teams/bare", background="true")
        of_agent = await gateway.post(path="/agents/lone", background="true", stream="true")
    says = "Background execution requires a database to be configured on the "
    assert (of_team.status_code, of_team.json()) == (400, {"detail": f"{says}team"})
    assert (of_agent.status_code, of_agent.json()) == (400, {"detail": f"{says}agent"})
    assert here.runner.taken == []


async def test_an_agents_runs_are_taken_in_the_background_and_streamed_in_its_own_words(
    tmp_path: Path,
) -> None:
    async with system(tmp_path) as here, here.gateway() as gateway:
        path = f"/agents/{AGENT.id}"
        accepted = await gateway.post(path=path, background="true", session_id="s")
        form = {"message": "Hello"}
        async with gateway.http.stream("POST", f"{path}/runs", data=form) as response:
            streamed = (await response.aread()).decode()
        run_id = accepted.json()["run_id"]
        replies = [
            await gateway.http.post(f"{path}/runs/{run_id}/resume", data={"session_id": "s"}),
            await gateway.http.get(f"{path}/runs/{run_id}/events"),
            await gateway.http.get(f"/teams/{TEAM.id}/runs/{run_id}/events"),
        ]
    assert accepted.status_code == 202
    assert streamed.startswith("event: RunCompleted\nid: 0\n")
    assert '"agent_id":"poet"' in streamed
    assert "team_id" not in streamed
    assert "event: replay" in replies[0].text
    assert "event: RunCompleted" in replies[1].text
    assert [reply.status_code for reply in replies] == [200, 200, 404]


async def test_an_agents_run_that_another_app_had_to_end_is_still_an_agents(
    tmp_path: Path,
) -> None:
    async with system(tmp_path) as here, here.gateway() as gateway:

        def ending(asked: RunRequest) -> RunCompleted:
            end = finished(asked, of_agent=True, status=RunStatus.ERROR, code="unserved")
            end.output.agent_id = end.output.agent_name = None
            return end

        here.runner.ending = ending
        form = {"message": "Hello"}
        path = f"/agents/{AGENT.id}/runs"
        async with gateway.http.stream("POST", path, data=form) as response:
            streamed = (await response.aread()).decode()
    assert streamed.startswith("event: RunError\n")
    assert '"agent_id":"poet","agent_name":"Poet"' in streamed
