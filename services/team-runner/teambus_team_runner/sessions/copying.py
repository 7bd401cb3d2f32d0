"""A stored run under another id in another session: every id in it is changed, all else is kept."""

import uuid
from collections.abc import Iterator
from typing import Any

import msgspec

from teambus.contracts.ids import RunId, SessionId

Stored = dict[str, Any]

NAMING = ("run_id", "parent_run_id", "forked_from_run_id", "regenerated_from")
"""The fields in which a run names itself and others of its session."""

_NAMES = uuid.UUID("5b0e4a7a-9f0e-4a53-9a3c-7d1c2a4c6f10")


def copied_run_id(session_id: SessionId, run_id: RunId) -> RunId:
    """The id of the copy, always the same: so copying again makes nothing new."""
    return str(uuid.uuid5(_NAMES, f"{session_id}\x00{run_id}"))


def copied_output(output: str, session_id: SessionId, user_id: str | None) -> bytes:
    """`user_id` replaces the run's when it is given."""
    run: Stored = msgspec.json.decode(output)
    named = {each[name] for each in _runs(run) for name in NAMING if each.get(name)}
    ids = {run_id: copied_run_id(session_id, run_id) for run_id in named}
    for each in _runs(run):
        _move(each, session_id, ids)
        if user_id is not None and "user_id" in each:
            each["user_id"] = user_id
    return msgspec.json.encode(run)


def _runs(run: Stored) -> Iterator[Stored]:
    yield run
    for member in run.get("member_responses") or []:
        yield from _runs(member)


def _move(run: Stored, session_id: SessionId, ids: dict[RunId, RunId]) -> None:
    if run.get("session_id"):
        run.setdefault("forked_from_session_id", run["session_id"])
    _rename(run, session_id, ids)
    events = run.get("events") or []
    tools = [event["tool"] for event in events if isinstance(event.get("tool"), dict)]
    for holder in (*events, *tools, *(run.get("tools") or [])):
        _rename(holder, session_id, ids)


def _rename(holder: Stored, session_id: SessionId, ids: dict[RunId, RunId]) -> None:
    if "session_id" in holder:
        holder["session_id"] = session_id
    for name in (*NAMING, "child_run_id"):
        if holder.get(name) in ids:
            holder[name] = ids[holder[name]]
