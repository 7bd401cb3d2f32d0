"""Going on with a run that has ended: whether it may be, and how much of it is kept."""

from collections.abc import Sequence
from dataclasses import dataclass

from teambus.contracts.ids import RunId
from teambus.contracts.output import ChatMessage, RunOutput, RunStatus, TeamRunOutput
from teambus.contracts.run import Continuation

ENDED = (RunStatus.COMPLETED, RunStatus.ERROR, RunStatus.REGENERATED)
"""What a run must be to be gone on with."""


class ContinuationRefused(Exception):
    """the run cannot be gone on with in this way; the text says why"""


class NotContinuable(ContinuationRefused):
    """the run cannot be gone on with in any way"""


@dataclass(frozen=True, slots=True)
class Boundary:
    """Where a run is left: `kept` messages of it stay. `index` is what readers are told of it."""

    index: int
    kept: int
    is_cut: bool


def not_found(run_id: RunId) -> str:
    """What is said of a run that is not there."""
    return f"No runs found for run ID {run_id}"


def check_status(run_id: RunId, status: RunStatus) -> None:
    """Raises `NotContinuable` unless the run has ended and nobody cancelled it."""
    if status not in ENDED:
        raise NotContinuable(f"Cannot continue run {run_id}: run is {status.value.lower()}")


def boundary(messages: Sequence[ChatMessage], asked: Continuation) -> Boundary:
    """How much is kept of a run with these messages, never a call without its result.

    Raises `ContinuationRefused`.
    """
    if not messages:
        raise NotContinuable(f"Cannot continue run {asked.run_id}: run has no messages")
    index = _index(messages, asked)
    if not 0 <= index < len(messages):
        return Boundary(index, _whole_turns(messages, len(messages)), is_cut=False)
    kept = _whole_turns(messages, index)
    return Boundary(kept, kept, is_cut=True)


def own_members(run: TeamRunOutput | RunOutput) -> list[RunOutput]:
    """The members' runs that were made in this run; what it took over of another is that one's."""
    members = run.member_responses or []
    return [each for each in members if is_own(each.parent_run_id, run.run_id)]


def is_own(parent_run_id: RunId | None, run_id: RunId) -> bool:
    """Whether a member's run was made in the run it is found in."""
    return parent_run_id is None or parent_run_id == run_id


def _index(messages: Sequence[ChatMessage], asked: Continuation) -> int:
    if asked.regenerate:
        return _before_answer(messages, asked)
    match asked.continue_from:
        case "end":
            return len(messages)
        case "last_user":
            return _after_last_user(messages)
        case number:
            return number


def _before_answer(messages: Sequence[ChatMessage], asked: Continuation) -> int:
    """Tool calls and their results stay: only the final answer is made anew."""
    if asked.continue_from not in ("end", "last_user"):
        raise ContinuationRefused(
            "`regenerate=True` derives the continuation boundary automatically."
        )
    at = len(messages)
    while at and messages[at - 1].role == "assistant" and not messages[at - 1].tool_calls:
        at -= 1
    if at == 0:
        detail = "Cannot regenerate: run has no non-assistant messages to regenerate from."
        raise ContinuationRefused(detail)
    return at


def _after_last_user(messages: Sequence[ChatMessage]) -> int:
    for at in range(len(messages), 0, -1):
        if messages[at - 1].role == "user":
            return at
    detail = "Cannot resolve `continue_from='last_user'`: run has no user messages."
    raise ContinuationRefused(detail)


def _whole_turns(messages: Sequence[ChatMessage], end: int) -> int:
    """`end`, or the first message before it that calls for what is not answered before it."""
    answered = {message.tool_call_id for message in messages[:end] if message.tool_call_id}
    for at, message in enumerate(messages[:end]):
        if any(call.id not in answered for call in message.tool_calls or []):
            return at
    return end
