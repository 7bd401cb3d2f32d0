"""Dead letters over HTTP: seen, redriven, discarded."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import structlog
from fastapi import FastAPI, Query
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from teambus.bus.dead_letters import About, LetterFacts, LetterFilter, LetterUnreadable
from teambus.bus.errors import BusError, StreamFull
from teambus.bus.redrive import NotRedriven
from teambus.contracts.message import encode
from teambus_gateway.access.caller import caller_of
from teambus_gateway.openapi import AWAY, endpoint
from teambus_gateway.parts import Parts, json_reply
from teambus_gateway.problems import Problem
from teambus_gateway.shapes import Shape

log = structlog.get_logger(__name__)

PAGE_MAX = 1000
SEQUENCE_MAX = 2**53
TIME_MAX = 2**40
NOT_FOUND = "Dead letter not found"

_WRONG = "A parameter is wrong."
_GONE = "There is no such letter: it was redriven or discarded, or never was."
LIST_LETTERS = endpoint(
    "get_dead_letters",
    "Dead letters",
    "A page of letters, oldest first, without the events they carry.",
    {422: _WRONG, 503: AWAY},
)
GET_LETTER = endpoint(
    "get_dead_letter",
    "Dead letters",
    "The letter: a `dead.letter.v1`.",
    {404: _GONE, 409: "The letter itself cannot be read.", 422: _WRONG, 503: AWAY},
)
REDRIVE_LETTER = endpoint(
    "redrive_dead_letter",
    "Dead letters",
    "The event will be delivered to that hook again; the letter is gone.",
    {
        404: _GONE,
        409: "It cannot be redriven; `code` says why.",
        422: _WRONG,
        503: AWAY,
    },
    status=202,
)
REDRIVE_LETTERS = endpoint(
    "redrive_dead_letters",
    "Dead letters",
    "Which letters of hooks were redriven, and which not, with the reason.",
    {422: "A parameter is wrong, or none says which letters.", 503: AWAY},
    status=202,
)
DISCARD_LETTER = endpoint(
    "delete_dead_letter",
    "Dead letters",
    "The letter is gone for good.",
    {404: _GONE, 422: _WRONG, 503: AWAY},
    status=204,
)


class Place(BaseModel):
    """The query that says which letters."""

    name: str | None = Field(None, description="Letters of this hook, or of this team's runs.")
    team_id: str | None = Field(None, description="Letters of runs of this team or agent.")
    since: float | None = Field(
        None, ge=0, le=TIME_MAX, description="Died then or later, in seconds since 1970."
    )
    limit: int = Field(20, ge=1, le=PAGE_MAX, description="Letters on a page.")
    after: int = Field(
        0, ge=0, le=SEQUENCE_MAX, description="The `next` of the page before this one."
    )


class ListQuery(Place):
    about: About | None = Field(None, description="What was given up.")

    @property
    def wanted(self) -> LetterFilter:
        return LetterFilter(
            about=self.about, name=self.name, team_id=self.team_id, since=self.since
        )


class RedriveQuery(Place):
    all: bool = Field(False, description="Needed where nothing else says which letters.")

    @property
    def wanted(self) -> LetterFilter:
        """Raises `Problem` 422 for a request that may have forgotten to say."""
        if not self.all and self.name is None and self.team_id is None and self.since is None:
            detail = "say which letters, by name, team_id or since; or all=true"
            raise Problem(422, detail, "malformed_request")
        return LetterFilter(about="hook", name=self.name, team_id=self.team_id, since=self.since)


def add_letter_routes(app: FastAPI, parts: Parts) -> None:
    _add_many(app, parts)
    _add_one(app, parts)


def _add_many(app: FastAPI, parts: Parts) -> None:
    @app.get("/dead-letters", **LIST_LETTERS)
    async def list_letters(request: Request, query: Annotated[ListQuery, Query()]) -> Response:
        with _told(parts):
            page = await parts.redrives.letters.page(
                caller_of(request).tenant, query.wanted, after=query.after, limit=query.limit
            )
        data = [_shape(letter) for letter in page.letters]
        return json_reply({"data": data, "meta": {"limit": query.limit, "next": page.next}})

    @app.post("/dead-letters/redrive", **REDRIVE_LETTERS)
    async def redrive_many(request: Request, query: Annotated[RedriveQuery, Query()]) -> Response:
        with _told(parts):
            sweep = await parts.redrives.many(
                caller_of(request).tenant, query.wanted, after=query.after, limit=query.limit
            )
        refused = [{"id": r.id, "code": r.code, "detail": r.detail} for r in sweep.refused]
        told = {"redriven": sweep.redriven, "refused": refused, "next": sweep.next}
        return json_reply(told, status=202)


def _add_one(app: FastAPI, parts: Parts) -> None:
    """The id of a letter has that of its run in it, which may hold anything, a slash too."""

    @app.get("/dead-letters/{letter_id:path}", **GET_LETTER)
    async def get_letter(request: Request, letter_id: str) -> Response:
        with _told(parts):
            found = await parts.redrives.letters.find(caller_of(request).tenant, letter_id)
        if found is None:
            raise Problem(404, NOT_FOUND)
        return Response(encode(found.letter), media_type="application/json")

    @app.post("/dead-letters/{letter_id:path}/redrive", **REDRIVE_LETTER)
    async def redrive(request: Request, letter_id: str) -> Response:
        with _told(parts):
            done = await parts.redrives.one(caller_of(request).tenant, letter_id)
        if not done:
            raise Problem(404, NOT_FOUND)
        return json_reply({"redriven": [letter_id]}, status=202)

    @app.delete("/dead-letters/{letter_id:path}", **DISCARD_LETTER)
    async def discard(request: Request, letter_id: str) -> Response:
        with _told(parts):
            done = await parts.redrives.letters.discard(caller_of(request).tenant, letter_id)
        if not done:
            raise Problem(404, NOT_FOUND)
        return Response(status_code=204)


@contextmanager
def _told(parts: Parts) -> Iterator[None]:
    """Say what went wrong. Each of these may be asked for again."""
    wait_s = parts.retry_after_s
    try:
        yield
    except NotRedriven as error:
        raise Problem(409, error.detail, error.code) from error
    except LetterUnreadable as error:
        raise Problem(409, str(error), "letter_unreadable") from error
    except StreamFull as error:
        log.error("a stream is full", error=str(error))
        detail = "too much waits to be delivered again, or the bus is full; try again later"
        raise Problem(503, detail, "bus_full", retry_after_s=wait_s) from error
    except BusError as error:
        log.error("the bus does not answer", error=str(error))
        detail = "the bus did not answer, so it may not have been done; ask again"
        raise Problem(503, detail, "bus_unavailable", retry_after_s=wait_s) from error


def _shape(letter: LetterFacts) -> Shape:
    return {
        "id": letter.id,
        "about": letter.about,
        "name": letter.name,
        "team_id": letter.team_id,
        "run_id": letter.run_id,
        "reason": letter.reason,
        "attempts": letter.attempts,
        "last_error": letter.last_error,
        "redriven": letter.generation,
        "died_at": letter.died_at,
    }
