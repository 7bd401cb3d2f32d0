"""Files written into JSON fields of a form, as AgentOS's client sends them."""

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from teambus.contracts.ids import TEXT_ID_LENGTH_MAX
from teambus.contracts.media import MediaKind
from teambus.domain.media import BY_URL
from teambus_gateway.forms import Form
from teambus_gateway.media import Attachment
from teambus_gateway.media_types import DOCUMENT_TYPES, format_of, normal
from teambus_gateway.problems import Problem

JSON_FIELDS: Mapping[str, MediaKind] = {
    "images": "image",
    "audio": "audio",
    "videos": "video",
    "input_files": "file",
}
URL_LENGTH_MAX = 8000
NOTHING = frozenset({"", "null", "none", "[]"})


def written(form: Form) -> Iterator[Attachment]:
    """The files that are written in JSON fields."""
    for field, kind in JSON_FIELDS.items():
        text = form.fields.get(field, "")
        if text.strip().lower() in NOTHING:
            continue
        for at, item in enumerate(_items(field, text)):
            try:
                yield _item(kind, item)
            except ValueError as error:
                detail = f"Invalid {field}: could not reconstruct every media item: [{at}] {error}"
                raise Problem(422, detail) from error


def _items(field: str, text: str) -> list[dict[str, Any]]:
    try:
        items = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise not_an_array(field) from error
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise not_an_array(field)
    return items


def _item(kind: MediaKind, item: dict[str, Any]) -> Attachment:
    """Raises `ValueError` saying what is wrong."""
    mime_type = normal(_text(item, "mime_type") or "") or None
    if kind == "file" and mime_type is not None and mime_type not in DOCUMENT_TYPES:
        raise ValueError(f"invalid MIME type {mime_type!r}")
    metadata, filename = item.get("metadata"), _text(item, "filename")
    given = Attachment(
        kind=kind,
        given_id=_text(item, "id"),
        mime_type=mime_type,
        filename=filename,
        format=_text(item, "format") or format_of(mime_type or "", filename or ""),
        detail=_text(item, "detail"),
        metadata=metadata if isinstance(metadata, dict) and metadata else None,
    )
    return _filled(given, item)


def _filled(given: Attachment, item: dict[str, Any]) -> Attachment:
    """With the content, or with the URL where one is taken in its place."""
    content, url = _text(item, "content", length_max=None), _text(item, "url", length_max=None)
    if item.get("filepath") is not None:
        raise ValueError("'filepath' is not read from this server; send 'content'")
    if content is not None and url is None:
        is_text = given.kind == "file" and (given.mime_type or "").startswith("text/")
        return replace(given, content=content.encode() if is_text else _bytes(content))
    if url is None or content is not None:
        raise ValueError("give either 'content' or 'url'")
    if url.startswith("data:"):
        mime_type, data = _data_url(url)
        return replace(given, content=data, mime_type=mime_type or given.mime_type)
    _check_url(given.kind, url)
    return replace(given, url=url)


def _text(
    item: dict[str, Any], name: str, *, length_max: int | None = TEXT_ID_LENGTH_MAX
) -> str | None:
    value = item.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise ValueError(f"{name!r} must be a string")
    if length_max is not None and len(value) > length_max:
        raise ValueError(f"{name!r} is longer than {length_max} characters")
    return value


def _check_url(kind: MediaKind, url: str) -> None:
    if kind not in BY_URL:
        raise ValueError("a 'url' is not fetched for this kind of file; send 'content'")
    if not url.startswith(("http://", "https://")):
        raise ValueError("'url' must begin with http:// or https://, or be a base64 data: URL")
    if len(url) > URL_LENGTH_MAX:
        raise ValueError(f"'url' is longer than {URL_LENGTH_MAX} characters")


def _data_url(url: str) -> tuple[str, bytes]:
    head, comma, data = url.partition(",")
    if not comma or not head.endswith(";base64"):
        raise ValueError("only base64 data: URLs are taken")
    return head.removeprefix("data:").partition(";")[0], _bytes(data)


def _bytes(content: str) -> bytes:
    try:
        return base64.b64decode("".join(content.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"'content' is not base64: {error}") from error


def not_an_array(field: str) -> Problem:
    return Problem(422, f"Invalid {field}: expected a JSON array of objects")
