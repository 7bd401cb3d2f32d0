"""What the OpenAPI document says of the endpoints of sessions, beside what FastAPI reads itself."""

from typing import Any

from pydantic import BaseModel
from starlette.responses import Response

from teambus_gateway.catalogue import Kind
from teambus_gateway.openapi import AWAY, endpoint, id_parameter, tag
from teambus_gateway.run_forms import Words
from teambus_gateway.session_inputs import ChangeBody, CreationBody, DeletionBody, RenamingBody

_NO_DATABASE = "No such database, or one has to be named with db_id."
_NO_SESSION = "No such session of this user, or no such database."
_UNREADABLE = "A part of the request is missing or wrong."
_TOO_LARGE = "The request, or what is asked for, is too large."
_NOT_DONE = {408: "The body did not arrive in time.", 413: _TOO_LARGE}


def _endpoint(name: str, says: str, errors: dict[int, str], **more: Any) -> Words:
    common = {400: _NO_DATABASE, 404: _NO_SESSION, 422: _UNREADABLE, 503: AWAY}
    return endpoint(name, "Sessions", says, {**common, **errors}, **more)


def _body(kind: type[BaseModel], *, required: bool = True) -> Words:
    content = {"application/json": {"schema": _schema(kind)}}
    return {"required": required, "content": content}


def _schema(kind: type[BaseModel]) -> Words:
    """The schema with what it refers to written out."""
    schema = kind.model_json_schema()
    parts = schema.pop("$defs", {})

    def whole(value: Any) -> Any:
        if isinstance(value, dict):
            if "$ref" in value:
                return whole(parts[value["$ref"].rpartition("/")[2]])
            return {name: whole(each) for name, each in value.items()}
        return [whole(each) for each in value] if isinstance(value, list) else value

    written: Words = whole(schema)
    return written


LIST_SESSIONS = _endpoint(
    "get_sessions",
    "A page of sessions, without their runs; `meta` says how many there are.",
    {413: _TOO_LARGE},
)
GET_MEDIA = _endpoint(
    "get_session_media", "The bytes of a file that a run of the session was given.", {}
) | {"response_class": Response}
CREATE_SESSION = _endpoint(
    "create_session",
    "The session, which has no runs yet.",
    {
        **_NOT_DONE,
        409: "There is a session with this id.",
        501: "There are no workflows.",
    },
    status=201,
    requestBody=_body(CreationBody, required=False),
)
DELETE_SESSIONS = _endpoint(
    "delete_sessions",
    "They and their runs are gone.",
    _NOT_DONE,
    status=204,
    requestBody=_body(DeletionBody),
)
GET_SESSION = _endpoint(
    "get_session_by_id", "The session and what was said in it.", {413: _TOO_LARGE}
)
CHANGE_SESSION = _endpoint(
    "update_session",
    "The session as it is now; what was given has replaced what was stored.",
    _NOT_DONE,
    requestBody=_body(ChangeBody),
)
RENAME_SESSION = _endpoint(
    "rename_session", "The session as it is now.", _NOT_DONE, requestBody=_body(RenamingBody)
)
DELETE_SESSION = _endpoint(
    "delete_session", "It and its runs are gone, or were not there.", {}, status=204
)
GET_SESSION_RUNS = _endpoint(
    "get_session_runs",
    "Runs, oldest first; members' runs before the run they are part of.",
    {413: _TOO_LARGE},
)
GET_PREVIEWS = _endpoint(
    "get_session_run_previews", "The same runs in a few words each.", {413: _TOO_LARGE}
)
GET_SESSION_RUN = _endpoint("get_session_run", "A run, of a team or of a member.", {})


def list_runs(kind: Kind) -> Words:
    return endpoint(
        f"list_{kind}_runs",
        tag(kind),
        f"The {kind}'s stored runs in the session, oldest first, without those of members.",
        {
            404: f"No such {kind}, or no such session of it.",
            413: _TOO_LARGE,
            422: _UNREADABLE,
            503: AWAY,
        },
        parameters=[id_parameter(kind)],
    )


def fork_session(kind: Kind) -> Words:
    return endpoint(
        f"fork_{kind}_session",
        tag(kind),
        "The id of a new session with copies of the runs.",
        {
            400: "The session is not there or has no runs.",
            404: f"No such {kind}.",
            413: _TOO_LARGE,
            422: _UNREADABLE,
            503: AWAY,
        },
        parameters=[id_parameter(kind)],
    )
