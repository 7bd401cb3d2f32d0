"""Going on with a run that has ended: what is asked, checked, and the run it names, looked at.

The runner that takes the new run decides again, on the run as its database has it.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec

from teambus.contracts.ids import RunId, TeamId
from teambus.contracts.output import ChatMessage, RunStatus
from teambus.contracts.run import Continuation, RunRequest
from teambus.domain.continuation import (
    ContinuationRefused,
    NotContinuable,
    boundary,
    check_status,
    not_found,
)
from teambus_gateway.access.caller import Caller
from teambus_gateway.catalogue import Kind
from teambus_gateway.fields import flag_field, metadata_field, object_field, text_field
from teambus_gateway.lookup import Lookup, Wanted
from teambus_gateway.problems import Problem
from teambus_gateway.submission import Submission, run_id_of, run_path

READ_INLINE_BYTES_MAX = 64 * 1024
"""A larger run is read in a thread, so that other requests are answered meanwhile."""
ANSWERS: dict[Kind, str] = {"team": "requirements", "agent": "tools"}
"""The field with which a paused run is answered."""

_NUMBER = re.compile(r"-?[0-9]{1,15}")


@dataclass(frozen=True, slots=True)
class Continuing:
    """A checked form. `is_indexed` is whether a stream numbers the events in their data;
    `mistake` says of a form that it contradicts itself.
    """

    asked: Submission
    is_indexed: bool
    mistake: str | None

    @property
    def before(self) -> Continuation:
        assert self.asked.request.continues is not None, self.asked
        return self.asked.request.continues


class _Before(msgspec.Struct):
    """What is looked at of a run that is to be gone on with; the rest is skipped unread."""

    status: RunStatus
    user_id: str | None = None
    messages: list[ChatMessage] = []


def read_continuing(
    caller: Caller,
    kind: Kind,
    place: tuple[TeamId, RunId],
    fields: Mapping[str, str],
    idempotency_key: str | None,
) -> Continuing:
    """What a form asks of the run at a place. Raises `Problem` for the first thing wrong."""
    id_, before = place
    mistake = _mistake(fields)
    is_new = any(flag_field(fields, name) for name in ("fork", "regenerate"))
    background = flag_field(fields, "background") is True
    _check_answers(ANSWERS[kind], fields)
    session_id = caller.session_id or text_field(fields, "session_id")
    if session_id is None:
        raise Problem(400, "session_id is required for this action")
    route = f"POST {run_path(kind, id_, before)}/continue"
    origin, run_id = run_id_of(caller, route, None, idempotency_key)
    asked = Submission(
        caller.tenant,
        id_,
        RunRequest(
            run_id=run_id,
            input=_message(fields),
            session_id=session_id,
            user_id=caller.asks_as(text_field(fields, "user_id")),
            metadata=metadata_field(fields),
            dependencies=object_field(fields, "dependencies"),
            stream=flag_field(fields, "stream") is not False,
            continues=_continuation(before, fields),
        ),
        origin,
        kind,
        background=background,
        stream_events=flag_field(fields, "stream_events") is not False,
    )
    return Continuing(asked, is_indexed=background or not is_new, mistake=mistake)


async def check_before(lookup: Lookup, wanted: Wanted, asked: Continuing) -> None:
    """Raises `Problem`: 404 unless the run is there, 409 when it cannot be gone on with, 400 when
    not in this way; 503 when what should know does not answer.
    """
    before = await _find(lookup, wanted, asked.asked.request.user_id)
    try:
        check_status(wanted.run_id, before.status)
        if asked.mistake is not None:
            raise ContinuationRefused(asked.mistake)
        boundary(before.messages, asked.before)
    except NotContinuable as error:
        raise Problem(409, str(error)) from error
    except ContinuationRefused as error:
        raise Problem(400, str(error)) from error


async def _find(lookup: Lookup, wanted: Wanted, user_id: str | None) -> _Before:
    missing = Problem(404, not_found(wanted.run_id))
    if wanted.component.db_id is None:
        raise missing
    try:
        standing = await lookup.standing(wanted)
    except Problem as problem:
        raise missing if problem.status == 404 else problem from problem
    if standing.output is None:
        return _Before(standing.status)
    before = await _read(standing.output)
    if None not in (before.user_id, user_id) and before.user_id != user_id:
        raise missing
    return before


async def _read(output: bytes) -> _Before:
    if len(output) <= READ_INLINE_BYTES_MAX:
        return msgspec.json.decode(output, type=_Before)
    return await asyncio.to_thread(msgspec.json.decode, output, type=_Before)


def _message(fields: Mapping[str, str]) -> str:
    regenerate = flag_field(fields, "regenerate")
    return (regenerate and fields.get("additional_instructions")) or fields.get("input", "")


def _continuation(before: RunId, fields: Mapping[str, str]) -> Continuation:
    return Continuation(
        run_id=before,
        continue_from=_continue_from(fields),
        regenerate=flag_field(fields, "regenerate") is True,
        replace_original=flag_field(fields, "replace_original") is not False,
    )


def _continue_from(fields: Mapping[str, str]) -> int | Literal["end", "last_user"]:
    match fields.get("continue_from", "").strip() or "end":
        case "end":
            return "end"
        case "last_user":
            return "last_user"
        case number if _NUMBER.fullmatch(number):
            return int(number)
    detail = "Invalid continue_from. Use 'end', 'last_user', or a numeric message index."
    raise Problem(400, detail)


def _mistake(fields: Mapping[str, str]) -> str | None:
    names = ("fork", "regenerate", "replace_original")
    fork, regenerate, replace_original = (flag_field(fields, name) for name in names)
    if fields.get("input") and fields.get("additional_instructions"):
        return "Provide either `additional_instructions` or `input`, not both."
    if replace_original is not None and not regenerate:
        return "`replace_original` only makes sense with `regenerate=True`."
    if regenerate and fork:
        return (
            "`regenerate=True` derives the destructive/preserving choice from "
            "`replace_original`; do not pass `fork=True` directly."
        )
    return None


def _check_answers(name: str, fields: Mapping[str, str]) -> None:
    """Answers to what a paused run waits for. No run pauses, so there is none they could be for."""
    text = fields.get(name)
    if not text:
        return
    try:
        given = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Problem(400, f"Invalid JSON in {name} field") from error
    is_list = isinstance(given, list) and all(isinstance(each, dict) for each in given)
    if given and not is_list:
        detail = f"Invalid structure or content for {name}: expected a JSON array of objects"
        raise Problem(400, detail)
