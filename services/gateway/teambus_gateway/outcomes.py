"""What became of a submission, as an answer: how its run ended, or a refusal."""

import msgspec

from teambus.bus.waiter import RunEnd
from teambus.contracts.ids import RunId
from teambus.contracts.output import RunStatus
from teambus.contracts.run import RunAccepted, RunRefused, request_digest
from teambus_gateway.problems import Problem
from teambus_gateway.submission import Submission

CONTINUATION_STATUSES = {
    "run_not_found": 404,
    "run_not_continuable": 409,
    "wrong_continuation": 400,
}
"""Of runs that were to go on with another, and could not any more when they were taken."""


class _Status(msgspec.Struct):
    status: RunStatus


class _Refusal(msgspec.Struct):
    content: str


def answered(found: RunEnd | RunRefused, run_id: RunId) -> RunEnd:
    """The end as a reply; raises `Problem` for an end that HTTP has a status for."""
    if isinstance(found, RunRefused):
        raise Problem(409, found.detail, found.code, run_id=run_id)
    if found.code == "session_not_found":
        raise Problem(404, "Session not found")
    if found.code in CONTINUATION_STATUSES:
        detail = msgspec.json.decode(found.output, type=_Refusal).content
        raise Problem(CONTINUATION_STATUSES[found.code], detail)
    if found.code == "run_id_in_use":
        raise _in_use(run_id)
    return found


def status_of(end: RunEnd) -> RunStatus:
    return msgspec.json.decode(end.output, type=_Status).status


def conflict(asked: Submission, stored: RunAccepted) -> Problem:
    """What is wrong with a submission under the id of another."""
    request = asked.request
    other = msgspec.structs.replace(request, stream=not request.stream)
    if stored.request_digest != request_digest(other):
        return in_use_or_reused(asked)
    said = "true" if other.stream else "false"
    return in_use_or_reused(asked, f"the run was submitted with stream={said}; send the same")


def in_use_or_reused(asked: Submission, detail: str | None = None) -> Problem:
    """The refusal of an id that another has, in the words of who made the id."""
    run_id = asked.request.run_id
    if asked.origin != "keyed":
        return _in_use(run_id, detail)
    detail = detail or "this Idempotency-Key was sent with another request; use a new key"
    return Problem(409, detail, "idempotency_key_reused", run_id=run_id)


def _in_use(run_id: RunId, detail: str | None = None) -> Problem:
    detail = detail or "this run_id belongs to another run; leave it out or choose a new one"
    return Problem(409, detail, "run_id_in_use", run_id=run_id)
