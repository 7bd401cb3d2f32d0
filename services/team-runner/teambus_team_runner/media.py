"""The bytes of files that models are shown: read from the store, so many at once and no more."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from teambus.bus.bodies import Bodies, BodyEntry, BodyMissing
from teambus.contracts.media import MediaOutput, MediaReference
from teambus.contracts.output import ChatMessage
from teambus_team_runner.models.parts import Contents, media_of
from teambus_team_runner.models.port import ModelError

log = structlog.get_logger(__name__)

MEDIA_MISSING = "media_missing"
MEDIA_TOO_LARGE = "media_too_large"


@dataclass(frozen=True, slots=True)
class MediaLimits:
    """Bytes of files: of one model call, and of all calls of this process at once."""

    call_bytes_max: int
    bytes_max: int


class StoredMedia:
    """Reads files for model calls. A call waits until those before it have made room."""

    def __init__(self, bodies: Bodies, limits: MediaLimits) -> None:
        self._bodies = bodies
        self._limits = limits
        self._held = 0
        self._freed = asyncio.Event()

    @asynccontextmanager
    async def of(self, messages: Sequence[ChatMessage]) -> AsyncIterator[Contents]:
        """What the files of these messages hold, while the block runs.

        Files of earlier runs that are gone, or for which there is no room, are left out. Raises
        `ModelError` for those of this run.
        """
        asked = _references(messages, from_history=False)
        earlier = _references(messages, from_history=True)
        if not asked and not earlier:
            yield {}
            return
        entries = await self._asked(asked)
        entries += await self._earlier(earlier, self._limits.call_bytes_max - _size(entries))
        async with self._room(_size(entries)):
            yield {entry.name: await self._read(entry) for entry in entries}

    async def _asked(self, references: dict[str, MediaReference]) -> list[BodyEntry]:
        entries = [await self._find(reference) for reference in references.values()]
        if (size := _size(entries)) > self._limits.call_bytes_max:
            text = f"the files have {size} bytes, more than {self._limits.call_bytes_max}"
            raise ModelError(MEDIA_TOO_LARGE, f"{text}; send fewer or smaller files")
        return entries

    async def _earlier(
        self, references: dict[str, MediaReference], bytes_left: int
    ) -> list[BodyEntry]:
        """The newest that are still there and fit."""
        entries: list[BodyEntry] = []
        for name in reversed(references):
            try:
                entry = await self._find(references[name])
            except ModelError as error:
                log.warning("a file of an earlier run is left out", why=error.message)
                continue
            if entry.size > bytes_left:
                log.warning("a file of an earlier run is left out", why="no room", object=name)
                continue
            bytes_left -= entry.size
            entries.append(entry)
        return entries

    async def _find(self, reference: MediaReference) -> BodyEntry:
        try:
            entry = await self._bodies.kept_in(reference.bucket).find(reference.storage_key)
        except BodyMissing as error:
            raise ModelError(MEDIA_MISSING, str(error)) from error
        if entry is None:
            name = reference.filename or reference.media_type
            text = f"the {name!r} of the request is not in the object store {reference.bucket}"
            raise ModelError(MEDIA_MISSING, f"{text} as {reference.storage_key!r}")
        return entry

    async def _read(self, entry: BodyEntry) -> bytes:
        try:
            return await self._bodies.kept_in(entry.bucket).read(entry)
        except BodyMissing as error:
            raise ModelError(MEDIA_MISSING, str(error)) from error

    @asynccontextmanager
    async def _room(self, size: int) -> AsyncIterator[None]:
        """One that is larger than all the room is let in alone."""
        while not self._has_room(size):
            self._freed.clear()
            await self._freed.wait()
        self._held += size
        try:
            yield
        finally:
            self._held -= size
            self._freed.set()

    def _has_room(self, size: int) -> bool:
        return self._held == 0 or self._held + size <= self._limits.bytes_max


def _references(
    messages: Sequence[ChatMessage], *, from_history: bool
) -> dict[str, MediaReference]:
    """Each file once, oldest first."""
    media: list[MediaOutput] = [
        each
        for message in messages
        if message.from_history is from_history
        for each in media_of(message)
    ]
    found = [each.media_reference for each in media if each.media_reference is not None]
    return {each.storage_key: each for each in found if each.media_type != "video"}


def _size(entries: Sequence[BodyEntry]) -> int:
    return sum(entry.size for entry in entries)
