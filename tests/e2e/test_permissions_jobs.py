"""Under the generated permissions and TLS all do their whole job, and are refused nothing."""

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from teambus.bus import api
from teambus.bus.bodies import Bodies
from teambus.bus.requests import Requests
from teambus.contracts import subjects
from teambus.contracts.ids import new_id
from teambus.contracts.run import RunRequest
from tests.e2e.locked_parts import being, locked_system, violations
from tests.support.locked import LockedServer
from tests.support.processes import Process
from tests.support.sse import EventSource, numbers
from tests.support.system import System, until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]

RUNS = "/teams/content-team/runs"
WAIT_S = 60
CALLS_OF_A_RUN = 4
RESTORED = "bus connection restored"
PNG = b"\x89PNG\r\n\x1a\n" + b"pixels"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    async with locked_system(tmp_path_factory.mktemp("locked")) as system:
        yield system


@pytest_asyncio.fixture(loop_scope="module")
async def story(served: System) -> AsyncIterator[System]:
    await served.model.reset()
    before = violations(served)
    yield served
    assert violations(served) == before


async def stands(story: System, run_id: str, hook: str, state: str) -> dict[str, Any]:
    """How a hook stands with a run, once it stands so."""

    async def it_does() -> dict[str, Any] | None:
        answer = await story.client.get(f"{RUNS}/{run_id}/hooks")
        told = {each["name"]: each for each in answer.json()["hooks"]}[hook]
        return told if told["state"] == state else None

    found = await until(it_does, WAIT_S, lambda: f"not {state}; {story.hook_runner.tail(30)}")
    assert found is not None
    return found


async def test_runs_are_answered_and_their_hooks_told_of_their_sessions(story: System) -> None:
    first = await story.run("one", session_id="s")
    again = await story.run("two", session_id="s")
    assert (first["status"], again["status"]) == ("COMPLETED", "COMPLETED")
    lines = await story.hook_lines(2, containing="teller")
    assert {line.split()[-1] for line in lines} == {"s"}
    await story.queue_emptied()


async def test_a_key_makes_one_run_of_two_requests(story: System) -> None:
    one, two = await story.post("keyed", key="k"), await story.post("keyed", key="k")
    assert one.json()["run_id"] == two.json()["run_id"]


async def test_what_fits_no_message_goes_round(story: System) -> None:
    await story.model.rules([{"match": "Say a lot", "reply": "long " * 300_000}])
    output = await story.run("Say a lot " + "of this " * 200_000)
    assert len(output["content"]) > 1024 * 1024
    await story.hook_lines(1, containing=output["run_id"])


async def test_files_are_sent_and_read(story: System) -> None:
    parts = [("files", ("cat.png", PNG, "image/png"))]
    form = {"message": "What is this?", "stream": "false"}
    answer = await story.client.post(RUNS, data=form, files=parts)
    assert answer.json()["status"] == "COMPLETED", answer.text
    calls = await story.model.calls()
    assert [seen.type for call in calls for seen in call.files] == ["image_url"] * len(calls)


async def test_a_stream_is_told_and_gone_on_with(story: System) -> None:
    form = {"message": "Write", "run_id": new_id(), "background": "true"}
    async with story.client.stream("POST", RUNS, data=form) as response:
        events = await EventSource(response).rest()
    assert events[-1].event == "TeamRunCompleted"
    path = f"{RUNS}/{form['run_id']}/events"
    async with story.client.stream("GET", path, headers={"Last-Event-ID": "3"}) as response:
        rest = await EventSource(response).rest()
    assert numbers(rest) == numbers(events)[4:]


async def test_a_run_is_cancelled(story: System) -> None:
    run_id = new_id()
    await story.model.rules([{"match": "Hold me", "hold": "gate"}])
    asked = asyncio.create_task(story.post("Hold me", run_id=run_id))
    await story.model.wait_for_calls(1, timeout_s=WAIT_S)
    answer = await story.client.post(f"{RUNS}/{run_id}/cancel")
    assert (answer.status_code, answer.content) == (200, b"{}")
    assert (await asked).json()["status"] == "CANCELLED"


async def test_sessions_are_listed_read_renamed_and_deleted(story: System) -> None:
    output = await story.run("A session", session_id="kept")
    client = story.client
    listed = (await client.get("/sessions", params={"limit": 100})).json()["data"]
    assert "kept" in [each["session_id"] for each in listed]
    got = (await client.get(f"/sessions/kept/runs/{output['run_id']}")).json()
    assert got["content"] == output["content"]
    polled = await client.get(f"{RUNS}/{output['run_id']}", params={"session_id": "kept"})
    assert polled.json()["status"] == "COMPLETED"
    renamed = await client.post("/sessions/kept/rename", json={"session_name": "new"})
    assert renamed.json()["session_name"] == "new", renamed.text
    assert (await client.delete("/sessions/kept")).status_code == 204


async def test_letters_are_mended_over_http_and_from_the_command_line(story: System) -> None:
    dead = [(await story.run(f"dies {n}"))["run_id"] for n in range(4)]
    letters = [(await stands(story, run, "fragile", "dead"))["dead_letter"] for run in dead]
    assert (await story.client.get(f"/dead-letters/{letters[0]}")).status_code == 200
    assert (await story.client.delete(f"/dead-letters/{letters[3]}")).status_code == 204
    (story.folder / "mended").touch()
    answer = await story.client.post(f"/dead-letters/{letters[0]}/redrive")
    assert answer.status_code == 202, answer.text
    status, listed = await story.teambus("dead-letters", "list", "--json")
    assert status == 0
    assert dead[1] in listed
    assert (await story.teambus("dead-letters", "show", letters[1]))[0] == 0
    assert (await story.teambus("dead-letters", "redrive", letters[1]))[0] == 0
    assert (await story.teambus("dead-letters", "discard", letters[2]))[0] == 0
    for run in dead[:2]:
        await stands(story, run, "fragile", "delivered")
    past = ("hooks", "replay", "teller", "--since", "1h", "--id", "again")
    assert (await story.teambus(*past))[0] == 0
    lines = await story.hook_lines(2, containing=f"teller {dead[0]}", wait_s=WAIT_S)
    assert len(lines) == 2


async def test_a_runner_that_dies_is_followed_by_another(story: System) -> None:
    await story.model.rules([{"match": "Hold me", "hold": "gate", "times": 1}])
    asked = asyncio.create_task(story.post("Hold me"))
    await story.model.wait_for_calls(1, timeout_s=WAIT_S)
    await story.second_runner.start()
    await story.runner.kill()
    await story.model.release("gate")
    assert (await asked).json()["status"] == "COMPLETED"
    await story.runner.start()
    await story.second_runner.stop()


async def test_keys_are_replaced_under_a_run_and_nothing_is_done_twice(story: System) -> None:
    assert story.lock is not None
    await story.model.rules([{"match": "Give facts", "hold": "gate"}])
    pids = [process.pid for process in story.processes[:2]]
    asked = [asyncio.create_task(story.post(f"Give facts {n}")) for n in range(4)]
    await story.model.wait_for_calls(4, timeout_s=WAIT_S)
    story.lock.rotate("gateway", "team-runner.locked", "hook-runner.locked")
    before = [each.log.read_text().count(RESTORED) for each in (story.gateway, story.runner)]
    assert isinstance(story.nats, LockedServer)
    story.nats.reload()
    for process, count in zip((story.gateway, story.runner), before, strict=True):
        await until(partial(came_again, process, count), WAIT_S, process.tail)
    await story.model.release("gate")
    outputs = [answer.json() for answer in await asyncio.gather(*asked)]
    assert [output["status"] for output in outputs] == ["COMPLETED"] * 4
    contents = [call.last_content for call in await story.model.calls()]
    assert len(contents) == CALLS_OF_A_RUN * 4
    assert pids == [process.pid for process in story.processes[:2]]
    for output in outputs:
        await story.hook_lines(1, containing=f"teller {output['run_id']}", wait_s=WAIT_S)


async def came_again(process: Process, before: int) -> bool:
    return process.log.read_text().count(RESTORED) > before


async def test_the_janitor_ends_what_nobody_serves(story: System) -> None:
    request = RunRequest(run_id=new_id(), input="anybody there?", session_id="nobody")
    await Requests(story.bus, Bodies(story.bus), "test").submit("default", "nobody", request)
    end = await story.completed(request.run_id, team="nobody", wait_s=WAIT_S)
    assert end.code == "unserved"


async def test_the_bus_is_provisioned_again_and_pruned(story: System) -> None:
    await story.provision()
    app = story.environment["TEAMBUS_APP"]
    assert (await story.teambus("provision", "--app", app, "--prune"))[0] == 0


async def test_the_doctor_finds_nothing_to_mend(story: System) -> None:
    status, said = await story.teambus("doctor", "--json")
    assert status == 0, said
    assert json.loads(said)["faults"] == 0
    assert "doctor may do what it needs, and nothing more" in said
    status, said = await story.teambus(
        "doctor", "--identity", "hook-runner.locked", identity="hook-runner.locked"
    )
    assert (status, said.splitlines()[-1]) == (0, "nothing to mend")
    assert "hook-runner.locked may do what it needs, and nothing more" in said


async def test_a_tenants_program_asks_and_hears_of_its_runs(story: System) -> None:
    run_id, started = new_id(), new_id()
    async with being(story, "client.acme") as bus:
        heard: asyncio.Queue[Any] = asyncio.Queue()
        await bus.client.subscribe(subjects.live("acme", run_id, "completed"), cb=heard.put)
        await bus.barrier()
        request = RunRequest(run_id=run_id, input="Ask", session_id="theirs")
        await Requests(bus, Bodies(bus), "test").submit("acme", "content-team", request)
        async with asyncio.timeout(WAIT_S):
            live = await heard.get()
        end = subjects.event("acme", "content-team", run_id, "completed")
        stored = await bus.client.jetstream().get_last_msg("TEAMBUS_EVENTS", end, direct=True)
        assert stored.data == live.data
        start = {"team_id": "content-team", "run_id": started, "input": "Start"}
        replies = []
        for verb, asked in (
            ("run.start", start),
            ("run.wait", {"team_id": "content-team", "run_id": started, "timeout_s": WAIT_S}),
            ("run.cancel", {"team_id": "content-team", "run_id": started}),
            (f"db.{await database_of(story)}.sessions.list", {}),
        ):
            question = msgspec.json.encode(asked)
            replies += [await api.ask(bus, subjects.api("acme", verb), question, wait_s=WAIT_S)]
        assert [reply.error_code for reply in replies] == [None] * 4
        assert b'"theirs"' in replies[-1].data


async def database_of(story: System) -> str:
    [team] = (await story.client.get("/teams")).json()
    found: str = team["db_id"]
    return found
