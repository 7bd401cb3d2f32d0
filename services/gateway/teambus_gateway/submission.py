"""From the fields of a form to a run request: what is asked, checked field by field."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias
from urllib.parse import quote

import structlog

from teambus.bus.waiter import RunKey
from teambus.contracts.headers import NEW_RUN, NEW_SESSION
from teambus.contracts.ids import (
    TEXT_ID_LENGTH_MAX,
    RunId,
    SessionId,
    TeamId,
    Tenant,
    keyed_run_id,
    new_id,
)
from teambus.contracts.media import Media
from teambus.contracts.run import RunRequest
from teambus_gateway.access.caller import Caller
from teambus_gateway.catalogue import Kind
from teambus_gateway.fields import (
    NOTHING,
    check_json,
    flag_field,
    integer,
    metadata_field,
    object_field,
    text_field,
)
from teambus_gateway.forms import Form
from teambus_gateway.media import Attachment
from teambus_gateway.problems import Problem, field_problem, missing

log = structlog.get_logger(__name__)

ANONYMOUS = "anonymous"
NOT_YET = ("output_schema",)

Origin: TypeAlias = Literal["fresh", "keyed", "chosen"]


@dataclass(frozen=True, slots=True)
class Submission:
    """A checked run request. `origin` says who made its run id: the gateway, from nothing or from
    an idempotency key, or the client; all but a fresh one may have been submitted before. With
    `background` the caller does not wait; without `stream_events` a stream has fewer events.
    """

    tenant: Tenant
    team_id: TeamId
    request: RunRequest
    origin: Origin
    kind: Kind = "team"
    background: bool = False
    stream_events: bool = True
    session_is_new: bool = False

    @property
    def path(self) -> str:
        return component_path(self.kind, self.team_id)

    @property
    def may_be_repeated(self) -> bool:
        """Whether somebody may ask for it again, so that its acceptance must be known to all."""
        return self.background or self.origin != "fresh"

    @property
    def new(self) -> str:
        """Which ids the gateway has drawn for it, as the bus is told."""
        if self.origin != "fresh":
            return ""
        return f"{NEW_RUN} {NEW_SESSION}" if self.session_is_new else NEW_RUN

    @property
    def key(self) -> RunKey:
        return RunKey(self.tenant, self.team_id, self.request.run_id)


def component_path(kind: Kind, id_: TeamId) -> str:
    """Where a team or agent is found."""
    return f"/{kind}s/{id_}"


def run_path(kind: Kind, id_: TeamId, run_id: RunId) -> str:
    """Where one of its runs is found."""
    return f"{component_path(kind, id_)}/runs/{quote(run_id, safe='')}"


def read_submission(
    caller: Caller,
    kind: Kind,
    id_: TeamId,
    form: Form,
    idempotency_key: str | None,
    attachments: Sequence[Attachment] = (),
) -> Submission:
    """Raises `Problem` for the first thing that is wrong."""
    fields = form.fields
    message = _message(form)
    flag_field(fields, "monitor")
    integer("version", fields.get("version", ""))
    route = f"POST {component_path(kind, id_)}/runs"
    origin, run_id = run_id_of(caller, route, text_field(fields, "run_id"), idempotency_key)
    session_id = caller.session_id or text_field(fields, "session_id")
    return Submission(
        caller.tenant,
        id_,
        RunRequest(
            run_id=run_id,
            input=message,
            session_id=session_id or session_of(run_id, origin),
            user_id=caller.asks_as(text_field(fields, "user_id")),
            metadata=metadata_field(fields),
            session_state=object_field(fields, "session_state"),
            dependencies=object_field(fields, "dependencies"),
            add_history_to_context=flag_field(fields, "add_history_to_context"),
            stream=flag_field(fields, "stream") is not False,
            media=_media(attachments, run_id, origin),
        ),
        origin,
        kind,
        background=flag_field(fields, "background") is True,
        stream_events=flag_field(fields, "stream_events") is not False,
        session_is_new=session_id is None,
    )


def check_supported(form: Form) -> None:
    """Raises `Problem` 501 for what is asked of a later release."""
    given = form.fields
    later = [each for each in NOT_YET if given.get(each, "").strip().lower() not in NOTHING]
    if later:
        raise Problem(501, f"not supported yet: {', '.join(later)}", "not_supported")


def session_of(run_id: RunId, origin: Origin) -> SessionId:
    """The session of a run that names none; made from the run id where that may come again."""
    if origin == "fresh":
        return new_id()
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"teambus:run:{run_id}"))


def check_run_id(value: str) -> None:
    """Raises `ValueError` for what cannot stand as one part of a path, where runs are asked for."""
    if "/" in value or value in (".", ".."):
        raise ValueError("a run_id has no '/' in it and is not '.' or '..'")


def _message(form: Form) -> str:
    if "message" in form.file_fields:
        raise field_problem(
            "string_type", ("body", "message"), "Input should be a valid string", None
        )
    message = form.fields.get("message")
    if not message:
        raise missing(("body", "message"))
    return message


def _media(attachments: Sequence[Attachment], run_id: RunId, origin: Origin) -> list[Media]:
    """An id of the client's own is kept only where the request can have no repeat: a client that
    says the same again may well name the same file anew.
    """
    keep_id = origin == "fresh"
    media = [each.media(run_id, at, keep_id=keep_id) for at, each in enumerate(attachments)]
    for at, each in enumerate(media):
        try:
            check_json(each.metadata)
        except ValueError as error:
            raise Problem(422, f"the metadata of file {at}: {error}") from error
    return media


def run_id_of(
    caller: Caller, route: str, chosen: RunId | None, key: str | None
) -> tuple[Origin, RunId]:
    """The id of a new run, and who made it: the client, its idempotency key, or nobody yet."""
    if key is not None and len(key) > TEXT_ID_LENGTH_MAX:
        raise Problem(422, f"Idempotency-Key is longer than {TEXT_ID_LENGTH_MAX} characters")
    if key and chosen:
        raise Problem(422, "an Idempotency-Key makes the run_id: send one or the other, not both")
    if key:
        return "keyed", keyed_run_id(caller.tenant, _principal(caller), route, key)
    if chosen is None:
        return "fresh", new_id()
    try:
        check_run_id(chosen)
    except ValueError as error:
        raise field_problem("value_error", ("body", "run_id"), str(error), chosen) from error
    return "chosen", chosen


def _principal(caller: Caller) -> str:
    """Whose keys are his own. Those who are nobody in particular share theirs."""
    return ANONYMOUS if caller.user_id is None else f"user:{caller.user_id}"
