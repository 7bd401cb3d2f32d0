"""Forms are read whole, both encodings alike, or refused with the reason."""

import random
from collections.abc import Mapping

import pytest
from starlette.requests import Request
from starlette.types import Message

from teambus_gateway.forms import Form, FormLimits, read_form
from teambus_gateway.problems import Problem

LIMITS = FormLimits(
    bytes_max=10_000,
    field_bytes_max=5_000,
    fields_max=20,
    timeout_s=5,
    large_fields=frozenset({"images"}),
)
B = b"boundary"
MULTIPART = "multipart/form-data; boundary=boundary"
URLENCODED = "application/x-www-form-urlencoded"


async def read(body: bytes, kind: str, *, pieces: int = 1, length: bool = False) -> Form:
    size = max(1, -(-len(body) // pieces))
    chunks = [body[i : i + size] for i in range(0, len(body), size)] or [b""]
    waiting = list(chunks)

    async def receive() -> Message:
        chunk = waiting.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": bool(waiting)}

    headers = [(b"content-type", kind.encode("latin-1"))]
    if length:
        headers.append((b"content-length", str(len(body)).encode()))
    return await read_form(Request({"type": "http", "headers": headers}, receive), LIMITS)


def part(disposition: bytes, content: bytes, more: bytes = b"") -> bytes:
    head = b"Content-Disposition: form-data; " + disposition + b"\r\n" + more
    return b"--" + B + b"\r\n" + head + b"\r\n" + content + b"\r\n"


def multipart(fields: Mapping[str, str]) -> bytes:
    parts = [part(b'name="%s"' % n.encode(), v.encode()) for n, v in fields.items()]
    return b"".join(parts) + b"--" + B + b"--\r\n"


def problem(refusal: pytest.ExceptionInfo[Problem]) -> tuple[int, str | None]:
    return refusal.value.status, refusal.value.code


@pytest.mark.parametrize(
    "value",
    [
        "",
        "plain",
        "two\r\nlines",
        "\r\n",
        "\r\n--bound",
        "x--boundary--",
        "世界 🎈",
        "a=b&c",
        "\x00",
    ],
)
async def test_any_text_comes_through_a_multipart_form(value: str) -> None:
    form = await read(multipart({"first": "1", "message": value, "last": "2"}), MULTIPART)
    assert form.fields == {"first": "1", "message": value, "last": "2"}


async def test_how_a_body_is_cut_on_the_way_does_not_matter() -> None:
    rng = random.Random(7)
    for _ in range(50):
        text = "".join(rng.choice("\r\n-boundary é") for _ in range(rng.randrange(60)))
        if f"\r\n--{B.decode()}" in f"\r\n{text}":
            continue
        body = multipart({"a": text, "b": text})
        form = await read(body, MULTIPART, pieces=rng.randrange(1, len(body)))
        assert form.fields == {"a": text, "b": text}


async def test_what_stands_around_the_parts_is_no_part() -> None:
    body = b"preamble\r\n" + multipart({"a": "1"}) + b"epilogue\r\n--boundary\r\n"
    assert (await read(body, MULTIPART)).fields == {"a": "1"}


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ('multipart/form-data; boundary="boundary"', b'name="n"'),
        ("Multipart/Form-Data; charset=utf-8; Boundary=boundary", b"name=n"),
        (MULTIPART, b'x="; name=\\"m\\""; name="n"'),
        (MULTIPART, b'NAME = "n"'),
    ],
)
async def test_a_name_is_found_however_it_is_written(kind: str, says: bytes) -> None:
    body = part(says, b"v", b"Content-Type: text/plain\r\n") + b"--" + B + b"--"
    assert (await read(body, kind)).fields == {"n": "v"}


async def test_files_are_told_from_fields_and_empty_file_inputs_are_nothing() -> None:
    body = (
        part(b'name="files"; filename="a; name=\\"message\\".txt"', b"x")
        + part(b'name="empty"; filename=""', b"")
        + part(b"name=\"other\"; filename*=utf-8''b.txt", b"y")
        + multipart({"message": "m"})
    )
    form = await read(body, MULTIPART)
    assert form.fields == {"message": "m"}
    assert form.file_fields == {"files", "other"}
    assert [(upload.filename, bytes(upload.content)) for upload in form.files] == [
        ('a; name="message".txt', b"x"),
        ("b.txt", b"y"),
    ]


async def test_a_file_comes_through_byte_for_byte_with_its_name_and_type() -> None:
    content = bytes(range(256)) + b"\r\n--bound\r\n\r\n--boundar"
    body = part(
        'name="files"; filename="grün 🎈.png"'.encode(),
        content,
        b"content-type:  Image/PNG; x=y\r\n",
    )
    body += part(b'name="files"; filename="old.png"; filename*=UTF-8\'\'gr%C3%BCn.png', b"")
    for pieces in (1, 7):
        form = await read(body + b"--" + B + b"--\r\n", MULTIPART, pieces=pieces)
        first, second = form.files
        assert (first.filename, first.content_type) == ("grün 🎈.png", "image/png")
        assert bytes(first.content) == content
        assert (second.filename, second.content_type, len(second.content)) == ("grün.png", "", 0)


async def test_a_file_is_a_view_of_the_body_and_no_copy() -> None:
    body = part(b'name="files"; filename="a"', b"x" * 4000) + b"--" + B + b"--\r\n"
    form = await read(body, MULTIPART)
    assert len(form.files[0].content.obj) == len(body)  # type: ignore[arg-type]  # it is bytes


async def test_what_carries_files_may_be_as_large_as_the_request() -> None:
    large = "x" * 5_001
    assert (await read(multipart({"images": large}), MULTIPART)).fields == {"images": large}
    assert (await read(f"images={large}".encode(), URLENCODED)).fields == {"images": large}
    file = part(b'name="files"; filename="a"', b"y" * 5_001) + b"--" + B + b"--\r\n"
    assert len((await read(file, MULTIPART)).files[0].content) == 5_001
    with pytest.raises(Problem) as refusal:
        await read(multipart({"message": large}), MULTIPART)
    assert problem(refusal) == (413, "field_too_large")


async def test_the_last_of_a_name_wins_in_both_encodings() -> None:
    body = part(b'name="a"', b"1") + multipart({"a": "2"})
    assert (await read(body, MULTIPART)).fields == {"a": "2"}
    assert (await read(b"a=1&a=2", URLENCODED)).fields == {"a": "2"}


async def test_urlencoded_text_is_taken_as_browsers_and_programs_send_it() -> None:
    form = await read("a=1+2%20&b=%C3%A9é&empty=&flag".encode(), f"{URLENCODED}; charset=utf-8")
    assert form.fields == {"a": "1 2 ", "b": "éé", "empty": "", "flag": ""}


async def test_a_body_that_is_no_form_has_no_fields() -> None:
    assert (await read(b'{"message": "x"}', "application/json")).fields == {}
    assert (await read(b"", "")).fields == {}


@pytest.mark.parametrize("length", [True, False])
async def test_a_large_body_is_refused_with_or_without_its_length(length: bool) -> None:
    with pytest.raises(Problem) as refusal:
        await read(b"x" * 10_001, URLENCODED, pieces=9, length=length)
    assert problem(refusal) == (413, "request_too_large")


@pytest.mark.parametrize("count", [20, 21, 22, 50])
async def test_more_fields_than_allowed_are_refused(count: int) -> None:
    fields = {str(n): "x" for n in range(count)}
    for body, kind in (
        (multipart(fields), MULTIPART),
        ("&".join(f"{n}=x" for n in fields).encode(), URLENCODED),
    ):
        if count == 20:
            assert (await read(body, kind)).fields == fields
            continue
        with pytest.raises(Problem) as refusal:
            await read(body, kind)
        assert problem(refusal) == (400, "too_many_fields")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--boundary",
        multipart({"a": "1"}).removesuffix(b"--\r\n"),
        b"--boundary\r\nno headers at all\r\n--boundary--",
        b"--boundary\r\n\r\nno disposition\r\n--boundary--",
        b"--boundaryx\r\nContent-Disposition: form-data; name=a\r\n\r\nv\r\n--boundary--",
        part(b"", b"no name") + b"--boundary--",
        part(b"name=" + b"n" * 9000, b"v") + b"--boundary--",
    ],
)
async def test_a_damaged_multipart_form_is_refused(body: bytes) -> None:
    with pytest.raises(Problem) as refusal:
        await read(body, MULTIPART)
    assert problem(refusal) == (400, "malformed_form")


async def test_bytes_that_are_not_utf8_are_refused_and_never_guessed() -> None:
    for body, kind in (
        (b"a=%ff", URLENCODED),
        (b"a=\xff", URLENCODED),
        (b"%ff=a", URLENCODED),
        (part(b"name=a", b"\xe9") + b"--boundary--", MULTIPART),
        (part(b'name="\xe9"', b"x") + b"--boundary--", MULTIPART),
    ):
        with pytest.raises(Problem) as refusal:
            await read(body, kind)
        assert refusal.value.status == 422, body
