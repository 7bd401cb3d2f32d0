"""What the OpenAPI document says of each endpoint, in the keywords FastAPI's routes take."""

from typing import Any

from teambus_gateway.catalogue import Kind
from teambus_gateway.run_forms import RESUME_FORM, RUN_FORM, Words, continue_form, text

_ERROR_SCHEMA: Words = {
    "type": "object",
    "required": ["detail"],
    "properties": {
        "detail": {"description": "What is wrong, as text or as a list of field errors."},
        "code": text("Stable, for programs."),
        "run_id": text("The run concerned."),
    },
}


def endpoint(
    name: str, tag: str, says: str, errors: dict[int, str], *, status: int = 200, **more: Any
) -> Words:
    """What a route is declared with; `answer` says more of its reply and `also` what else it may
    be; the rest of `more` goes into the document as it is.
    """
    responses: dict[int | str, Words] = {status: {"description": says, **more.pop("answer", {})}}
    responses |= more.pop("also", {})
    for status, description in errors.items():
        content = {"application/json": {"schema": _ERROR_SCHEMA}}
        responses[status] = {"description": description, "content": content}
    return {
        "operation_id": name,
        "summary": name.replace("_", " ").capitalize(),
        "tags": [tag],
        "status_code": status,
        "responses": responses,
        "openapi_extra": more,
    }


def _parameter(name: str, place: str, description: str, *, required: bool = True) -> Words:
    schema = {"type": "string"}
    return {
        "name": name,
        "in": place,
        "required": required,
        "description": description,
        "schema": schema,
    }


AWAY = "The bus or what is behind it does not answer, or is full; Retry-After says when to ask."
_RUN_ID = _parameter("run_id", "path", "The run's id.")
_KEY = _parameter(
    "Idempotency-Key",
    "header",
    "Sending the same request with the same key again gives the same run.",
    required=False,
)
_JSON: Words = {"application/json": {"schema": {"type": "object"}}}
_EVENTS: Words = {"text/event-stream": {"schema": {"type": "string"}}}


def run_component(kind: Kind) -> Words:
    return endpoint(
        f"run_{kind}",
        tag(kind),
        "The events of the run; with stream=false the finished run, whose `status` is COMPLETED, "
        "ERROR or CANCELLED.",
        {
            400: "The form cannot be read, a file is not taken, or there is no database.",
            404: f"No such {kind}, or the session belongs to another user.",
            408: "The body did not arrive in time.",
            409: "The run id or the idempotency key belongs to another request.",
            413: "The request, a field or a file is too large, or there are too many files.",
            422: "A field is missing or wrong.",
            429: f"Too many runs of this {kind} are waiting.",
            501: "Asked for what a later release does.",
            503: AWAY,
            504: "The run goes on; `poll` says where to ask for it.",
        },
        answer={"content": {**_JSON, **_EVENTS}},
        also={202: {"description": "Accepted: the run's ids and status.", "content": _JSON}},
        parameters=[id_parameter(kind), _KEY],
        requestBody={"required": True, "content": _form(RUN_FORM)},
    )


def get_run(kind: Kind) -> Words:
    return endpoint(
        f"get_{kind}_run",
        tag(kind),
        "The run: finished, or with the status PENDING or RUNNING.",
        {404: f"No such {kind} or run.", 422: "session_id is missing.", 503: AWAY},
        parameters=[
            id_parameter(kind),
            _RUN_ID,
            _parameter("session_id", "query", "The session the run belongs to."),
        ],
    )


def cancel_run(kind: Kind) -> Words:
    return endpoint(
        f"cancel_{kind}_run",
        tag(kind),
        "The order to cancel is stored; a run that has ended is not changed by it.",
        {404: f"No such {kind}.", 422: "The run's id is too long.", 503: AWAY},
        parameters=[
            id_parameter(kind),
            _parameter("run_id", "path", "The run's id, submitted already or not."),
            _parameter("session_id", "query", "Not needed.", required=False),
        ],
    )


def resume_run(kind: Kind) -> Words:
    return endpoint(
        f"resume_{kind}_run",
        tag(kind),
        "What the client missed, then what happens; an `error` event for a run nobody knows.",
        {
            400: "The form cannot be read.",
            404: f"No such {kind}.",
            408: "The body did not arrive in time.",
            413: "The request or one of its fields is too large.",
            422: "last_event_index is not a number.",
            503: AWAY,
        },
        answer={"content": _EVENTS},
        parameters=[id_parameter(kind), _RUN_ID],
        requestBody={"required": False, "content": _form(RESUME_FORM)},
    )


def continue_run(kind: Kind) -> Words:
    return endpoint(
        f"continue_{kind}_run",
        tag(kind),
        "The events of a new run that goes on with this one; with stream=false the new run, "
        "finished. A stream that is refused has one event of an error.",
        {
            400: "The form cannot be read, or the run cannot be gone on with in this way.",
            404: f"No such {kind}, or no such run in this session.",
            408: "The body did not arrive in time.",
            409: "The run was cancelled or goes on, or the idempotency key is another request's.",
            413: "The request or one of its fields is too large.",
            422: "A field is wrong.",
            429: f"Too many runs of this {kind} are waiting.",
            503: AWAY,
            504: "The new run goes on; `poll` says where to ask for it.",
        },
        answer={"content": {**_JSON, **_EVENTS}},
        also={202: {"description": "Accepted: the new run's ids and status.", "content": _JSON}},
        parameters=[id_parameter(kind), _RUN_ID, _KEY],
        requestBody={"required": True, "content": _form(continue_form(kind))},
    )


def get_run_events(kind: Kind) -> Words:
    last = "The number of the last event the client has had."
    return endpoint(
        f"get_{kind}_run_events",
        tag(kind),
        "The events of the run after the one named, then those that happen.",
        {404: f"No such {kind} or run.", 422: "The number is not one.", 503: AWAY},
        answer={"content": _EVENTS},
        also={204: {"description": "The client has had the last event of the run."}},
        parameters=[
            id_parameter(kind),
            _RUN_ID,
            _parameter("Last-Event-ID", "header", last, required=False),
            _parameter("last_event_index", "query", last, required=False),
            _parameter("session_id", "query", "The session the run belongs to.", required=False),
        ],
    )


def get_run_hooks(kind: Kind) -> Words:
    return endpoint(
        f"get_{kind}_run_hooks",
        tag(kind),
        "How each background hook that hears of the run stands: waiting, running, retrying, "
        "delivered or dead.",
        {404: f"No such {kind}, or no run of this id any more.", 503: AWAY},
        parameters=[id_parameter(kind), _RUN_ID],
    )


def get_component(kind: Kind) -> Words:
    errors = {404: f"No such {kind}.", 503: AWAY}
    return endpoint(
        f"get_{kind}", tag(kind), f"The {kind}.", errors, parameters=[id_parameter(kind)]
    )


def list_components(kind: Kind) -> Words:
    return endpoint(f"list_{kind}s", tag(kind), f"Every {kind}.", {})


def _form(schema: Words) -> Words:
    return {
        "multipart/form-data": {"schema": schema},
        "application/x-www-form-urlencoded": {"schema": schema},
    }


def tag(kind: Kind) -> str:
    return f"{kind.capitalize()}s"


def id_parameter(kind: Kind) -> Words:
    return _parameter(f"{kind}_id", "path", f"The {kind}'s id.")


GET_CONFIG = endpoint("get_config", "Core", "What this AgentOS offers.", {})
GET_INFO = endpoint("get_info", "Core", "What this AgentOS is.", {})
GET_HOME = endpoint("get_home", "Core", "Where to go from here.", {})
GET_HEALTH = endpoint("get_health", "Core", "The process answers.", {})
