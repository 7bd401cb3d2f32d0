"""Stored runs read only as far as a question needs: who is in them, in short, or what was said."""

from collections.abc import Iterator
from typing import Any

import msgspec

from teambus.contracts.ids import RunId
from teambus.contracts.sessions_api import RunPreview
from teambus.domain.continuation import is_own
from teambus_team_runner.sessions.rows import preview

SAID_BY = ("user", "assistant")


class _Input(msgspec.Struct):
    input_content: Any = ""


class _Brief(msgspec.Struct):
    """What is not named here is skipped unread."""

    run_id: RunId
    status: str = ""
    created_at: int = 0
    parent_run_id: RunId | None = None
    agent_id: str | None = None
    team_id: str | None = None
    user_id: str | None = None
    input: _Input | None = None
    content: Any = None
    member_responses: list["_Brief"] | None = None


class _Transcript(msgspec.Struct):
    messages: list[dict[str, Any]] = []


class _Ids(msgspec.Struct):
    run_id: RunId
    parent_run_id: RunId | None = None
    member_responses: list["_Ids"] = []


_briefs = msgspec.json.Decoder(_Brief)
_transcripts = msgspec.json.Decoder(_Transcript)
_ids = msgspec.json.Decoder(_Ids)


def previews_of(output: str) -> list[RunPreview]:
    """Members before the run they are part of."""
    return list(_each(_briefs.decode(output), None))


def said_in(output: str) -> list[dict[str, Any]]:
    """What the user and the leader said in this run."""
    messages = _transcripts.decode(output).messages
    return [m for m in messages if m["role"] in SAID_BY and not m.get("from_history")]


def has_run(output: str, run_id: RunId) -> bool:
    """Whether it is, or has among its own members, the run of this id."""
    return run_id in _run_ids(_ids.decode(output))


def _each(run: _Brief, user_id: str | None) -> Iterator[RunPreview]:
    user_id = run.user_id or user_id
    for member in run.member_responses or []:
        if is_own(member.parent_run_id, run.run_id):
            yield from _each(member, user_id)
    yield RunPreview(
        run_id=run.run_id,
        status=run.status,
        created_at=run.created_at,
        run_input=preview(run.input.input_content if run.input else None),
        content_preview=preview(run.content),
        parent_run_id=run.parent_run_id,
        agent_id=run.agent_id,
        team_id=run.team_id,
        user_id=user_id,
    )


def _run_ids(run: _Ids) -> Iterator[RunId]:
    yield run.run_id
    for member in run.member_responses:
        if is_own(member.parent_run_id, run.run_id):
            yield from _run_ids(member)
