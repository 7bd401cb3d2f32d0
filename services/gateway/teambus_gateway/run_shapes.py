"""Runs of a session in the words of AgentOS: RunSchema, TeamRunSchema and previews.

Nulls are in what is given here; whoever answers drops them where AgentOS does.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from teambus.contracts.sessions_api import RunPreview
from teambus.domain.continuation import is_own
from teambus_gateway.session_shapes import iso
from teambus_gateway.shapes import Shape

LINEAGE = (
    "forked_from_run_id",
    "forked_from_message_index",
    "forked_from_session_id",
    "regenerated_from",
    "last_checkpoint_at_message_index",
)


def with_members(run: Shape) -> Iterator[Shape]:
    """The runs of its members, each after its own members, then the run itself."""
    for member in run.get("member_responses") or []:
        if not is_own(member.get("parent_run_id"), run["run_id"]):
            continue
        if not member.get("user_id") and run.get("user_id"):
            member["user_id"] = run["user_id"]
        yield from with_members(member)
    yield run


def run_shape(run: Shape) -> Shape:
    """A RunSchema for a run of an agent, else a TeamRunSchema."""
    if run.get("agent_id") is not None:
        return {
            **_begin(run, "agent_id"),
            "run_input": _run_input(run),
            "content": run.get("content", ""),
            "run_response_format": _format(run),
            **_reasoning(run),
            "metrics": run.get("metrics", {}),
            "metadata": run.get("metadata"),
            "messages": run.get("messages") or None,
            "tools": run.get("tools") or None,
            **_middle(run),
            **_media(run),
            "input_media": _input_media(run),
            **_end(run),
        }
    return {
        **_begin(run, "team_id"),
        "content": run.get("content", ""),
        **_reasoning(run),
        "run_input": _run_input(run),
        "run_response_format": _format(run),
        "metrics": run.get("metrics", {}),
        "tools": run.get("tools") or None,
        "messages": run.get("messages") or None,
        **_middle(run),
        "input_media": _input_media(run),
        **_media(run),
        **_end(run),
    }


def preview_shape(run: RunPreview) -> Shape:
    """A SessionRunPreviewSchema."""
    return {
        "run_id": run.run_id,
        "parent_run_id": run.parent_run_id or "",
        "agent_id": run.agent_id,
        "team_id": None if run.agent_id is not None else run.team_id,
        "workflow_id": None,
        "user_id": run.user_id,
        "status": run.status,
        "run_input": run.run_input,
        "content_preview": run.content_preview,
        "created_at": iso(run.created_at),
    }


def _begin(run: Shape, owner: str) -> Shape:
    return {
        "run_id": run["run_id"],
        "parent_run_id": run.get("parent_run_id", ""),
        owner: run.get(owner),
        # Nobody is an empty name for an agent's run and none for a team's: clients know it so.
        "user_id": run.get("user_id", "" if owner == "agent_id" else None),
        "status": run.get("status"),
        "cancellation_stage": run.get("cancellation_stage"),
    }


def _reasoning(run: Shape) -> Shape:
    return {
        "reasoning_content": run.get("reasoning_content", ""),
        "reasoning_steps": run.get("reasoning_steps", []),
    }


def _middle(run: Shape) -> Shape:
    return {
        "events": run.get("events") or None,
        "created_at": iso(run["created_at"]),
        "references": run.get("references", []),
        "citations": run.get("citations"),
        "reasoning_messages": run.get("reasoning_messages", []),
        "session_state": run.get("session_state"),
    }


def _media(run: Shape) -> Shape:
    return {
        "images": run.get("images", []),
        "videos": run.get("videos", []),
        "audio": run.get("audio", []),
        "files": run.get("files", []),
        "response_audio": run.get("response_audio"),
    }


def _end(run: Shape) -> Shape:
    return {"followups": run.get("followups"), **{name: run.get(name) for name in LINEAGE}}


def _format(run: Shape) -> str:
    return "text" if run.get("content_type", "str") == "str" else "json"


def _run_input(run: Shape) -> str:
    asked: Any = (run.get("input") or {}).get("input_content", "")
    return asked if isinstance(asked, str) else msgspec.json.encode(asked).decode()


def _input_media(run: Shape) -> Shape:
    given = run.get("input") or {}
    return {name: given.get(name, []) for name in ("images", "videos", "audios", "files")}
