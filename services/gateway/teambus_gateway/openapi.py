"""What the OpenAPI document says of each endpoint, in the keywords FastAPI's routes take."""

from typing import Any

from teambus_gateway.catalogue import Kind

Words = dict[str, Any]


def _text(description: str, **more: Any) -> Words:
    return {"type": "string", "description": description, **more}


_JSON_OBJECT = {"contentMediaType": "application/json"}

RUN_FORM: Words = {
    "type": "object",
    "required": ["message"],
    "properties": {
        "message": _text("What is asked.", minLength=1),
        "stream": {
            "type": "boolean",
            "default": True,
            "description": "Answer with the run's events as they happen; false: with its end.",
        },
        "stream_events": {
            "type": "boolean",
            "default": True,
            "description": "False: of the leader only text; of the members everything.",
        },
        "background": {
            "type": "boolean",
            "default": False,
            "description": "Do not wait for the end; with stream, number the events in their data.",
        },
        "session_id": _text("The session the run belongs to; a new one if absent.", maxLength=512),
        "user_id": _text("Who asks.", maxLength=512),
        "run_id": _text("The id the run shall have; one that is in use is refused.", maxLength=512),
        "session_state": _text("A JSON object merged over the session's state.", **_JSON_OBJECT),
        "dependencies": _text("A JSON object for tools and hooks.", **_JSON_OBJECT),
        "metadata": _text("A JSON object kept with the run.", **_JSON_OBJECT),
        "files": {
            "type": "array",
            "items": {"type": "string", "format": "binary"},
            "description": "Images, audio, videos or documents.",
        },
        "files_metadata": _text(
            "A JSON array of objects, one for each of `files`.", **_JSON_OBJECT
        ),
        "images": _text(
            "A JSON array of images, as objects with base64 `content` or `url`.", **_JSON_OBJECT
        ),
        "audio": _text("A JSON array of sounds with base64 `content`.", **_JSON_OBJECT),
        "videos": _text("A JSON array of videos with base64 `content` or `url`.", **_JSON_OBJECT),
        "input_files": _text("A JSON array of documents with base64 `content`.", **_JSON_OBJECT),
        "add_history_to_context": {
            "type": "boolean",
            "description": "Show the model earlier runs of the session.",
        },
    },
}

RESUME_FORM: Words = {
    "type": "object",
    "properties": {
        "last_event_index": {"type": "integer", "description": "The number of the last event had."},
        "session_id": _text("The session the run belongs to; old runs are found only with it."),
    },
}

_ERROR_SCHEMA: Words = {
    "type": "object",
    "required": ["detail"],
    "properties": {
        "detail": {"description": "What is wrong, as text or as a list of field errors."},
        "code": _text("Stable, for programs."),
        "run_id": _text("The run concerned."),
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
        parameters=[
            id_parameter(kind),
            _parameter(
                "Idempotency-Key",
                "header",
                "Sending the same request with the same key again gives the same run.",
                required=False,
            ),
        ],
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
