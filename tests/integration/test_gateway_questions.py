"""The gateway's endpoints on the bus: `run.start` and `run.wait`."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from teambus.bus.api import Reply, ask
from teambus.bus.bodies import Bodies
from teambus.bus.connection import Bus
from teambus.contracts import headers, subjects
from teambus.contracts.message import decode
from teambus.contracts.run import Continuation, RunCompleted
from teambus.domain.media import object_name
from tests.integration.gateway_parts import system


async def put(bus: Bus, verb: str, body: Any, tenant: str = "default") -> Reply:
    data = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return await ask(bus, subjects.api(tenant, verb), data, wait_s=10)


def read(reply: Reply) -> Any:
    return msgspec.json.decode(reply.data)


async def test_a_run_is_started_and_waited_for_in_the_tenant_of_the_subject(
    tmp_path: Path,
) -> None:
    async with system(tmp_path) as here, here.gateway():
        asked = {"kind": "run.request.v1", "team_id": "content-team", "input": "hi"}
        started = await put(here.bus, "run.start", asked, tenant="acme")
        assert started.error_code is None, started
        run = read(started)
        assert run["seq"] >= 1
        assert run["event_subject"] == subjects.event(
            "acme", "content-team", run["run_id"], "completed"
        )
        wanted = {"team_id": "content-team", "run_id": run["run_id"], "timeout_s": 10}
        ended = await put(here.bus, "run.wait", wanted, tenant="acme")
        event = decode(RunCompleted, ended.data)
        assert (event.tenant, event.output.content) == ("acme", "answer to hi")
        assert event.session_id == run["session_id"]
        stranger = {**wanted, "timeout_s": 0.2}
        assert (await put(here.bus, "run.wait", stranger, tenant="other")).error_code == "504"


async def test_the_same_start_again_is_the_same_run_and_another_is_refused(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway():
        asked = {"team_id": "content-team", "input": "hi", "run_id": "mine"}
        first, again = [await put(here.bus, "run.start", asked) for _ in range(2)]
        other = await put(here.bus, "run.start", {**asked, "input": "else"})
        await here.runner.until_taken(1)
    assert read(first) == read(again)
    assert other.error_code == "409"
    assert read(other)["code"] == "run_id_in_use"
    assert len(here.runner.taken) == 1


async def test_a_run_is_started_that_goes_on_with_another(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway():
        on = {"run_id": "r-0", "continue_from": 3}
        asked = {"team_id": "content-team", "input": "", "session_id": "s", "continues": on}
        started = await put(here.bus, "run.start", asked)
        assert started.error_code is None, started
        await here.runner.until_taken(1)
    request = here.runner.taken[0]
    assert request.continues == Continuation(run_id="r-0", continue_from=3)
    assert (request.input, request.session_id) == ("", "s")


async def test_a_run_is_started_with_files_that_are_in_the_store(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway():
        asked: dict[str, Any] = {"team_id": "content-team", "input": "hi", "run_id": "an odd id"}
        name = object_name("an odd id", "00ff")
        image = {"id": "1", "kind": "image", "object": name}
        started = await put(here.bus, "run.start", {**asked, "media": [image]})
        assert started.error_code is None, started
        other = {"id": "1", "kind": "image", "object": "an odd id/00ff"}
        refused = await put(here.bus, "run.start", {**asked, "media": [image, other]})
        assert refused.error_code == "422"
        assert f"media[1]: the object of this run begins with {name[:-4]!r}" in str(read(refused))
        await here.runner.until_taken(1)
    assert here.runner.taken[0].media[0].object == name


async def test_what_cannot_be_understood_is_answered_with_the_reason(tmp_path: Path) -> None:
    good = {"team_id": "content-team", "input": "hi"}
    bad: list[tuple[Any, str]] = [
        (b"", "422"),
        (b"\xff", "422"),
        (b"[" * 5000, "422"),
        ([], "422"),
        ({"team_id": "content-team"}, "422"),
        ({**good, "input": ""}, "422"),
        ({**good, "input": 7}, "422"),
        ({**good, "run_id": "x" * 513}, "422"),
        ({**good, "metadata": ["no object"]}, "422"),
        ({**good, "continues": {"run_id": "r-0"}}, "422"),
        ({**good, "session_id": "s", "continues": {"run_id": ""}}, "422"),
        ({**good, "session_id": "s", "continues": {"run_id": "r", "continue_from": "x"}}, "422"),
        ({**good, "team_id": "nobody"}, "404"),
    ]
    async with system(tmp_path) as here, here.gateway():
        for body, code in bad:
            reply = await put(here.bus, "run.start", body)
            assert reply.error_code == code, (body, reply)
            assert reply.headers[headers.ERROR_DETAIL]
            assert read(reply)["detail"]
        assert (await put(here.bus, "run.wait", {"team_id": "content-team"})).error_code == "422"
    assert here.runner.taken == []


async def test_more_questions_at_once_than_allowed_are_refused(tmp_path: Path) -> None:
    async with system(tmp_path, go=False) as here, here.gateway(questions_max=1):
        wanted = {"team_id": "content-team", "run_id": "r", "timeout_s": 1}
        replies = await asyncio.gather(*(put(here.bus, "run.wait", wanted) for _ in range(3)))
    assert sorted(str(reply.error_code) for reply in replies) == ["503", "503", "504"]


async def test_large_bodies_travel_beside_question_and_answer(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway():
        bodies = Bodies(here.bus)
        large = "x" * 2_000_000
        asked = {"team_id": "content-team", "input": large, "run_id": "large"}
        data, beside = await bodies.fit(msgspec.json.encode(asked), owner="large")
        subject = subjects.api("default", "run.start")
        message = await here.bus.client.request(subject, data, timeout=10, headers=beside)
        assert read(Reply(message.data))["run_id"] == "large"
        wanted = {"team_id": "content-team", "run_id": "large", "timeout_s": 10}
        ended = await put(here.bus, "run.wait", wanted)
        assert headers.BODY in ended.headers
        event = decode(RunCompleted, await bodies.load(ended.data, ended.headers))
        assert event.output.input is not None
        assert event.output.input.input_content == large


async def test_two_gateways_share_the_questions(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway(), here.gateway():
        asked = {"team_id": "content-team", "input": "hi"}
        replies = await asyncio.gather(*(put(here.bus, "run.start", asked) for _ in range(20)))
        await here.runner.until_taken(20)
    assert len({read(reply)["run_id"] for reply in replies}) == 20
    assert len(here.runner.taken) == 20


async def test_whoever_starts_a_streamed_run_is_told_where_it_speaks(tmp_path: Path) -> None:
    async with system(tmp_path, go=False) as here, here.gateway():
        asked = {"team_id": "content-team", "input": "hi", "run_id": "loud", "stream": True}
        loud = read(await put(here.bus, "run.start", asked, tenant="acme"))
        quiet = read(await put(here.bus, "run.start", {"team_id": "content-team", "input": "hi"}))
        await here.runner.until_taken(2)
    assert loud["frame_subject"] == subjects.frames("acme", "loud")
    assert loud["live_subject"] == subjects.live_frames("acme", "loud")
    assert "frame_subject" not in quiet
    assert {request.stream for request in here.runner.taken} == {True, False}
