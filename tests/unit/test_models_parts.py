"""Messages with files, as the chat completions format has them."""

import base64
from typing import Any

import msgspec
import pytest

from teambus.contracts.media import Media
from teambus.contracts.output import ChatMessage
from teambus.domain.media import mistake_in, run_input, told
from teambus_team_runner.models.openai_chat import ROLES
from teambus_team_runner.models.port import ModelRequest, request_digest
from teambus_team_runner.models.wire import encode_request
from tests.unit.engine_fakes import FakeModel, FakeModels

DATA = b"\x00\x01 bytes"
BASE64 = base64.b64encode(DATA).decode()


def media(kind: Any, **fields: Any) -> Media:
    given = {"id": "f-1", "object": f"run-1/{kind}", "size": len(DATA), **fields}
    return Media(kind=kind, **given)


def message(*files: Media, text: str = "Look.") -> ChatMessage:
    asked = run_input(text, files)
    return ChatMessage(
        id="m",
        role="user",
        from_history=False,
        stop_after_tool_call=False,
        created_at=1,
        content=text,
        images=asked.images,
        audio=asked.audios,
        videos=asked.videos,
        files=asked.files,
    )


def content_of(*files: Media, text: str = "Look.", gone: bool = False) -> Any:
    """The content of the message as it is sent."""
    contents = {} if gone else {each.object: DATA for each in files if each.object}
    request = ModelRequest([message(*files, text=text)], [])
    body = encode_request("gpt", {}, request, ROLES, contents=contents)
    return msgspec.json.decode(body)["messages"][0]["content"]


def test_a_message_without_files_is_plain_text() -> None:
    assert content_of() == "Look."


@pytest.mark.parametrize(
    ("fields", "mime_type"),
    [
        ({"mime_type": "image/webp", "format": "png"}, "image/webp"),
        ({"format": "jpg"}, "image/jpeg"),
        ({"format": "gif"}, "image/gif"),
        ({}, "image/jpeg"),
    ],
)
def test_an_image_is_sent_with_its_bytes(fields: dict[str, Any], mime_type: str) -> None:
    text, image = content_of(media("image", **fields))
    assert text == {"type": "text", "text": "Look."}
    expected = {"url": f"data:{mime_type};base64,{BASE64}"}
    assert image == {"type": "image_url", "image_url": expected}


def test_an_image_of_no_known_type_is_told_by_how_it_begins() -> None:
    shown = media("image")
    contents = {"run-1/image": b"\x89PNG..."}
    body = encode_request("g", {}, ModelRequest([message(shown)], []), ROLES, contents=contents)
    assert b"data:image/png;base64," in body


def test_an_image_by_url_is_left_to_the_model() -> None:
    shown = Media(id="f", kind="image", url="https://example.org/a.png", detail="low")
    expected = {"url": "https://example.org/a.png", "detail": "low"}
    assert content_of(shown)[1] == {"type": "image_url", "image_url": expected}


@pytest.mark.parametrize(
    ("fields", "format_"),
    [
        ({"format": "mp3"}, "mp3"),
        ({"mime_type": "audio/mpeg"}, "mp3"),
        ({"mime_type": "audio/wave"}, "wav"),
        ({}, "wav"),
    ],
)
def test_sound_is_sent_with_its_format(fields: dict[str, Any], format_: str) -> None:
    sound = content_of(media("audio", **fields))[1]
    assert sound == {"type": "input_audio", "input_audio": {"data": BASE64, "format": format_}}


@pytest.mark.parametrize(
    ("fields", "name", "mime_type"),
    [
        ({"filename": "a.csv", "mime_type": "text/csv"}, "a.csv", "text/csv"),
        ({"filename": "a.txt"}, "a.txt", "text/plain"),
        ({}, "file", "application/pdf"),
    ],
)
def test_a_document_comes_before_the_text(
    fields: dict[str, Any], name: str, mime_type: str
) -> None:
    document, text = content_of(media("file", **fields))
    data = {"filename": name, "file_data": f"data:{mime_type};base64,{BASE64}"}
    assert document == {"type": "file", "file": data}
    assert text["text"] == "Look."


def test_a_video_is_not_shown_and_the_model_is_told_so() -> None:
    text, note = content_of(media("video", filename="clip.mp4"))
    assert text["text"] == "Look."
    assert note["type"] == "text"
    assert "video 'clip.mp4'" in note["text"]
    assert "cannot watch" in note["text"]


@pytest.mark.parametrize("kind", ["image", "audio", "file"])
def test_a_file_that_is_gone_is_said_to_be(kind: str) -> None:
    parts = content_of(media(kind, filename="a.bin"), gone=True)
    [note] = [part for part in parts if part.get("text") != "Look."]
    assert note == {
        "type": "text",
        "text": f"[A {kind} 'a.bin' is attached here, but it is not kept any more.]",
    }


def test_what_files_are_shown_makes_a_request_another() -> None:
    model = FakeModel("m", [], [], {}, FakeModels()._arrivals)

    def digest(*files: Media) -> str:
        return request_digest(model, ModelRequest([message(*files)], []))

    plain, one = digest(), digest(media("image"))
    assert plain == request_digest(model, ModelRequest([message()], []))
    assert one == digest(media("image", id="another id"))
    urls = [Media(id="f", kind="image", url=f"https://x/{n}") for n in "ab"]
    others = [digest(media("image", object="run-1/other")), *(digest(url) for url in urls)]
    assert len({plain, one, *others}) == 5


def test_a_request_says_of_its_files_only_what_can_be_true() -> None:
    assert mistake_in([media("image", object="run-1/ff"), media("audio")], "run-1") is None
    for wrong, says in [
        (media("image", object=None), "either `object` or `url`"),
        (media("image", url="https://x/y"), "either `object` or `url`"),
        (media("image", object="run-2/ff"), "begins with 'run-1/'"),
        (media("audio", object=None, url="https://x/y"), "not taken by url"),
        (media("image", object=None, url="file:///etc/passwd"), "http://"),
    ]:
        mistake = mistake_in([media("image"), wrong], "run-1")
        assert mistake is not None
        assert mistake.startswith("media[1]: ")
        assert says in mistake


def test_a_file_is_told_by_reference_and_one_by_url_by_its_url() -> None:
    shown = msgspec.to_builtins(told(media("image", filename="a.png", metadata={"n": 1})))
    assert shown == {
        "id": "f-1",
        "filename": "a.png",
        "metadata": {"n": 1},
        "media_reference": {
            "media_id": "f-1",
            "storage_key": "run-1/image",
            "storage_backend": "nats",
            "bucket": "teambus_files",
            "media_type": "image",
            "filename": "a.png",
            "size": len(DATA),
            "content_hash": "image",
        },
    }
    by_url = Media(id="f", kind="image", url="https://x/y")
    assert msgspec.to_builtins(told(by_url)) == {"id": "f", "url": "https://x/y"}
