"""Files that go with a run: said by reference, kept in an object store of their own."""

from typing import Any, Literal, TypeAlias

import msgspec

MediaKind: TypeAlias = Literal["image", "audio", "video", "file"]

STORAGE_BACKEND = "nats"
BODIES_BUCKET = "teambus_bodies"
"""Messages too large for the bus."""
FILES_BUCKET = "teambus_files"
"""Files of runs. Apart, so that uploads that fill it leave runs what they need."""


class Media(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One file of a request: an object in the store of files, or a URL for the model.

    `object` is `<token of the run id>/<SHA-256 of the bytes>`. `size` is in bytes. `format` is the
    file's format where its type does not say it, as "wav".
    """

    id: str
    kind: MediaKind
    object: str | None = None
    url: str | None = None
    mime_type: str | None = None
    filename: str | None = None
    format: str | None = None
    detail: str | None = None
    size: int = 0
    metadata: dict[str, Any] | None = None


class MediaReference(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Where the bytes of a file are: the object `storage_key` of the object store `bucket`."""

    media_id: str
    storage_key: str
    storage_backend: str
    bucket: str
    media_type: MediaKind
    mime_type: str | None = None
    filename: str | None = None
    size: int | None = None
    content_hash: str | None = None


class MediaOutput(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One file of a run as clients and hooks read it: a URL, or a reference to its bytes."""

    id: str
    url: str | None = None
    format: str | None = None
    mime_type: str | None = None
    filename: str | None = None
    detail: str | None = None
    metadata: dict[str, Any] | None = None
    media_reference: MediaReference | None = None
