"""The last frame of a run: made from its completed event, so that it is said exactly once."""

from typing import Any

import msgspec

from teambus.contracts.frames import Frame
from teambus.contracts.output import RunStatus
from teambus.contracts.run import RunCompleted

_NAMES = {
    RunStatus.COMPLETED: "RunCompleted",
    RunStatus.ERROR: "RunError",
    RunStatus.CANCELLED: "RunCancelled",
}
_LAST_WORDS = {prefix + name for prefix in ("", "Team") for name in _NAMES.values()}


def last_frame(completed: RunCompleted) -> Frame:
    """The frame with which a stream of this run ends."""
    words = _words(completed)
    data = msgspec.Raw(msgspec.json.encode(words))
    return Frame(event_index=completed.frames, event=words["event"], data=data)


def kept_events(completed: RunCompleted, said: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is kept of a run's events: all that was said, and its last word without the members'
    runs, which the output has already.
    """
    words = msgspec.to_builtins({**_words(completed), "member_responses": None})
    last = {key: value for key, value in words.items() if value is not None}
    return [*(each for each in said if not _is_last(completed, each)), last]


def _words(completed: RunCompleted) -> dict[str, Any]:
    output = completed.output
    given = {
        "created_at": int(completed.completed_at),
        "event": _name(completed),
        **_who(completed),
        "run_id": output.run_id,
        "parent_run_id": output.parent_run_id,
        "session_id": output.session_id,
        "nested_depth": 0,
        **_FIELDS[output.status](completed),
    }
    return {key: value for key, value in given.items() if value is not None}


def _who(completed: RunCompleted) -> dict[str, Any]:
    output = completed.output
    if output.agent_id is not None:
        return {"agent_id": output.agent_id, "agent_name": output.agent_name}
    return {"team_id": output.team_id, "team_name": output.team_name}


def _name(completed: RunCompleted) -> str:
    output = completed.output
    return ("Team" if output.agent_id is None else "") + _NAMES[output.status]


def _completed(completed: RunCompleted) -> dict[str, Any]:
    output = completed.output
    return {
        "content": output.content,
        "content_type": output.content_type,
        "model_provider_data": output.model_provider_data,
        "member_responses": output.member_responses if output.agent_id is None else None,
        "metadata": output.metadata,
        "metrics": output.metrics,
        "session_state": output.session_state,
    }


def _error(completed: RunCompleted) -> dict[str, Any]:
    """A check's own words on its refusal stand only in the event that the engine kept."""
    said = _said(completed)
    return {
        "content": completed.output.content,
        "error_type": completed.code,
        "error_id": said.get("error_id"),
        "additional_data": said.get("additional_data"),
    }


def _cancelled(completed: RunCompleted) -> dict[str, Any]:
    """Where nobody spoke, all that the run has for content is the reason."""
    said = _said(completed)
    reason = said.get("reason") or completed.output.content
    return {"reason": reason, "content": said.get("content")}


_FIELDS = {
    RunStatus.COMPLETED: _completed,
    RunStatus.ERROR: _error,
    RunStatus.CANCELLED: _cancelled,
}


def _said(completed: RunCompleted) -> dict[str, Any]:
    """The run's last word as it was kept, if it was and still is what the event says."""
    for each in reversed(completed.output.events or ()):
        if each.get("event") == _name(completed) and _is_last(completed, each):
            return each if each.get("error_type") == completed.code else {}
    return {}


def _is_last(completed: RunCompleted, event: dict[str, Any]) -> bool:
    return event.get("event") in _LAST_WORDS and event.get("run_id") == completed.output.run_id
