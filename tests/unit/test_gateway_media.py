"""The files of a form: what they are taken for, what is refused, and how the request says them."""

import base64
import hashlib
import json
from typing import Any

import pytest

from teambus.contracts.run import request_digest
from teambus_gateway.access.caller import Caller
from teambus_gateway.attachments import MediaLimits, read_attachments
from teambus_gateway.forms import Form, Upload
from teambus_gateway.media import Attachment
from teambus_gateway.problems import Problem
from teambus_gateway.submission import Submission, read_submission

LIMITS = MediaLimits(files_max=3, file_bytes_max=1_000)
PNG = b"\x89PNG and more"


def upload(
    filename: str = "a.png", kind: str = "image/png", content: bytes = PNG, field: str = "files"
) -> Upload:
    return Upload(field, filename, kind, memoryview(content))


def item(**fields: Any) -> dict[str, Any]:
    return {"content": base64.b64encode(PNG).decode(), **fields}


async def read(*uploads: Upload, **fields: Any) -> list[Attachment]:
    texts = {n: v if isinstance(v, str) else json.dumps(v) for n, v in fields.items()}
    return await read_attachments(Form(texts, uploads), LIMITS)


async def refused(*uploads: Upload, **fields: Any) -> tuple[int, Any]:
    with pytest.raises(Problem) as refusal:
        await read(*uploads, **fields)
    return refusal.value.status, refusal.value.detail


async def submitted(key: str | None, *uploads: Upload, **fields: Any) -> Submission:
    attachments = await read(*uploads, **fields)
    return read_submission(
        Caller("acme"), "team", "desk", Form({"message": "look"}), key, attachments
    )


@pytest.mark.parametrize(
    ("filename", "kind", "taken_for", "mime_type", "format_"),
    [
        ("a.png", "image/png", "image", "image/png", "png"),
        ("A.JPG", "image/jpeg", "image", "image/jpeg", "jpg"),
        ("sound.dat", "audio/mpeg", "audio", "audio/mpeg", "dat"),
        ("", "audio/wav", "audio", "audio/wav", "wav"),
        ("clip", "video/mp4", "video", "video/mp4", "mp4"),
        ("a.pdf", "application/pdf", "file", "application/pdf", "pdf"),
        ("a.zip", "application/x-zip-compressed", "file", "application/zip", "zip"),
        ("notes.md", "application/octet-stream", "file", "text/markdown", "md"),
        ("notes.md", "", "file", "text/markdown", "md"),
        ("photo.heic", "", "image", None, "heic"),
        ("song.mp3", "application/octet-stream", "audio", None, "mp3"),
        ("film.3gp", "", "video", None, "3gp"),
        ("odd.exe", "text/csv", "file", "text/csv", "exe"),
    ],
)
async def test_an_upload_is_known_by_its_type_and_then_by_its_extension(
    filename: str, kind: str, taken_for: str, mime_type: str | None, format_: str
) -> None:
    [taken] = await read(upload(filename, kind))
    assert (taken.kind, taken.mime_type, taken.format) == (taken_for, mime_type, format_)
    assert (taken.filename, bytes(taken.content)) == (filename or None, PNG)
    assert taken.sha256 == hashlib.sha256(PNG).digest()


@pytest.mark.parametrize(
    ("filename", "kind"),
    [
        ("a.exe", ""),
        ("noextension", "application/octet-stream"),
        ("a.png", "application/x-unheard-of"),
        ("a.svg", "image/svg+xml"),
        ("", ""),
    ],
)
async def test_other_types_are_refused_in_the_words_of_agentos(filename: str, kind: str) -> None:
    assert await refused(upload(), upload(filename, kind)) == (400, "Unsupported file type")


async def test_an_empty_file_is_refused_and_not_left_out() -> None:
    assert await refused(upload(content=b"")) == (400, "Empty file")


async def test_too_many_and_too_large_files_are_refused_by_their_limits() -> None:
    assert len(await read(*[upload()] * 3)) == 3
    status, detail = await refused(*[upload()] * 3, images=[item()])
    assert (status, detail) == (413, "too many files: at most 3 go with a run")
    assert len(await read(upload(content=b"x" * 1_000))) == 1
    status, detail = await refused(upload(content=b"x" * 1_001))
    assert (status, detail) == (413, "the file 'a.png' is larger than 1000 bytes")
    large = base64.b64encode(b"x" * 1_001).decode()
    assert (await refused(images=[item(content=large)]))[0] == 413


async def test_metadata_goes_with_files_by_position() -> None:
    given = json.dumps([{"page": 1}, "no object"])
    files = await read(upload(), upload(), upload(), files_metadata=given)
    assert [each.metadata for each in files] == [{"page": 1}, None, None]
    for dropped in ("{", '{"page": 1}', ""):
        [alone] = await read(upload(), files_metadata=dropped)
        assert alone.metadata is None
    status, detail = await refused(upload(), files_metadata="[" + " " * 8_000 + "]")
    assert (status, detail) == (422, "files_metadata exceeds the 8000-byte limit")


async def test_files_in_json_fields_are_taken_as_the_client_of_agentos_writes_them() -> None:
    [image] = await read(images=[item(id="i-1", format="png", detail="low", alt_text="x")])
    assert (image.kind, bytes(image.content), image.given_id) == ("image", PNG, "i-1")
    assert (image.format, image.detail) == ("png", "low")
    [sound] = await read(audio=[item(mime_type="audio/wav", sample_rate=24000, channels=1)])
    assert (sound.kind, sound.format) == ("audio", "wav")
    [film] = await read(videos=[item(metadata={"a": 1})])
    assert (film.kind, film.metadata) == ("video", {"a": 1})
    [document] = await read(input_files=[item(filename="a.pdf", mime_type="application/pdf")])
    assert (document.kind, document.filename, document.format) == ("file", "a.pdf", "pdf")


async def test_a_text_document_is_written_as_text_and_others_as_base64() -> None:
    text = {"content": "TestData", "mime_type": "text/plain", "filename": "a.txt"}
    assert bytes((await read(input_files=[text]))[0].content) == b"TestData"
    folded = {"content": "AQID\r\nBAUG\n", "mime_type": "application/pdf"}
    assert bytes((await read(input_files=[folded]))[0].content) == bytes([1, 2, 3, 4, 5, 6])
    untyped = {"content": base64.b64encode(b"\x00").decode()}
    assert bytes((await read(input_files=[untyped]))[0].content) == b"\x00"


async def test_images_and_videos_may_be_given_by_url() -> None:
    [image] = await read(images=[{"url": "https://example.org/a.png"}])
    assert (image.url, len(image.content)) == ("https://example.org/a.png", 0)
    data = "data:image/webp;base64," + base64.b64encode(PNG).decode()
    [inline] = await read(images=[{"url": data}])
    assert (inline.url, bytes(inline.content), inline.mime_type) == (None, PNG, "image/webp")
    assert (await read(videos=[{"url": "http://example.org/v"}]))[0].url


@pytest.mark.parametrize("field", ["images", "audio", "videos", "input_files"])
@pytest.mark.parametrize("given", ["{", '{"content": "eA=="}', '["x"]', "5", '"x"'])
async def test_what_is_no_list_of_objects_is_refused(field: str, given: str) -> None:
    expected = (422, f"Invalid {field}: expected a JSON array of objects")
    assert await refused(**{field: given}) == expected
    assert await refused(upload(field=field)) == expected


@pytest.mark.parametrize(
    ("field", "given", "says"),
    [
        ("images", {"content": "not base64!"}, "is not base64"),
        ("images", {"content": "eA!=="}, "is not base64"),
        ("images", {"content": "eA=="} | {"url": "https://x/y"}, "either 'content' or 'url'"),
        ("images", {}, "either 'content' or 'url'"),
        ("images", {"filepath": "/etc/passwd"}, "'filepath' is not read"),
        ("images", {"content": "eA==", "filepath": "/etc/passwd"}, "'filepath' is not read"),
        ("images", {"url": "file:///etc/passwd"}, "http:// or https://"),
        ("images", {"url": "data:image/png,plain"}, "only base64"),
        ("images", {"url": "https://x/" + "y" * 8_000}, "longer than"),
        ("audio", {"url": "http://169.254.169.254/"}, "is not fetched"),
        ("input_files", {"url": "https://x/a.pdf"}, "is not fetched"),
        ("input_files", {"content": "eA==", "mime_type": "image/png"}, "invalid MIME type"),
        ("videos", {"content": 5}, "'content' must be a string"),
        ("images", {"content": "eA==", "id": "x" * 600}, "'id' is longer"),
    ],
)
async def test_a_file_that_cannot_be_read_is_refused_with_its_place_and_the_reason(
    field: str, given: dict[str, Any], says: str
) -> None:
    good = {"content": "eA=="}
    status, detail = await refused(**{field: [good, given]})
    assert status == 422
    assert detail.startswith(f"Invalid {field}: could not reconstruct every media item: [1] ")
    assert says in detail


async def test_no_files_are_no_files_however_that_is_said() -> None:
    for nothing in ("", "[]", "null", " None "):
        assert await read(images=nothing, audio=nothing, input_files=nothing, files=nothing) == []


async def test_text_where_files_are_uploaded_is_refused_and_other_uploads_are_ignored() -> None:
    status, detail = await refused(files="a.png")
    assert (status, detail[0]["loc"]) == (422, ["body", "files"])
    assert await read(upload(field="avatar")) == []


async def test_a_request_names_its_files_by_what_is_in_them() -> None:
    asked = await submitted("k", upload(), images=[item(id="mine"), {"url": "https://x/y"}])
    first, second, third = asked.request.media
    sha256 = hashlib.sha256(PNG).hexdigest()
    assert first.object == second.object == f"{asked.request.run_id}/{sha256}"
    assert (first.size, third.object, third.url) == (len(PNG), None, "https://x/y")
    assert len({first.id, second.id, third.id}) == 3


async def test_the_same_files_make_the_same_request_and_others_another() -> None:
    first = await submitted("k", upload(), images=[item(id="one")])
    again = await submitted("k", upload(), images=[item(id="named anew")])
    other = await submitted("k", upload(content=PNG + b"!"), images=[item(id="one")])
    renamed = await submitted("k", upload("b.png"), images=[item(id="one")])
    assert first.request == again.request
    digests = {request_digest(each.request) for each in (first, other, renamed)}
    assert len(digests) == 3


async def test_an_id_of_the_clients_own_is_kept_where_nothing_can_be_repeated() -> None:
    fresh = await submitted(None, images=[item(id="mine")])
    assert fresh.request.media[0].id == "mine"


async def test_metadata_nested_too_deep_for_the_bus_is_refused() -> None:
    deep: Any = {}
    for _ in range(70):
        deep = {"a": deep}
    with pytest.raises(Problem) as refusal:
        await submitted(None, images=[item(metadata=deep)])
    assert refusal.value.status == 422
