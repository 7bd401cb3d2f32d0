"""Files sent over HTTP, as the model gets them and as clients and hooks read of them."""

import base64
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from tests.e2e.conftest import APPS
from tests.support.system import System, system_of

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

RUNS = "/teams/content-team/runs"
MIB = 1024 * 1024
PNG = b"\x89PNG\r\n\x1a\n" + b"pixels"
WAV, PDF, TEXT, MP4 = b"RIFF-sound", b"%PDF-1.7 words", b"a,b\n1,2\n", b"\x00\x00ftypmp4"
File = tuple[str, bytes, str]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    async with system_of(APPS / "files.py", tmp_path_factory.mktemp("files")) as system:
        yield system


@pytest_asyncio.fixture(loop_scope="module")
async def story(served: System) -> System:
    await served.model.reset()
    return served


async def send(
    story: System, *files: File, key: str | None = None, **fields: str
) -> httpx2.Response:
    form = {"message": "What is this?", "stream": "false", **fields}
    headers = {"Idempotency-Key": key} if key else {}
    parts = [("files", file) for file in files]
    return await story.client.post(RUNS, data=form, files=parts, headers=headers)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def as_json(data: bytes, **fields: Any) -> str:
    return json.dumps([{"content": base64.b64encode(data).decode(), **fields}])


async def test_each_kind_of_upload_reaches_leader_and_members_as_what_it_is(story: System) -> None:
    answer = await send(
        story,
        ("cat.png", PNG, "image/png"),
        ("cry.wav", WAV, "audio/wav"),
        ("paper.pdf", PDF, "application/pdf"),
        ("table.csv", TEXT, "text/csv"),
        ("film.mp4", MP4, "video/mp4"),
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "COMPLETED", answer.text
    calls = await story.model.calls()
    assert len(calls) == 4
    for call in calls:
        assert [(seen.type, seen.mime_type, seen.filename, seen.sha256) for seen in call.files] == [
            ("file", "application/pdf", "paper.pdf", sha256(PDF)),
            ("file", "text/csv", "table.csv", sha256(TEXT)),
            ("image_url", "image/png", None, sha256(PNG)),
            ("input_audio", "audio/wav", None, sha256(WAV)),
        ]


async def test_a_client_of_agentos_sends_files_as_json(story: System) -> None:
    form = {
        "message": "What is this?",
        "stream": "false",
        "images": as_json(PNG, id="i-1", format="png", mime_type="image/png"),
        "audio": as_json(WAV, format="wav", sample_rate=24000, channels=1),
        "input_files": as_json(PDF, filename="paper.pdf", mime_type="application/pdf"),
        "videos": json.dumps([{"url": "https://example.org/film.mp4"}]),
    }
    answer = await story.client.post(RUNS, data=form)
    output = answer.json()
    assert (answer.status_code, output["status"]) == (200, "COMPLETED"), answer.text
    [call, *_] = await story.model.calls()
    assert [seen.sha256 for seen in call.files] == [sha256(PDF), sha256(PNG), sha256(WAV)]
    assert output["input"]["images"][0]["id"] == "i-1"
    assert output["input"]["videos"][0]["url"] == "https://example.org/film.mp4"


async def test_an_image_of_two_mebibytes_goes_by_reference(story: System) -> None:
    """Through the store, not through the request, the journal, the event or the reply."""
    large = PNG + bytes(range(256)) * (8 * 1024)
    answer = await send(story, ("large.png", large, "image/png"))
    assert answer.status_code == 200, answer.text
    assert len(answer.content) < 100_000
    for call in await story.model.calls():
        assert [(seen.sha256, seen.size) for seen in call.files] == [(sha256(large), len(large))]
    run_id = answer.json()["run_id"]
    for stream, subject in (
        ("TEAMBUS_JOURNAL", f"teambus.v1.journal.default.{run_id}.0"),
        ("TEAMBUS_EVENTS", f"teambus.v1.event.default.content-team.{run_id}.*"),
    ):
        stored = await story.stored(stream, subject)
        assert 0 < sum(len(message.data) for message in stored) < 200_000


async def test_what_was_sent_is_read_back_by_its_reference(story: System) -> None:
    sent = await send(story, ("cat.png", PNG, "image/png"), files_metadata='[{"taken": 2024}]')
    output = sent.json()
    [image] = output["input"]["images"]
    reference = image["media_reference"]
    assert (image["filename"], image["metadata"]) == ("cat.png", {"taken": 2024})
    assert (reference["size"], reference["content_hash"]) == (len(PNG), sha256(PNG))
    session = output["session_id"]
    key = reference["storage_key"]
    read = await story.client.get(f"/sessions/{session}/media/{key}")
    assert (read.status_code, read.content) == (200, PNG)
    assert read.headers["content-type"] == "image/png"
    assert read.headers["x-content-type-options"] == "nosniff"
    for member in output["member_responses"]:
        assert member["input"]["images"][0]["media_reference"]["storage_key"] == key
    run = (await story.client.get(f"/sessions/{session}/runs/{output['run_id']}")).json()
    assert run["input_media"]["images"] == [image]
    [line] = await story.hook_lines(1, containing=output["run_id"])
    assert line == f"{output['run_id']} {key}"


async def test_a_file_is_read_back_only_in_its_own_session(story: System) -> None:
    first = (await send(story, ("cat.png", PNG, "image/png"))).json()
    other = (await send(story, ("page.html", b"<script>", "text/html"))).json()
    key = first["input"]["images"][0]["media_reference"]["storage_key"]
    wrong = await story.client.get(f"/sessions/{other['session_id']}/media/{key}")
    assert (wrong.status_code, wrong.json()["detail"]) == (404, "Media not found in this session")
    nowhere = await story.client.get(f"/sessions/nobody/media/{key}")
    assert (nowhere.status_code, nowhere.json()["detail"]) == (404, "Session 'nobody' not found")
    page = other["input"]["files"][0]["media_reference"]["storage_key"]
    kept = await story.client.get(f"/sessions/{other['session_id']}/media/{page}")
    assert kept.headers["content-type"] == "application/octet-stream"
    assert kept.headers["content-disposition"] == "attachment"


async def test_a_forked_session_has_the_files_of_the_first(story: System) -> None:
    first = (await send(story, ("cat.png", PNG, "image/png"))).json()
    path = f"/teams/content-team/sessions/{first['session_id']}/fork"
    copy = (await story.client.post(path)).json()["session_id"]
    key = first["input"]["images"][0]["media_reference"]["storage_key"]
    read = await story.client.get(f"/sessions/{copy}/media/{key}")
    assert (read.status_code, read.content) == (200, PNG)


async def test_the_next_run_of_a_session_is_shown_the_earlier_image_again(story: System) -> None:
    form = {"session_id": "s-again", "add_history_to_context": "true"}
    await send(story, ("cat.png", PNG, "image/png"), **form)
    since = (await story.model.calls())[-1].n
    assert (await send(story, **form)).json()["status"] == "COMPLETED"
    [leader, *others] = await story.model.calls(since=since)
    assert [seen.sha256 for seen in leader.files] == [sha256(PNG)]
    members = [call for call in others if "delegate_task_to_member" not in call.tools]
    assert [call.files for call in members] == [()] * len(members)


@pytest.mark.parametrize(
    ("files", "fields", "status", "says"),
    [
        ([("a.exe", b"MZ", "")], {}, 400, "Unsupported file type"),
        ([("a.svg", b"<svg/>", "image/svg+xml")], {}, 400, "Unsupported file type"),
        ([("a.png", b"", "image/png")], {}, 400, "Empty file"),
        ([], {"images": "{"}, 422, "Invalid images: expected a JSON array of objects"),
        ([], {"audio": '[{"content": "!"}]'}, 422, "Invalid audio: could not reconstruct every"),
        ([], {"files_metadata": "x" * 8001}, 422, "files_metadata exceeds the 8000-byte limit"),
        ([("a.png", b"x" * 21 * MIB, "image/png")], {}, 413, "larger than"),
        ([("a.png", b"x" * 33 * MIB, "image/png")], {}, 413, "larger than"),
        ([("a.png", b"x", "image/png")] * 21, {}, 413, "at most 20"),
    ],
    ids=[
        *("a program", "svg", "nothing in it", "no JSON", "no base64", "metadata"),
        *("a large file", "a large request", "many"),
    ],
)
async def test_what_cannot_be_taken_is_refused_before_any_run(
    story: System, files: list[File], fields: dict[str, str], status: int, says: str
) -> None:
    answer = await send(story, *files, **fields)
    assert answer.status_code == status, answer.text
    assert says in answer.json()["detail"]
    # One that was wrongly asked for would have called the model by then.
    await story.queue_emptied()
    assert await story.model.calls() == []


async def test_a_streamed_run_and_one_in_the_background_are_shown_their_files_too(
    story: System,
) -> None:
    streamed = await send(story, ("cat.png", PNG, "image/png"), stream="true")
    assert streamed.text.count("event: TeamRunCompleted") == 1, streamed.text
    accepted = await send(story, ("cat.png", PNG, "image/png"), background="true")
    assert accepted.status_code == 202, accepted.text
    end = await story.completed(accepted.json()["run_id"])
    assert end.output.status == "COMPLETED"
    calls = await story.model.calls()
    assert len(calls) == 8
    assert {seen.sha256 for call in calls for seen in call.files} == {sha256(PNG)}
    assert all(call.files for call in calls)


async def test_a_repeat_with_the_same_file_is_one_run_and_with_another_is_refused(
    story: System,
) -> None:
    first = await send(story, ("cat.png", PNG, "image/png"), key="cat")
    again = await send(story, ("cat.png", PNG, "image/png"), key="cat")
    assert again.json() == first.json()
    assert len(await story.model.calls()) == 4
    other = await send(story, ("cat.png", PNG + b"!", "image/png"), key="cat")
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
