"""Reading a form: both encodings, whole and within limits, text strictly UTF-8.

The body is bounded and small, so it is read first and then taken apart in one go: a tenth of the
work of a parser that is fed in pieces, which for short forms would be the gateway's largest cost.
"""

import asyncio
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request

from teambus_gateway.problems import Problem, field_problem

PARSED_INLINE_BYTES_MAX = 64 * 1024
"""A larger body is taken apart in a thread, so that other requests are answered meanwhile."""
PART_HEADER_BYTES_MAX = 8 * 1024

_BOUNDARY = re.compile(r';\s*boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
_DISPOSITION = re.compile(rb"(?:^|\r\n)content-disposition:\s*form-data\s*(;[^\r\n]*)", re.I)
_PARAMETER = re.compile(rb';\s*([\w*-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))')


@dataclass(frozen=True, slots=True)
class FormLimits:
    """What is more than this is refused."""

    bytes_max: int
    field_bytes_max: int
    fields_max: int
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Form:
    """Fields by name, the last of a name wins; and the names under which files came."""

    fields: dict[str, str]
    files: frozenset[str] = frozenset()


Parse: TypeAlias = Callable[[bytes, bytes, FormLimits], Form]


async def read_form(request: Request, limits: FormLimits) -> Form:
    """The form of a request; one without a form, a JSON body say, has no fields.

    Raises `Problem`: 413 before more than `bytes_max` is read, 408, 400 or 422.
    """
    kind = request.headers.get("content-type", "")
    media = kind.partition(";")[0].strip().lower()
    body = await read_body(request, limits)
    if media == "multipart/form-data":
        boundary = _boundary(kind)
        return await _apart(len(body), _multipart, body, boundary, limits)
    if media == "application/x-www-form-urlencoded":
        return await _apart(len(body), _urlencoded, body, b"", limits)
    return Form({})


async def read_body(request: Request, limits: FormLimits) -> bytes:
    """Raises `Problem`: 413 before more than `bytes_max` is read, 408 or 400."""
    if int(request.headers.get("content-length") or 0) > limits.bytes_max:
        raise _too_large(limits)
    try:
        async with asyncio.timeout(limits.timeout_s):
            return await _collect(request, limits)
    except TimeoutError as error:
        detail = f"the request's body did not arrive within {limits.timeout_s:g} s"
        raise Problem(408, detail, "request_timeout") from error
    except ClientDisconnect as error:
        raise Problem(400, "the request's body is cut short", "request_cut") from error


async def _collect(request: Request, limits: FormLimits) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limits.bytes_max:
            raise _too_large(limits)
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def _apart(size: int, parse: Parse, body: bytes, boundary: bytes, limits: FormLimits) -> Form:
    if size <= PARSED_INLINE_BYTES_MAX:
        return parse(body, boundary, limits)
    return await asyncio.to_thread(parse, body, boundary, limits)


def _urlencoded(body: bytes, _boundary: bytes, limits: FormLimits) -> Form:
    if body.count(b"&") >= limits.fields_max:
        raise _too_many(limits)
    try:
        text = body.decode("utf-8")
        fields = dict(parse_qsl(text, keep_blank_values=True, errors="strict"))
    except UnicodeDecodeError as error:
        raise _not_utf8("form") from error
    for name, value in fields.items():
        _check_size(name, len(value), limits)
    return Form(fields)


def _multipart(body: bytes, boundary: bytes, limits: FormLimits) -> Form:
    fields: dict[str, str] = {}
    files: set[str] = set()
    for head, content in _parts(body, boundary, limits):
        name, filename = _named(head)
        _check_size(name, len(content), limits)
        if filename is not None:
            # A browser sends a file input that was left empty as a file without name and content.
            files.update({name} if filename or content else ())
            continue
        try:
            fields[name] = content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise _not_utf8(name) from error
    return Form(fields, frozenset(files))


def _parts(body: bytes, boundary: bytes, limits: FormLimits) -> Iterator[tuple[bytes, bytes]]:
    """The head and content of each part; what stands before the first or after the last is not."""
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary, limits.fields_max + 1)
    closing = next((i for i, piece in enumerate(pieces) if piece.startswith(b"--")), None)
    if closing is None and len(pieces) > limits.fields_max + 1:
        raise _too_many(limits)
    if closing is None:
        raise _malformed("the closing boundary is missing")
    for piece in pieces[1:closing]:
        head, found, content = piece.lstrip(b" \t").partition(b"\r\n\r\n")
        if not found or not head.startswith(b"\r\n"):
            raise _malformed("a part has no end of its headers")
        yield head, content


def _named(head: bytes) -> tuple[str, bytes | None]:
    """A part's field name, and its file name if it is a file."""
    disposition = _DISPOSITION.search(head) if len(head) <= PART_HEADER_BYTES_MAX else None
    if disposition is None:
        raise _malformed("a part has no usable content-disposition")
    given = {m[1].lower(): m[2] or m[3] or b"" for m in _PARAMETER.finditer(disposition[1])}
    if b"name" not in given:
        raise _malformed("a part has no name")
    try:
        name = given[b"name"].decode("utf-8")
    except UnicodeDecodeError as error:
        raise _not_utf8("form") from error
    name = name.replace('\\"', '"').replace("%22", '"')
    return name, given.get(b"filename", given.get(b"filename*"))


def _boundary(content_type: str) -> bytes:
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise _malformed("missing boundary in multipart")
    return (found[1] or found[2]).encode("latin-1")


def _check_size(name: str, size: int, limits: FormLimits) -> None:
    if size > limits.field_bytes_max:
        detail = f"the field {name[:100]!r} is larger than {limits.field_bytes_max} bytes"
        raise Problem(413, detail, "field_too_large")


def _too_large(limits: FormLimits) -> Problem:
    return Problem(413, f"the request is larger than {limits.bytes_max} bytes", "request_too_large")


def _too_many(limits: FormLimits) -> Problem:
    detail = f"Too many fields. Maximum number of fields is {limits.fields_max}."
    return Problem(400, detail, "too_many_fields")


def _malformed(why: str) -> Problem:
    return Problem(400, f"the form cannot be read: {why}", "malformed_form")


def _not_utf8(name: str) -> Problem:
    says = "Input should be a valid string, unable to parse raw data as a unicode string"
    return field_problem("string_unicode", ("body", name), says, None)
