"""From the fields of a form to a run request: what is asked, checked field by field."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias
from urllib.parse import quote

import msgspec
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
from teambus_gateway.catalogue import Kind
from teambus_gateway.forms import Form
from teambus_gateway.media import Attachment
from teambus_gateway.problems import Problem, field_problem, missing

log = structlog.get_logger(__name__)

ANONYMOUS = "anonymous"
JSON_DEPTH_MAX = 64
TRUE = frozenset({"1", "true", "t", "yes", "y", "on"})
FALSE = frozenset({"0", "false", "f", "no", "n", "off"})
NOTHING = frozenset({"", "null", "none", "[]", "{}"})
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
    tenant: Tenant,
    kind: Kind,
    id_: TeamId,
    form: Form,
    idempotency_key: str | None,
    attachments: Sequence[Attachment] = (),
) -> Submission:
    """Raises `Problem` for the first thing that is wrong."""
    fields = form.fields
    message = _message(form)
    _flag(fields, "monitor")
    integer("version", fields.get("version", ""))
    route = f"POST {component_path(kind, id_)}/runs"
    origin, run_id = _run_id(tenant, route, fields, idempotency_key)
    session_id = _text(fields, "session_id")
    return Submission(
        tenant,
        id_,
        RunRequest(
            run_id=run_id,
            input=message,
            session_id=session_id or session_of(run_id, origin),
            user_id=_text(fields, "user_id"),
            metadata=_metadata(fields),
            session_state=_object_or_nothing(fields, "session_state"),
            dependencies=_object_or_nothing(fields, "dependencies"),
            add_history_to_context=_flag(fields, "add_history_to_context"),
            stream=_flag(fields, "stream") is not False,
            media=_media(attachments, run_id, origin),
        ),
        origin,
        kind,
        background=_flag(fields, "background") is True,
        stream_events=_flag(fields, "stream_events") is not False,
        session_is_new=session_id is None,
    )


def check_supported(form: Form) -> None:
    """Raises `Problem` 501 for what is asked of a later release."""
    given = {name for name, value in form.fields.items() if value.strip().lower() not in NOTHING}
    if later := [name for name in NOT_YET if name in given]:
        raise Problem(501, f"not supported yet: {', '.join(later)}", "not_supported")


def session_of(run_id: RunId, origin: Origin) -> SessionId:
    """The session of a run that names none; made from the run id where that may come again."""
    if origin == "fresh":
        return new_id()
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"teambus:run:{run_id}"))


def check_json(value: Any) -> None:
    """Raises `ValueError` for what the bus does not carry: nests too deep for those who read it."""
    try:
        _check_depth(value, JSON_DEPTH_MAX)
        msgspec.json.encode(value)
    except (msgspec.MsgspecError, OverflowError, RecursionError, TypeError) as error:
        raise ValueError(str(error)) from error


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


def _run_id(
    tenant: Tenant, route: str, fields: Mapping[str, str], key: str | None
) -> tuple[Origin, RunId]:
    chosen = _text(fields, "run_id")
    if key is not None and len(key) > TEXT_ID_LENGTH_MAX:
        raise Problem(422, f"Idempotency-Key is longer than {TEXT_ID_LENGTH_MAX} characters")
    if key and chosen:
        raise Problem(422, "an Idempotency-Key makes the run_id: send one or the other, not both")
    if key:
        return "keyed", keyed_run_id(tenant, ANONYMOUS, route, key)
    if chosen is None:
        return "fresh", new_id()
    try:
        check_run_id(chosen)
    except ValueError as error:
        raise field_problem("value_error", ("body", "run_id"), str(error), chosen) from error
    return "chosen", chosen


def _text(fields: Mapping[str, str], name: str) -> str | None:
    value = fields.get(name) or None
    if value is not None and len(value) > TEXT_ID_LENGTH_MAX:
        says = f"String should have at most {TEXT_ID_LENGTH_MAX} characters"
        raise field_problem("string_too_long", ("body", name), says, value)
    return value


def _flag(fields: Mapping[str, str], name: str) -> bool | None:
    value = fields.get(name, "")
    word = value.strip().lower()
    if word in TRUE:
        return True
    if word in FALSE:
        return False
    if word in NOTHING:
        return None
    says = "Input should be a valid boolean, unable to interpret input"
    raise field_problem("bool_parsing", ("body", name), says, value)


def integer(name: str, value: str, place: str = "body") -> int | None:
    """A whole number, or None for nothing. Raises `Problem`."""
    try:
        return int(value[:20]) if value else None
    except ValueError as error:
        says = "Input should be a valid integer, unable to parse string as an integer"
        raise field_problem("int_parsing", (place, name), says, value) from error


def _metadata(fields: Mapping[str, str]) -> dict[str, Any] | None:
    try:
        return _object(fields, "metadata")
    except ValueError as error:
        detail = "Invalid metadata parameter: expected a JSON object"
        raise Problem(400, detail) from error


def _object_or_nothing(fields: Mapping[str, str], name: str) -> dict[str, Any] | None:
    """AgentOS drops what it cannot read here, and so do we, but not silently."""
    try:
        return _object(fields, name)
    except ValueError as error:
        log.warning("form field dropped", field=name, error=str(error))
        return None


def _object(fields: Mapping[str, str], name: str) -> dict[str, Any] | None:
    """Raises `ValueError` unless the field is absent or a JSON object."""
    text = fields.get(name, "")
    if text.strip().lower() in ("", "null", "none"):
        return None
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(str(error)) from error
    if not isinstance(value, dict):
        raise ValueError(f"a JSON object is expected, not a {type(value).__name__}")
    check_json(value)
    return value


def _check_depth(value: Any, left: int) -> None:
    if left == 0:
        raise ValueError(f"nested more than {JSON_DEPTH_MAX} deep")
    children = (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    )
    for child in children:
        _check_depth(child, left - 1)
