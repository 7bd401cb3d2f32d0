"""Files that go with a run: said by reference, kept in the store of large bodies."""

from typing import Literal, TypeAlias

import msgspec

MediaKind: TypeAlias = Literal["image", "audio", "video", "file"]


class Media(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One file of a request: an object in the store of large bodies, or a URL for the model.

    `size` is in bytes. `format` is the file's format where its type does not say it, as "wav".
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
