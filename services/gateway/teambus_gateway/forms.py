"""Reading a form: both encodings, whole and within limits, text strictly UTF-8.

The body is bounded and small, so it is read first and then taken apart in one go: a tenth of the
work of a parser that is fed in pieces, which for short forms would be the gateway's largest cost.
"""

import asyncio
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import parse_qsl, unquote

from starlette.requests import ClientDisconnect, Request

from teambus_gateway.problems import Problem, field_problem
from teambus_gateway.room import Hold

PARSED_INLINE_BYTES_MAX = 64 * 1024
"""A larger body is taken apart in a thread, so that other requests are answered meanwhile."""
PART_HEADER_BYTES_MAX = 8 * 1024

_BOUNDARY = re.compile(r';\s*boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
_DISPOSITION = re.compile(rb"(?:^|\r\n)content-disposition:\s*form-data\s*(;[^\r\n]*)", re.I)
_TYPE = re.compile(rb"(?:^|\r\n)content-type:[ \t]*([^\r\n]*)", re.I)
_PARAMETER = re.compile(rb';\s*([\w*-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))')


@dataclass(frozen=True, slots=True)
class FormLimits:
    """What is more than this is refused. The `large_fields` hold files as text: their size is
    bounded by that of the whole, as the size of files is.
    """

    bytes_max: int
    field_bytes_max: int
    fields_max: int
    timeout_s: float
    large_fields: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Upload:
    """A file in a form. `content` is a view of the request's body, which it keeps in memory."""

    field: str
    filename: str
    content_type: str
    content: memoryview


@dataclass(frozen=True, slots=True)
class Form:
    """Fields by name, the last of a name wins; and the files, in the order they came."""

    fields: dict[str, str]
    files: tuple[Upload, ...] = ()

    @property
    def file_fields(self) -> frozenset[str]:
        """The names of fields under which files came."""
        return frozenset(upload.field for upload in self.files)


Parse: TypeAlias = Callable[[bytes, bytes, FormLimits], Form]


async def read_form(request: Request, limits: FormLimits, hold: Hold | None = None) -> Form:
    """The form of a request; one without a form, a JSON body say, has no fields.

    Raises `Problem`: 413 before more than `bytes_max` is read, 408, 400 or 422; 503 when there is
    no room for it in `hold`.
    """
    kind = request.headers.get("content-type", "")
    media = kind.partition(";")[0].strip().lower()
    body = await read_body(request, limits, hold)
    if media == "multipart/form-data":
        boundary = _boundary(kind)
        return await _apart(len(body), _multipart, body, boundary, limits)
    if media == "application/x-www-form-urlencoded":
        return await _apart(len(body), _urlencoded, body, b"", limits)
    return Form({})


async def read_body(request: Request, limits: FormLimits, hold: Hold | None = None) -> bytes:
    """Raises `Problem`: 413 before more than `bytes_max` is read, 408 or 400; 503 without room."""
    if int(request.headers.get("content-length") or 0) > limits.bytes_max:
        raise _too_large(limits)
    try:
        async with asyncio.timeout(limits.timeout_s):
            return await _collect(request, limits, hold)
    except TimeoutError as error:
        detail = f"the request's body did not arrive within {limits.timeout_s:g} s"
        raise Problem(408, detail, "request_timeout") from error
    except ClientDisconnect as error:
        raise Problem(400, "the request's body is cut short", "request_cut") from error


async def _collect(request: Request, limits: FormLimits, hold: Hold | None) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limits.bytes_max:
            raise _too_large(limits)
        if hold is None or hold.grow(len(chunk)):
            chunks.append(chunk)
        else:
            # Read to its end all the same: who is cut off while sending may miss the refusal.
            chunks.clear()
    if hold is not None:
        hold.check()
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
    files: list[Upload] = []
    for head, content in _parts(body, boundary, limits):
        name, filename = _named(head)
        if filename is not None:
            # A browser sends a file input that was left empty as a file without name and content.
            if filename or content:
                files.append(Upload(name, filename, _type(head), content))
            continue
        _check_size(name, len(content), limits)
        try:
            fields[name] = str(content, "utf-8")
        except UnicodeDecodeError as error:
            raise _not_utf8(name) from error
    return Form(fields, tuple(files))


def _parts(body: bytes, boundary: bytes, limits: FormLimits) -> Iterator[tuple[bytes, memoryview]]:
    """The head and content of each part; what stands before the first or after the last is not."""
    view, delimiter = memoryview(body), b"\r\n--" + boundary
    at = _after_first(body, delimiter)
    for _ in range(limits.fields_max + 1):
        if body.startswith(b"--", at):
            return
        end = body.find(delimiter, at)
        if end < 0:
            raise _malformed("the closing boundary is missing")
        begin = body.find(b"\r\n\r\n", at, end)
        while body.startswith((b" ", b"\t"), at):
            at += 1
        if begin < 0 or not body.startswith(b"\r\n", at):
            raise _malformed("a part has no end of its headers")
        yield body[at:begin], view[begin + 4 : end]
        at = end + len(delimiter)
    raise _too_many(limits)


def _after_first(body: bytes, delimiter: bytes) -> int:
    """Where the first part begins; a body may begin with its boundary or with a preamble."""
    if body.startswith(delimiter[2:]):
        return len(delimiter) - 2
    found = body.find(delimiter)
    if found < 0:
        raise _malformed("the closing boundary is missing")
    return found + len(delimiter)


def _named(head: bytes) -> tuple[str, str | None]:
    """A part's field name, and its file name if it is a file."""
    disposition = _DISPOSITION.search(head) if len(head) <= PART_HEADER_BYTES_MAX else None
    if disposition is None:
        raise _malformed("a part has no usable content-disposition")
    given = {m[1].lower(): m[2] or m[3] or b"" for m in _PARAMETER.finditer(disposition[1])}
    if b"name" not in given:
        raise _malformed("a part has no name")
    try:
        return _unescaped(given[b"name"].decode("utf-8")), _filename(given)
    except UnicodeDecodeError as error:
        raise _not_utf8("form") from error


def _filename(given: dict[bytes, bytes]) -> str | None:
    if b"filename*" in given:
        return unquote(given[b"filename*"].decode("utf-8").rpartition("'")[2])
    if b"filename" in given:
        return _unescaped(given[b"filename"].decode("utf-8"))
    return None


def _unescaped(text: str) -> str:
    return text.replace('\\"', '"').replace("%22", '"')


def _type(head: bytes) -> str:
    """A part's content type without its parameters."""
    found = _TYPE.search(head)
    return "" if found is None else found[1].decode("latin-1").partition(";")[0].strip().lower()


def _boundary(content_type: str) -> bytes:
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise _malformed("missing boundary in multipart")
    return (found[1] or found[2]).encode("latin-1")


def _check_size(name: str, size: int, limits: FormLimits) -> None:
    if size > limits.field_bytes_max and name not in limits.large_fields:
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
