"""What clients may say of sessions, in the query and in JSON bodies, checked as FastAPI does."""

from enum import StrEnum
from typing import Annotated, Any, TypeVar

import msgspec
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request

from teambus.contracts.ids import TEXT_ID_LENGTH_MAX
from teambus.contracts.sessions_api import (
    NAME_LENGTH_MAX,
    PAGE_MAX,
    SESSIONS_PAGE_MAX,
    SessionType,
)
from teambus_gateway.databases import Chosen
from teambus_gateway.fields import check_json
from teambus_gateway.forms import FormLimits, read_body
from teambus_gateway.problems import Problem

B = TypeVar("B", bound=BaseModel)
Id = Annotated[str, Field(max_length=TEXT_ID_LENGTH_MAX, pattern=r"^[^\x00]*$")]
Name = Annotated[str, Field(max_length=NAME_LENGTH_MAX)]


class Kind(StrEnum):
    """What a session may be of. There are no workflows here, so none is ever found."""

    AGENT = "agent"
    TEAM = "team"
    WORKFLOW = "workflow"

    @property
    def stored(self) -> SessionType:
        assert self is not Kind.WORKFLOW, self
        return "agent" if self is Kind.AGENT else "team"


class Order(StrEnum):
    ASCENDING = "asc"
    DESCENDING = "desc"


class Place(BaseModel):
    """The query of every request about one session."""

    type: Kind | None = Field(
        None, description="Show the session as one of this type; else as what it is."
    )
    user_id: str | None = Field(None, description="Find it only if it is this user's.")
    db_id: str | None = Field(
        None, description="The database; without it, all are asked for the session."
    )
    table: str | None = Field(None, description="The session table; goes with db_id.")

    @property
    def chosen(self) -> Chosen:
        return Chosen(self.db_id, self.table)


class DeletionPlace(Place):
    delete_media: bool = Field(False, description="Not supported: media are kept by time.")


class RunsPlace(Place):
    created_after: int | None = Field(None, description="Seconds since 1970.")
    created_before: int | None = Field(None, description="Seconds since 1970.")
    status: list[str] = Field([], description="Any of these, in upper or lower case.")


class ListQuery(BaseModel):
    type: Kind | None = Field(None, description="Sessions of this type.")
    component_id: str | None = Field(None, description="Sessions of this team or agent.")
    user_id: str | None = Field(None, description="Sessions of this user.")
    session_name: str | None = Field(None, description="Sessions with this in their name.")
    limit: int = Field(20, ge=1, le=SESSIONS_PAGE_MAX, description="Sessions on a page.")
    page: int = Field(1, ge=0, le=PAGE_MAX, description="Pages count from 1; 0 is the first too.")
    sort_by: str = Field("created_at", description="A field of the listed sessions.")
    sort_order: Order = Order.DESCENDING
    db_id: str | None = Field(None, description="The database; required if there are several.")
    table: str | None = Field(None, description="The session table; goes with db_id.")

    @property
    def chosen(self) -> Chosen:
        return Chosen(self.db_id, self.table)


class CreationQuery(BaseModel):
    type: Kind = Kind.AGENT
    db_id: str | None = None


class CreationBody(BaseModel):
    session_id: Id | None = None
    session_name: Name | None = None
    session_state: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    user_id: Id | None = None
    agent_id: Id | None = None
    team_id: Id | None = None
    workflow_id: Id | None = None


class Summary(BaseModel):
    model_config = ConfigDict(extra="forbid")

    summary: str
    topics: list[str] | None = None
    updated_at: str | None = None


class ChangeBody(BaseModel):
    session_name: Name | None = None
    session_state: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    summary: Summary | None = None


class RenamingBody(BaseModel):
    session_name: Name


class DeletionBody(BaseModel):
    session_ids: list[str] = Field(min_length=1, max_length=SESSIONS_PAGE_MAX)
    session_types: list[Kind] = Field(min_length=1, max_length=SESSIONS_PAGE_MAX)


async def read_json(request: Request, limits: FormLimits, kind: type[B]) -> B | None:
    """The JSON body, None when there is none. Raises `Problem`."""
    data = await read_body(request, limits)
    return check_body(_value(data, request), kind) if data else None


def check_body(value: Any, kind: type[B]) -> B:
    """Raises `Problem` 422 with each thing that is wrong."""
    try:
        check_json(value)
        return kind.model_validate(value, from_attributes=True)
    except ValidationError as error:
        raise Problem(422, [_told(each) for each in error.errors(include_url=False)]) from error
    except ValueError as error:
        wrong = {"type": "value_error", "loc": ["body"], "msg": str(error), "input": None}
        raise Problem(422, [wrong]) from error


def required(body: B | None, *place: str) -> B:
    """Raises `Problem` 422 when the body, or what is at the place in it, is missing."""
    if body is None:
        wrong = {"type": "missing", "loc": ["body", *place], "msg": "Field required", "input": None}
        raise Problem(422, [wrong])
    return body


def _told(error: Any) -> dict[str, Any]:
    is_missing = error["type"] == "missing"
    return {
        "type": error["type"],
        "loc": ["body", *error["loc"]],
        "msg": error["msg"],
        "input": None if is_missing else error["input"],
        **({"ctx": error["ctx"]} if "ctx" in error else {}),
    }


def _value(data: bytes, request: Request) -> Any:
    """The body as JSON; one that is not said to be JSON is text."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json" and not media.endswith("+json"):
        return data.decode("utf-8", "replace")
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        wrong = {
            "type": "json_invalid",
            "loc": ["body"],
            "msg": "JSON decode error",
            "input": {},
            "ctx": {"error": str(error)},
        }
        raise Problem(422, [wrong]) from error
