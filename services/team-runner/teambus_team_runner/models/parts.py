"""A message with files in the chat completions format: its text and each file as a part."""

import base64
import mimetypes
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from teambus.contracts.media import MediaOutput
from teambus.contracts.output import ChatMessage

Contents: TypeAlias = Mapping[str, bytes]
"""The bytes of files by their storage key."""
Part: TypeAlias = dict[str, Any]

_SIGNS = ((b"\x89PNG", "image/png"), (b"GIF8", "image/gif"), (b"RIFF", "image/webp"))
_AUDIO_FORMATS = {"mpeg": "mp3", "wave": "wav", "x-wav": "wav"}


def have_media(messages: Sequence[ChatMessage]) -> bool:
    return any(map(has_media, messages))


def has_media(message: ChatMessage) -> bool:
    return bool(message.files or message.images or message.audio or message.videos)


def media_of(message: ChatMessage) -> Iterator[MediaOutput]:
    """All files of a message."""
    for some in (message.files, message.images, message.audio, message.videos):
        yield from some or ()


def parts_of(message: ChatMessage, contents: Contents) -> list[Part]:
    """Documents come before the text, what is seen and heard after it."""
    text = [{"type": "text", "text": message.content}] if message.content else []
    return [
        *(_file(each, contents) for each in message.files or ()),
        *text,
        *(_image(each, contents) for each in message.images or ()),
        *(_audio(each, contents) for each in message.audio or ()),
        *(_unseen(each, "this model cannot watch it") for each in message.videos or ()),
    ]


def _image(media: MediaOutput, contents: Contents) -> Part:
    url = media.url
    if url is None:
        data = _content(media, contents)
        if data is None:
            return _gone(media)
        url = _data_url(_image_type(media, data), data)
    detail = {"detail": media.detail} if media.detail else {}
    return {"type": "image_url", "image_url": {"url": url, **detail}}


def _audio(media: MediaOutput, contents: Contents) -> Part:
    data = _content(media, contents)
    if data is None:
        return _gone(media)
    named = media.format or (media.mime_type or "").partition("/")[2] or "wav"
    sound = {"data": _base64(data), "format": _AUDIO_FORMATS.get(named, named)}
    return {"type": "input_audio", "input_audio": sound}


def _file(media: MediaOutput, contents: Contents) -> Part:
    data = _content(media, contents)
    if data is None:
        return _gone(media)
    name = media.filename or "file"
    mime_type = media.mime_type or mimetypes.guess_type(name)[0] or "application/pdf"
    return {"type": "file", "file": {"filename": name, "file_data": _data_url(mime_type, data)}}


def _gone(media: MediaOutput) -> Part:
    return _unseen(media, "it is not kept any more")


def _unseen(media: MediaOutput, why: str) -> Part:
    """Said in words, so that the model does not answer as if nothing had been sent."""
    reference = media.media_reference
    kind = reference.media_type if reference else "video"
    name = f" {media.filename!r}" if media.filename else ""
    return {"type": "text", "text": f"[A {kind}{name} is attached here, but {why}.]"}


def _content(media: MediaOutput, contents: Contents) -> bytes | None:
    reference = media.media_reference
    return None if reference is None else contents.get(reference.storage_key)


def _image_type(media: MediaOutput, data: bytes) -> str:
    if media.mime_type is not None:
        return media.mime_type
    if media.format:
        return f"image/{'jpeg' if media.format == 'jpg' else media.format}"
    return next((kind for sign, kind in _SIGNS if data.startswith(sign)), "image/jpeg")


def _data_url(mime_type: str, data: bytes) -> str:
    return f"data:{mime_type};base64,{_base64(data)}"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
