"""Files of a run: what a request may say of them, and how they are told in its output."""

from collections.abc import Iterable, Sequence

from teambus.contracts.ids import RunId, token
from teambus.contracts.media import (
    FILES_BUCKET,
    STORAGE_BACKEND,
    Media,
    MediaOutput,
    MediaReference,
)
from teambus.contracts.output import TeamRunInput

BY_URL = ("image", "video")
"""Kinds that may be given by URL; nobody here fetches what a caller points at."""


def object_name(run_id: RunId, sha256: str) -> str:
    """The name of a file's bytes in the store of files."""
    return f"{token(run_id)}/{sha256}"


def mistake_in(media: Sequence[Media], run_id: RunId) -> str | None:
    """What is wrong with the files of a request, for people."""
    for at, each in enumerate(media):
        if mistake := _mistake(each, run_id):
            return f"media[{at}]: {mistake}"
    return None


def run_input(text: str, media: Sequence[Media]) -> TeamRunInput:
    """What a run is asked, as clients and hooks read it."""
    if not media:
        return TeamRunInput(input_content=text)
    return TeamRunInput(
        input_content=text,
        images=_told(media, "image"),
        videos=_told(media, "video"),
        audios=_told(media, "audio"),
        files=_told(media, "file"),
    )


def told(media: Media) -> MediaOutput:
    """One file as clients and hooks read it."""
    return MediaOutput(
        id=media.id,
        url=media.url,
        format=media.format,
        mime_type=media.mime_type,
        filename=media.filename,
        detail=media.detail,
        metadata=media.metadata,
        media_reference=_reference(media),
    )


def _told(media: Iterable[Media], kind: str) -> list[MediaOutput] | None:
    return [told(each) for each in media if each.kind == kind] or None


def _reference(media: Media) -> MediaReference | None:
    if media.object is None:
        return None
    return MediaReference(
        media_id=media.id,
        storage_key=media.object,
        storage_backend=STORAGE_BACKEND,
        bucket=FILES_BUCKET,
        media_type=media.kind,
        mime_type=media.mime_type,
        filename=media.filename,
        size=media.size or None,
        content_hash=media.object.partition("/")[2],
    )


def _mistake(media: Media, run_id: RunId) -> str | None:
    if (media.object is None) == (media.url is None):
        return "give either `object` or `url`"
    if media.url is not None and media.kind not in BY_URL:
        return f"{media.kind} is not taken by url; put its bytes into the object store"
    if media.url is not None and not media.url.startswith(("http://", "https://")):
        return "a url begins with http:// or https://"
    if media.object is not None and not media.object.startswith(object_name(run_id, "")):
        return f"the object of this run begins with {object_name(run_id, '')!r}"
    return None
