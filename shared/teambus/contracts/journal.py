"""The journal of a run: what was paid for, who is on it, and how it ended."""

from collections.abc import Sequence
from typing import Any, TypeAlias, cast

import msgspec

from teambus.contracts.ids import RunId, TeamId
from teambus.contracts.message import Message, encode
from teambus.contracts.output import Metrics, ToolCall
from teambus.contracts.run import RunCompleted


class AttemptStarted(msgspec.Struct, frozen=True, kw_only=True, tag="attempt", tag_field="record"):
    """A runner took the run. Written by compare-and-set, so it fences every earlier runner."""

    runner: str
    request_seq: int
    team_id: TeamId
    request_digest: str
    at: float


class AttemptReleased(
    msgspec.Struct, frozen=True, kw_only=True, tag="released", tag_field="record"
):
    """The runner gave the run back unharmed; the attempt does not count."""

    reason: str


class RunPinned(
    msgspec.Struct, frozen=True, kw_only=True, tag="pinned", tag_field="record", omit_defaults=True
):
    """What the first attempt saw and every later one must see again."""

    created_at: int
    history_run_ids: list[RunId] = []
    session_state: dict[str, Any] | None = None
    input_content: str | None = None


class ModelAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One answer of a model: text, tool calls, or both."""

    content: str | None = None
    tool_calls: list[ToolCall] = []
    finish_reason: str | None = None
    metrics: Metrics | None = None
    model: str | None = None
    provider_data: dict[str, Any] | None = None


class ToolResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a tool gave back; `error` when it failed and the model was told."""

    content: str
    error: bool = False
    session_state: dict[str, Any] | None = None
    started_at: float = 0
    duration_s: float = 0


class ModelAnswered(
    msgspec.Struct, frozen=True, kw_only=True, tag="model", tag_field="record", omit_defaults=True
):
    """A model call was paid for. `digest` is of its request."""

    path: str
    digest: str
    answer: ModelAnswer
    message_id: str = ""
    at: float = 0


class ToolReturned(
    msgspec.Struct, frozen=True, kw_only=True, tag="tool", tag_field="record", omit_defaults=True
):
    """A tool was called. `digest` is of its name and arguments."""

    path: str
    digest: str
    result: ToolResult
    at: float = 0


class ToolIntended(
    msgspec.Struct, frozen=True, kw_only=True, tag="intent", tag_field="record", omit_defaults=True
):
    """A tool that must not be called twice is about to be called; what follows is its result.

    Without one the runner died meanwhile, and whether the tool took effect is unknown.
    """

    path: str
    digest: str
    tool: str
    at: float = 0


class RunEnded(msgspec.Struct, frozen=True, kw_only=True, tag="end", tag_field="record"):
    """The end is decided. Row, completed event, session and ack are projections of it.

    `fence` is of the run's own opening of its session. When `opened` is false, which is written
    only then, it is of the opening it waited behind: it says the order of runs, and fences nothing.
    `replaces` is the run in whose place this one stands from now on.
    """

    completed: RunCompleted
    fence: int
    session_state: dict[str, Any] | None = None
    opened: bool | msgspec.UnsetType = msgspec.UNSET
    replaces: RunId | msgspec.UnsetType = msgspec.UNSET


Record: TypeAlias = (
    AttemptStarted
    | AttemptReleased
    | RunPinned
    | ModelAnswered
    | ToolReturned
    | RunEnded
    | ToolIntended
)


class JournalEntry(Message, frozen=True, kw_only=True, tag="journal.entry.v1"):
    """One append. `nonce` tells its writer from any other, whatever the bus answered."""

    nonce: str
    attempt: str
    n: int
    records: list[Record]


def encode_record(record: Record) -> bytes:
    return _encoder.encode(record)


def encode_entry(records: Sequence[bytes], *, nonce: str, attempt: str, n: int) -> bytes:
    """An entry of records that are encoded already."""
    raw = cast(list[Record], [msgspec.Raw(record) for record in records])
    return encode(JournalEntry(nonce=nonce, attempt=attempt, n=n, records=raw))


_encoder = msgspec.json.Encoder()
