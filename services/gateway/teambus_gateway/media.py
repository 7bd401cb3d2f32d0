"""The files of a submission as they came, and the store where their run finds them."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import structlog

from teambus.bus.bodies import Bodies
from teambus.bus.errors import BusUnavailable, StreamFull
from teambus.contracts.ids import RunId
from teambus.contracts.media import Media, MediaKind
from teambus.domain.media import object_name
from teambus_gateway.problems import BusProblems, Problem

log = structlog.get_logger(__name__)

Metadata: TypeAlias = dict[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """One file as it came: its bytes, or a URL that the model is given."""

    kind: MediaKind
    content: bytes | memoryview = b""
    url: str | None = None
    given_id: str | None = None
    mime_type: str | None = None
    filename: str | None = None
    format: str | None = None
    detail: str | None = None
    metadata: Metadata = None
    sha256: bytes = b""

    def media(self, run_id: RunId, position: int, *, keep_id: bool) -> Media:
        """How the run request says it. Unless the given id is kept, the same file in the same
        place has the same id, so that a repeated request is the same request.
        """
        place = f"{position}:{self.url or self.sha256.hex()}"
        made = str(uuid.uuid5(uuid.NAMESPACE_URL, f"teambus:media:{place}"))
        return Media(
            id=(self.given_id if keep_id else None) or made,
            kind=self.kind,
            object=None if self.url else object_name(run_id, self.sha256.hex()),
            url=self.url,
            mime_type=self.mime_type,
            filename=self.filename,
            format=self.format,
            detail=self.detail,
            size=len(self.content),
            metadata=self.metadata,
        )


class MediaStore:
    """Puts the bytes of a submission's files where its run finds them."""

    def __init__(self, bodies: Bodies, *, retry_after_s: int) -> None:
        self.bodies = bodies
        self.retry_after_s = retry_after_s

    async def put(self, run_id: RunId, attachments: Sequence[Attachment]) -> None:
        """Return when all are stored, which is before the run is asked for: no run ever lacks a
        file that its caller sent. What is stored for a request that then fails is never read.
        """
        if not attachments:
            return
        with BusProblems(run_id, self.retry_after_s):
            try:
                await self._put(run_id, attachments)
            except StreamFull as error:
                log.error("the store of files is full", error=str(error))
                raise Problem(
                    503,
                    "there is no room for files, so the run was not started; "
                    "try again later, or without files",
                    "files_full",
                    retry_after_s=self.retry_after_s,
                    run_id=run_id,
                ) from error
            except BusUnavailable as error:
                log.error("could not store the files of a request", error=str(error))
                raise Problem(
                    503,
                    "the files could not be stored, so the run was not started; try again later",
                    "bus_unavailable",
                    retry_after_s=self.retry_after_s,
                    run_id=run_id,
                ) from error

    async def _put(self, run_id: RunId, attachments: Sequence[Attachment]) -> None:
        for each in attachments:
            if each.url is None:
                name = object_name(run_id, each.sha256.hex())
                await self.bodies.put(name, each.content, each.sha256)
