"""What a run produces, in the shapes clients and hooks read.

These are values in a user's hands (a hook may change them), so unlike messages they are not frozen.
Absent and null are the same and are not written, except in `ToolExecution`, which writes nulls.
"""

from enum import StrEnum
from typing import Any, Literal

import msgspec

from teambus.contracts.media import MediaOutput


class RunStatus(StrEnum):
    """Where a run stands. COMPLETED, ERROR and CANCELLED are final.

    REGENERATED is only ever stored: a completed run in whose place another stands now.
    """

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    PAUSED = "PAUSED"
    CANCELLED = "CANCELLED"
    ERROR = "ERROR"
    REGENERATED = "REGENERATED"


class TokenDetails(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Tokens of one model in one role."""

    id: str
    provider: str
    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0


class Metrics(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Tokens and seconds of a run, a message or a tool call."""

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    cache_read_tokens: int = 0
    reasoning_tokens: int = 0
    time_to_first_token: float | None = None
    start_time: float | None = None
    end_time: float | None = None
    duration: float | None = None
    details: dict[str, list[TokenDetails]] | None = None


class FunctionCall(msgspec.Struct, kw_only=True):
    """The function a model wants called; `arguments` is JSON text as the model wrote it."""

    name: str
    arguments: str


class ToolCall(msgspec.Struct, kw_only=True):
    """One tool call a model asked for."""

    id: str
    function: FunctionCall
    type: Literal["function"] = "function"


class ChatMessage(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One message of a transcript."""

    id: str
    role: str
    from_history: bool
    stop_after_tool_call: bool
    created_at: int
    content: str | None = None
    name: str | None = None
    tool_call_id: str | None = None
    tool_name: str | None = None
    tool_args: dict[str, Any] | None = None
    tool_call_error: bool | None = None
    tool_calls: list[ToolCall] | None = None
    provider_data: dict[str, Any] | None = None
    metrics: Metrics | None = None
    images: list[MediaOutput] | None = None
    audio: list[MediaOutput] | None = None
    videos: list[MediaOutput] | None = None
    files: list[MediaOutput] | None = None


class ToolExecution(msgspec.Struct, kw_only=True):
    """One tool call that was carried out. Nulls are written."""

    tool_call_id: str
    tool_name: str
    tool_args: dict[str, Any]
    tool_call_error: bool | None = None
    result: str | None = None
    metrics: Metrics | None = None
    child_run_id: str | None = None
    stop_after_tool_call: bool = False
    created_at: int = 0
    requires_confirmation: bool | None = None
    confirmed: bool | None = None
    confirmation_note: str | None = None
    requires_user_input: bool | None = None
    user_input_schema: list[Any] | None = None
    user_feedback_schema: list[Any] | None = None
    answered: bool | None = None
    external_execution_required: bool | None = None
    external_execution_silent: bool | None = None
    approval_type: str | None = None
    approval_id: str | None = None
    parent_tool_call_id: str | None = None


class TeamRunInput(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What a run was asked. A pre-hook may change `input_content`; the change reaches the model.

    Files are told by reference; what a pre-hook does to them changes nothing.
    """

    input_content: str
    images: list[MediaOutput] | None = None
    videos: list[MediaOutput] | None = None
    audios: list[MediaOutput] | None = None
    files: list[MediaOutput] | None = None


class RunOutput(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What an agent produced, alone or as a member. A member that is a team has `team_id` in place
    of `agent_id`.
    """

    run_id: str
    status: RunStatus
    created_at: int
    # Made rather than given, for a default that is given is not written.
    content_type: str = msgspec.field(default_factory=lambda: "str")
    parent_run_id: str | None = None
    agent_id: str | None = None
    agent_name: str | None = None
    team_id: str | None = None
    team_name: str | None = None
    session_id: str | None = None
    user_id: str | None = None
    input: TeamRunInput | None = None
    content: Any = None
    messages: list[ChatMessage] | None = None
    metrics: Metrics | None = None
    model: str | None = None
    model_provider: str | None = None
    model_provider_data: dict[str, Any] | None = None
    member_responses: list["RunOutput"] | None = None
    tools: list[ToolExecution] | None = None
    session_state: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    events: list[dict[str, Any]] | None = None
    cancellation_stage: str | None = None
    forked_from_session_id: str | None = None
    forked_from_run_id: str | None = None
    forked_from_message_index: int | None = None
    regenerated_from: str | None = None
    last_checkpoint_at_message_index: int | None = None


class TeamRunOutput(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What a run of a team produced; the body of the HTTP reply, and what hooks are given.

    A run of an agent is said in the same words on the bus: `team_id` is the agent's id, under
    which its requests and events are found, and so is `agent_id`, unless a runner of another app
    had to end it.
    """

    run_id: str
    team_id: str
    session_id: str
    status: RunStatus
    created_at: int
    content_type: str
    member_responses: list[RunOutput]
    team_name: str | None = None
    parent_run_id: str | None = None
    user_id: str | None = None
    input: TeamRunInput | None = None
    content: Any = None
    messages: list[ChatMessage] | None = None
    metrics: Metrics | None = None
    model: str | None = None
    model_provider: str | None = None
    model_provider_data: dict[str, Any] | None = None
    tools: list[ToolExecution] | None = None
    session_state: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    events: list[dict[str, Any]] | None = None
    cancellation_stage: str | None = None
    forked_from_session_id: str | None = None
    forked_from_run_id: str | None = None
    forked_from_message_index: int | None = None
    regenerated_from: str | None = None
    last_checkpoint_at_message_index: int | None = None
    agent_id: str | None = None
    agent_name: str | None = None
