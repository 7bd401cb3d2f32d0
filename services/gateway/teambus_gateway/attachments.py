"""Reading the files of a form, uploads and those in JSON fields, within limits."""

import asyncio
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import msgspec
import structlog

from teambus_gateway.forms import PARSED_INLINE_BYTES_MAX, Form, Upload
from teambus_gateway.media import Attachment, Metadata
from teambus_gateway.media_fields import JSON_FIELDS, NOTHING, not_an_array, written
from teambus_gateway.media_types import format_of, kind_of, type_of
from teambus_gateway.problems import Problem, field_problem

log = structlog.get_logger(__name__)

UPLOADS = "files"
METADATA = "files_metadata"
METADATA_BYTES_MAX = 8000


@dataclass(frozen=True, slots=True)
class MediaLimits:
    """How many files a run may be given, and how large each may be."""

    files_max: int
    file_bytes_max: int


async def read_attachments(form: Form, limits: MediaLimits) -> list[Attachment]:
    """The files of a form, uploads first. Raises `Problem`: 400, 413 or 422."""
    if not form.files and form.fields.keys().isdisjoint((*JSON_FIELDS, UPLOADS, METADATA)):
        return []
    texts = sum(len(form.fields.get(name, "")) for name in JSON_FIELDS)
    if texts + sum(len(upload.content) for upload in form.files) <= PARSED_INLINE_BYTES_MAX:
        return _read(form, limits)
    return await asyncio.to_thread(_read, form, limits)


def _read(form: Form, limits: MediaLimits) -> list[Attachment]:
    found: list[Attachment] = []
    for attachment in (*_uploaded(form, limits), *written(form)):
        _check_size(attachment, limits)
        if len(found) == limits.files_max:
            raise Problem(
                413, f"too many files: at most {limits.files_max} go with a run", "too_many_files"
            )
        sha256 = hashlib.sha256(attachment.content).digest()
        found.append(replace(attachment, sha256=sha256))
    return found


def _uploaded(form: Form, limits: MediaLimits) -> Iterator[Attachment]:
    if form.fields.get(UPLOADS, "").strip().lower() not in NOTHING:
        says = "Value error, Expected UploadFile, received: <class 'str'>"
        raise field_problem("value_error", ("body", UPLOADS), says, form.fields[UPLOADS][:100])
    metadata = _metadata(form.fields.get(METADATA, ""))
    position = 0
    for upload in form.files:
        if upload.field == UPLOADS:
            yield _upload(upload, metadata[position] if position < len(metadata) else None)
            position += 1
        elif upload.field in JSON_FIELDS:
            raise not_an_array(upload.field)
        else:
            log.debug("file ignored", field=upload.field[:100])


def _upload(upload: Upload, metadata: Metadata) -> Attachment:
    kind = kind_of(upload.content_type, upload.filename)
    if kind is None:
        raise Problem(400, "Unsupported file type")
    if not upload.content:
        raise Problem(400, "Empty file")
    return Attachment(
        kind=kind,
        content=upload.content,
        mime_type=type_of(kind, upload.content_type, upload.filename),
        filename=upload.filename or None,
        format=format_of(upload.content_type, upload.filename),
        metadata=metadata,
    )


def _metadata(text: str) -> list[Metadata]:
    """By position. AgentOS drops what it cannot read here, and so do we, but not silently."""
    if len(text.encode()) > METADATA_BYTES_MAX:
        raise Problem(422, f"files_metadata exceeds the {METADATA_BYTES_MAX}-byte limit")
    if not text:
        return []
    try:
        given = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        log.warning("form field dropped", field="files_metadata", error=str(error))
        return []
    if not isinstance(given, list):
        return []
    return [each if isinstance(each, dict) and each else None for each in given]


def _check_size(attachment: Attachment, limits: MediaLimits) -> None:
    if len(attachment.content) > limits.file_bytes_max:
        name = (attachment.filename or attachment.kind)[:100]
        detail = f"the file {name!r} is larger than {limits.file_bytes_max} bytes"
        raise Problem(413, detail, "file_too_large")
    if attachment.url is None and not attachment.content:
        raise Problem(400, "Empty file")
