"""Session state inside a run: everybody works on a copy, changes meet in one order."""

import copy
from collections.abc import Iterable
from typing import Any

import msgspec
import structlog

log = structlog.get_logger()

State = dict[str, Any]
INJECTED = ("current_user_id", "current_session_id", "current_run_id")
"""What each run finds in its state, and nobody else: its ids."""


def working_copy(state: State) -> State:
    return copy.deepcopy(state) if state else {}


def changed(before: State, after: object) -> State | None:
    """`after` as it can be stored, so without the ids, or None when nothing changed.

    A value that JSON cannot carry is logged and stays as it was before.
    """
    if not isinstance(after, dict):
        log.warning("session state is no longer a dict and is ignored", type=type(after).__name__)
        return None
    kept: State = {}
    for key, value in after.items():
        stored = msgspec.UNSET if key in INJECTED else _stored(key, value)
        if stored is not msgspec.UNSET:
            kept[str(key)] = stored
        elif key in before:
            kept[key] = before[key]
    return None if kept == before else kept


def with_ids(state: State, *, run_id: str, session_id: str, user_id: str | None) -> State:
    """The state as tools, hooks and prompts of one run read it."""
    ids = {"current_user_id": user_id, "current_session_id": session_id, "current_run_id": run_id}
    return state | {name: value for name, value in ids.items() if value is not None}


def merged(base: State, afters: Iterable[tuple[float, State | None]]) -> State:
    """`base` with the changes of all that worked on copies of it: on a key, the last to end wins.

    Each is the time it ended at and its state then, None when unchanged.
    """
    result = dict(base)
    for _, after in sorted(((at, after) for at, after in afters if after is not None), key=_at):
        for key in base.keys() | after.keys():
            _apply(result, base, after, key)
    return result


def _at(ended: tuple[float, State]) -> float:
    return ended[0]


def _apply(result: State, base: State, after: State, key: str) -> None:
    if key not in after:
        result.pop(key, None)
    elif key not in base or base[key] != after[key]:
        result[key] = after[key]


def _stored(key: object, value: object) -> Any:
    try:
        return msgspec.json.decode(msgspec.json.encode(value))
    except (TypeError, ValueError, RecursionError) as error:
        log.warning("session state must hold what JSON can", key=str(key), reason=str(error))
        return msgspec.UNSET
