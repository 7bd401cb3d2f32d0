"""What clients send by mistake or malice is refused or carried, and the next run is answered."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from teambus.bus import topology
from teambus.bus.publish import Publication, publish
from teambus.contracts.ids import new_id
from tests.e2e.conftest import APPS
from tests.support.system import System, system_of, until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

MIB = 1024 * 1024
CALLS_OF_A_RUN = 4
RUNS = "/teams/content-team/runs"
QUEUE = "teambus.v1.request.default.content-team.std"
FORM = "application/x-www-form-urlencoded"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    async with system_of(APPS / "story.py", tmp_path_factory.mktemp("input")) as system:
        yield system


@pytest_asyncio.fixture(loop_scope="module")
async def story(served: System) -> AsyncIterator[System]:
    """The system, which answers after each test as it did before."""
    await served.model.reset()
    yield served
    await served.model.reset()
    assert (await served.run("and now?"))["status"] == "COMPLETED"
    await served.queue_emptied()


async def asked_nobody(story: System) -> bool:
    await story.queue_emptied()
    return await story.model.calls() == []


async def submit(story: System, body: bytes, kind: str = FORM) -> httpx2.Response:
    return await story.client.post(RUNS, content=body, headers={"content-type": kind})


@pytest.mark.parametrize(
    "body", [b"", b"stream=false", b"message=&stream=false"], ids=["nothing", "no message", "empty"]
)
async def test_a_request_without_a_message_names_the_field(story: System, body: bytes) -> None:
    answer = await submit(story, body)
    assert answer.status_code == 422, answer.text
    [problem] = answer.json()["detail"]
    assert (problem["type"], problem["loc"]) == ("missing", ["body", "message"])
    assert await asked_nobody(story)


async def test_a_team_that_does_not_exist_is_not_found(story: System) -> None:
    answer = await story.post("ask", team="no-such-team")
    assert answer.status_code == 404, answer.text
    assert answer.json()["detail"] == "Team not found"
    assert await asked_nobody(story)


@pytest.mark.parametrize("body", [b"message=%ff%fe", b"message=\xff\xfe"], ids=["quoted", "raw"])
async def test_text_that_is_not_utf8_is_refused(story: System, body: bytes) -> None:
    answer = await submit(story, body + b"&stream=false")
    assert answer.status_code == 422, answer.text
    assert answer.json()["detail"][0]["type"] == "string_unicode"
    assert await asked_nobody(story)


@pytest.mark.parametrize("given", ["{", "[1]", '"text"', "\x00", '{"a": 1e999}', '{"a":' * 500])
async def test_metadata_that_is_no_json_object_is_refused(story: System, given: str) -> None:
    answer = await story.post("ask", metadata=given)
    assert answer.status_code == 400, answer.text
    assert answer.json()["detail"] == "Invalid metadata parameter: expected a JSON object"
    assert await asked_nobody(story)


async def test_a_request_over_its_limit_is_refused_by_its_size(story: System) -> None:
    answer = await story.post("x" * (9 * MIB))
    assert answer.status_code == 413, answer.text
    assert answer.json()["code"] == "request_too_large"
    assert await asked_nobody(story)


async def test_a_message_larger_than_the_bus_carries_is_answered_and_delivered(
    story: System,
) -> None:
    await story.model.rules([{"match": "Coordinate the two.", "hold": "gate", "times": 1}])
    message = "ab " * (2 * MIB // 3)
    posted = asyncio.create_task(story.post(message))
    await story.model.wait_for_calls(1, timeout_s=30)
    [request] = await story.stored(topology.REQUESTS, QUEUE)
    assert request.data == b""
    assert "Teambus-Body" in request.headers
    await story.model.release("gate")
    answer = await posted
    assert answer.status_code == 200, answer.text
    run = answer.json()
    assert run["status"] == "COMPLETED"
    assert run["input"]["input_content"] == message
    assert message in run["content"]
    [line] = await story.hook_lines(1, containing=run["run_id"], wait_s=30)
    assert "COMPLETED" in line


async def test_a_run_whose_output_nothing_can_carry_is_paid_once_and_says_so(
    story: System,
) -> None:
    """Each member's transcript repeats the message, so the output is far larger than it."""
    run = await story.run("x" * (4 * MIB - 1))
    assert run["status"] == "ERROR"
    assert run["content"].startswith("the run was answered, but its output")
    assert (await story.completed(run["run_id"])).code == "output_too_large"
    assert len(await story.model.calls()) == CALLS_OF_A_RUN


async def test_fields_nobody_knows_are_ignored(story: System) -> None:
    run = await story.run("ask", **{f"unknown_{n}": "x" for n in range(300)})
    assert run["status"] == "COMPLETED"
    assert "unknown" not in json.dumps(run)


async def test_more_fields_than_the_limit_are_refused(story: System) -> None:
    answer = await story.post("ask", **{f"unknown_{n}": "x" for n in range(1000)})
    assert answer.status_code == 400, answer.text
    assert answer.json()["code"] == "too_many_fields"
    assert await asked_nobody(story)


@pytest.mark.parametrize(
    "session_id", ["../..", ">", "a.b *", "' OR 1=1 --", "\U0001f4a5", "s" * 512]
)
async def test_any_text_may_name_a_session_and_is_stored_as_it_is(
    story: System, session_id: str
) -> None:
    run = await story.run("ask", session_id=session_id)
    assert (run["status"], run["session_id"]) == ("COMPLETED", session_id)
    with sqlite3.connect(f"file:{story.folder / 'team.db'}?mode=ro", uri=True) as db:
        rows = db.execute(
            "SELECT run_id FROM teambus_sessions_runs WHERE session_id = ?", (session_id,)
        ).fetchall()
    db.close()
    assert rows == [(run["run_id"],)]
    polled = await story.client.get(f"{RUNS}/{run['run_id']}", params={"session_id": session_id})
    assert polled.json() == run


@pytest.mark.parametrize("field", ["run_id", "session_id", "user_id"])
async def test_an_id_with_a_nul_is_refused(story: System, field: str) -> None:
    """PostgreSQL cannot keep it."""
    answer = await story.post("ask", **{field: "a\x00b"})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", field]


@pytest.mark.parametrize("where", ["/sessions/a%00b", "/sessions?user_id=a%00b"])
async def test_a_nul_in_an_address_is_refused(story: System, where: str) -> None:
    answer = await story.client.get(where)
    assert (answer.status_code, answer.json()["detail"][0]["loc"][1]) == (422, "*")


async def test_a_session_id_that_is_too_long_is_refused(story: System) -> None:
    answer = await story.post("ask", session_id="s" * 513)
    assert answer.status_code == 422, answer.text
    assert answer.json()["detail"][0]["loc"] == ["body", "session_id"]
    assert await asked_nobody(story)


async def put_in_queue(story: System, data: bytes, **headers: str) -> None:
    """A message as any NATS client may write it."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    await publish(story.bus, Publication(QUEUE, data, new_id(), headers=names))


NAMED = {
    "no input": b'{"kind": "run.request.v1", "run_id": "RUN"}',
    "empty input": b'{"kind": "run.request.v1", "run_id": "RUN", "input": ""}',
    "a number for a text": b'{"kind": "run.request.v1", "run_id": "RUN", "input": 1}',
    "another kind": b'{"kind": "run.completed.v1", "run_id": "RUN", "input": "ask"}',
    "a long session id": b'{"run_id": "RUN", "input": "ask", "session_id": "%s"}' % (b"s" * 513),
    "a NUL in a session id": b'{"run_id": "RUN", "input": "ask", "session_id": "a\\u0000"}',
    "a NUL in a user id": b'{"run_id": "RUN", "input": "ask", "user_id": "a\\u0000"}',
}


@pytest.mark.parametrize("body", NAMED.values(), ids=NAMED)
async def test_a_malformed_request_that_names_its_run_ends_that_run_as_an_error(
    story: System, body: bytes
) -> None:
    run_id = new_id()
    await put_in_queue(story, body.replace(b"RUN", run_id.encode()))
    await refused(story, run_id)


async def test_a_request_that_is_no_json_is_known_by_its_header(story: System) -> None:
    run_id = new_id()
    await put_in_queue(story, b"\xff\x00", Teambus_Run_Id=run_id)
    await refused(story, run_id)


async def refused(story: System, run_id: str) -> None:
    event = await story.completed(run_id)
    assert (event.code, event.output.status) == ("malformed_request", "ERROR")
    polled = await story.client.get(f"{RUNS}/{run_id}", params={"session_id": run_id})
    assert polled.status_code == 200, polled.text
    assert polled.json()["status"] == "ERROR"
    assert polled.json()["content"].startswith("the run request is ")
    assert "Traceback" not in polled.text
    assert await story.model.calls() == []


NAMELESS = {
    "nothing": b"",
    "no text": b"\xff\x00",
    "no object": b"[]",
    "no run id": b'{"kind": "run.request.v1", "input": "ask"}',
    "an empty run id": b'{"kind": "run.request.v1", "run_id": "", "input": "ask"}',
    "a long run id": b'{"kind": "run.request.v1", "run_id": "%s", "input": "ask"}' % (b"r" * 513),
    "a deep nest": b'{"run_id":' * 5000,
}


@pytest.mark.parametrize("body", NAMELESS.values(), ids=NAMELESS)
async def test_a_malformed_request_that_names_no_run_is_kept_as_a_dead_letter(
    story: System, body: bytes
) -> None:
    before = len(await request_letters(story))
    await put_in_queue(story, body)
    letter = await newest_letter(story, after=before)
    assert letter["about"] == "request"
    assert letter["reason"]
    assert body.decode("utf-8", "replace").startswith(letter["body"])
    assert "run_id" not in letter or letter["run_id"] is None


async def test_a_request_whose_body_is_gone_is_kept_as_a_dead_letter(story: System) -> None:
    before = len(await request_letters(story))
    await put_in_queue(story, b"", Teambus_Body="nobody/nothing")
    letter = await newest_letter(story, after=before)
    assert "nobody/nothing" in letter["reason"]


async def test_a_malformed_request_changes_nothing_of_the_run_whose_id_it_bears(
    story: System,
) -> None:
    run = await story.run("ask")
    before = len(await request_letters(story))
    await put_in_queue(story, b'{"run_id": "%s"}' % run["run_id"].encode())
    await newest_letter(story, after=before)
    params = {"session_id": run["session_id"]}
    polled = await story.client.get(f"{RUNS}/{run['run_id']}", params=params)
    assert polled.json() == run


async def request_letters(story: System) -> list[dict[str, Any]]:
    subject = "teambus.v1.dead.default.request.content-team.*"
    return [json.loads(each.data) for each in await story.stored(topology.DEAD, subject)]


async def newest_letter(story: System, *, after: int) -> dict[str, Any]:
    async def enough() -> list[dict[str, Any]] | None:
        letters = await request_letters(story)
        return letters if len(letters) > after else None

    letters = await until(enough, 20, story.runner.tail)
    assert letters is not None
    assert len(letters) == after + 1
    return letters[-1]
