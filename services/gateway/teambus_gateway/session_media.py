"""Reading back the bytes of a session's files, which its runs tell of by reference."""

from collections.abc import Iterator, Sequence
from typing import Annotated

import msgspec
from fastapi import FastAPI, Query
from starlette.requests import Request
from starlette.responses import Response

from teambus.bus.bodies import BodyMissing
from teambus.bus.errors import BusError
from teambus.contracts.ids import RunId, SessionId
from teambus.contracts.media import MediaReference
from teambus.contracts.output import TeamRunInput
from teambus.contracts.sessions_api import GetRuns
from teambus_gateway import session_openapi as openapi
from teambus_gateway.access.caller import Caller, caller_of
from teambus_gateway.media_types import SHOWN_TYPES
from teambus_gateway.parts import Parts
from teambus_gateway.problems import Problem
from teambus_gateway.session_inputs import Place

PLAIN = "application/octet-stream"


class _Run(msgspec.Struct):
    """The part of a stored run that tells of files; the rest is skipped unread."""

    input: TeamRunInput | None = None


_runs = msgspec.json.Decoder(_Run)


def add_media_routes(app: FastAPI, parts: Parts) -> None:
    @app.get("/sessions/{session_id}/media/{storage_key:path}", **openapi.GET_MEDIA)
    async def media(
        session_id: str, storage_key: str, request: Request, query: Annotated[Place, Query()]
    ) -> Response:
        return await _media(parts, caller_of(request), session_id, storage_key, query)


async def _media(
    parts: Parts, caller: Caller, session_id: SessionId, key: str, place: Place
) -> Response:
    """A key is good only in a session that has a run with that file."""
    reference = await _reference(parts, caller, session_id, key, place)
    try:
        bodies = parts.media.bodies.kept_in(reference.bucket)
        entry = await bodies.find(key)
        if entry is None:
            raise Problem(404, "Media object not found")
        with parts.room.hold() as hold:
            hold.grow(entry.size)
            hold.check()
            data = await bodies.read(entry)
    except BodyMissing as error:
        raise Problem(404, "Media object not found") from error
    except BusError as error:
        detail = "the file cannot be read now; try again later"
        after_s = parts.media.retry_after_s
        raise Problem(503, detail, "bus_unavailable", retry_after_s=after_s) from error
    return _served(data, reference)


async def _reference(
    parts: Parts, caller: Caller, session_id: SessionId, key: str, place: Place
) -> MediaReference:
    """In the run that the key names or, in a session that is a copy, in any run."""
    db_ids = await parts.databases.any_of(place.chosen)
    user_id = caller.looks_for(place.user_id)
    run_id: RunId | None = key.partition("/")[0]
    while True:
        question = GetRuns(session_id=session_id, user_id=user_id, run_id=run_id)
        found = await parts.databases.first(caller.tenant, db_ids, question)
        if found is None:
            raise Problem(404, f"Session '{session_id}' not found")
        for reference in _references(found.runs):
            if reference.storage_key == key:
                return reference
        if run_id is None:
            raise Problem(404, "Media not found in this session")
        run_id = None


def _references(runs: Sequence[msgspec.Raw]) -> Iterator[MediaReference]:
    for stored in runs:
        asked = _runs.decode(stored).input or TeamRunInput(input_content="")
        for some in (asked.images, asked.audios, asked.videos, asked.files):
            yield from (each.media_reference for each in some or () if each.media_reference)


def _served(data: bytes, reference: MediaReference) -> Response:
    """What a browser might run here, or what nobody knows, is only offered for keeping."""
    headers = {"X-Content-Type-Options": "nosniff"}
    media_type = reference.mime_type
    if media_type not in SHOWN_TYPES:
        media_type = PLAIN
        headers["Content-Disposition"] = "attachment"
    return Response(data, media_type=media_type, headers=headers)
