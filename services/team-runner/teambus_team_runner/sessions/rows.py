"""Between runs and rows: what is written of a run, and what is read back from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec

from teambus.app.contexts import Session
from teambus.contracts.ids import RunId, SessionId, TeamId, Tenant
from teambus.contracts.output import ChatMessage, RunStatus, TeamRunOutput
from teambus_team_runner.sessions.metrics import of_whole_run

Key: TypeAlias = tuple[str, str]

PREVIEW_LENGTH_MAX = 280


@dataclass(frozen=True, slots=True, kw_only=True)
class RunWrite:
    """A finished run and what it leaves in its session.

    `fence` is the token of the opening of the session the run was made under. State or metadata
    of None leave what is stored; they are stored as given, so without what was only injected.
    A run that never `opened` its session leaves nothing there but itself; its `fence` only says
    after which runs it comes. From now on it stands in the place of the run it `replaces`.
    """

    tenant: Tenant
    fence: int
    output: TeamRunOutput
    completed_at: float
    session_state: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    opened: bool = True
    replaces: RunId | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """What one `RunWrite` becomes; `session` is None when that is not its to write. Equal only to
    itself.
    """

    session: dict[str, Any] | None
    run: dict[str, Any]
    session_key: Key
    run_key: Key
    replaces: RunId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedSession:
    """A session as a run finds it; of one never saved, everything is empty.

    `fence` is that of the last opening that wrote. `history` are the newest completed runs of the
    team, oldest first, as messages of the leader.
    """

    session_id: SessionId
    team_id: TeamId | None = None
    user_id: str | None = None
    session_name: str | None = None
    session_state: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    created_at: int | None = None
    updated_at: int | None = None
    fence: int = 0
    history: list[tuple[RunId, list[ChatMessage]]]


class _Transcript(msgspec.Struct):
    """The part of a stored output that history needs; the rest is skipped unread."""

    messages: list[ChatMessage] = []


_encoder = msgspec.json.Encoder()
_outputs = msgspec.json.Decoder(TeamRunOutput)
_transcripts = msgspec.json.Decoder(_Transcript)


def rows_of(write: RunWrite) -> Rows:
    output = write.output
    asked = preview(output.input.input_content if output.input else "")
    common = {
        "tenant": write.tenant,
        "session_id": output.session_id,
        "team_id": output.team_id,
        "user_id": output.user_id,
        "fence": write.fence,
        "created_at": output.created_at,
    }
    text = _encoder.encode(output)
    session = common | {
        "session_type": "team" if output.agent_id is None else "agent",
        "session_name": asked,
        "given_name": None,
        "summary": None,
        "session_state": text_of(write.session_state),
        "metadata": text_of(write.metadata),
        "updated_at": int(write.completed_at),
    }
    run = common | {
        "run_id": output.run_id,
        "parent_run_id": output.parent_run_id,
        "status": output.status.value,
        "input": asked,
        "content_preview": preview(output.content),
        "completed_at": write.completed_at,
        "metrics": text_of(of_whole_run(output)),
        "output_bytes": len(text),
        "output": text.decode(),
    }
    opened = session if write.opened else None
    session_key, run_key = (write.tenant, output.session_id), (write.tenant, output.run_id)
    return Rows(opened, run, session_key, run_key, write.replaces)


def replaced(output: str) -> dict[str, Any]:
    """What changes in the row of a run in whose place another stands now."""
    run = output_of(output)
    run.status = RunStatus.REGENERATED
    text = _encoder.encode(run)
    return {"status": run.status.value, "output": text.decode(), "output_bytes": len(text)}


def is_anothers(owner: str | None, user_id: str | None) -> bool:
    """Whether a session is closed to a user; those unknown are let in."""
    return None not in (owner, user_id) and owner != user_id


def output_of(text: str) -> TeamRunOutput:
    return _outputs.decode(text)


def loaded_session(session_id: SessionId, rows: Sequence[Any]) -> LoadedSession:
    """From the session's row, repeated for each run of its history."""
    if not rows:
        return LoadedSession(session_id=session_id, history=[])
    first = rows[0]
    return LoadedSession(
        session_id=session_id,
        team_id=first.team_id,
        user_id=first.user_id,
        session_name=first.session_name,
        session_state=value_of(first.session_state),
        metadata=value_of(first.metadata),
        created_at=first.created_at,
        updated_at=first.updated_at,
        fence=first.fence,
        history=[(row.run_id, _remembered(row.output)) for row in rows if row.run_id is not None],
    )


def session_of(row: Any, newest: Sequence[Any]) -> Session:
    return Session(
        session_id=row.session_id,
        team_id=row.team_id,
        user_id=row.user_id,
        session_state=value_of(row.session_state),
        metadata=value_of(row.metadata),
        session_name=row.session_name,
        created_at=row.created_at,
        updated_at=row.updated_at,
        runs=[output_of(run.output) for run in reversed(newest)],
    )


def _remembered(output: str) -> list[ChatMessage]:
    """What a later run sees of this one: not its instructions, nor what it remembered itself."""
    messages = _transcripts.decode(output).messages
    kept = [m for m in messages if m.role != "system" and not m.from_history]
    for message in kept:
        message.from_history = True
    return kept


def preview(content: Any) -> str:
    """The beginning of it, as text that any database can hold."""
    if content is None:
        return ""
    text = content if isinstance(content, str) else _encoder.encode(content).decode()
    # PostgreSQL's text cannot hold NUL.
    return text[:PREVIEW_LENGTH_MAX].replace("\x00", "")


def text_of(value: Any) -> str | None:
    return None if value is None else _encoder.encode(value).decode()


def value_of(text: str | None) -> Any:
    return None if text is None else msgspec.json.decode(text)
