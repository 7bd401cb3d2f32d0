"""The engine's edges: what it is started with, what it asks for, and what it gives back."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from teambus.contracts.journal import (
    ModelAnswer,
    ModelAnswered,
    RunPinned,
    ToolResult,
    ToolReturned,
)
from teambus.contracts.media import Media
from teambus.contracts.output import (
    ChatMessage,
    RunOutput,
    TeamRunInput,
    TeamRunOutput,
    ToolExecution,
)
from teambus_team_runner.engine.cancellation import Cancellation
from teambus_team_runner.engine.tracing import RunTrace
from teambus_team_runner.models.port import BeforeTry


class Steps(Protocol):
    """Paid work, each step at most once: what is recorded is given back, not done again.

    Whatever a step's `call` raises passes through and is not recorded. Any method may raise when
    another runner holds the run; the engine lets that pass and stops everything it was doing.

    Once the run is cancelled, steps that are not recorded raise `RunCancelled` in place of being
    done, and so do those under way: all that the engine has by then it keeps. `cancellation` is
    for what is no step.
    """

    async def pin(self, make: Callable[[], Awaitable[RunPinned]]) -> RunPinned: ...

    async def model(
        self, path: str, digest: str, call: Callable[[BeforeTry], Awaitable[ModelAnswer]]
    ) -> ModelAnswered: ...

    async def tool(
        self, path: str, digest: str, call: Callable[[], Awaitable[ToolResult]]
    ) -> ToolReturned: ...

    async def tool_once(
        self, path: str, digest: str, call: Callable[[], Awaitable[ToolResult]], *, tool: str
    ) -> ToolReturned:
        """A step that is not done again when it may have been done; `tool` is its name.

        That it is about to be done is durable before. Of one that was begun and has no result the
        result is that the outcome is unknown.
        """

    def users_code(self) -> AbstractAsyncContextManager[None]:
        """For calls of users' functions that are no steps."""

    async def settled(self) -> None:
        """Return once all that was recorded so far is durable."""

    @property
    def cancellation(self) -> Cancellation: ...


class Frames(Protocol):
    """Takes what a run says while it runs, in order."""

    @property
    def are_read(self) -> bool:
        """Whether anybody reads them; answers are asked for in pieces only for readers."""

    def emit(self, event: str, data: dict[str, Any]) -> None:
        """`data` may hold contract structs; it is read now or never, for they may change."""

    async def room(self) -> None:
        """Return once what was said so far is not too much to be kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLimits:
    """What bounds a run.

    `turns_max` is for the leader and for each member. `threads_max` is for all blocking tools and
    hooks of the process; one that outlasts its timeout keeps its thread until it returns.
    """

    turns_max: int = 50
    tool_timeout_s: float = 300
    hook_timeout_s: float = 300
    threads_max: int = 32
    tool_result_chars_max: int = 1_000_000
    tool_state_bytes_max: int = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Continued:
    """The run that is gone on with: how clients are told of it, and what is kept of it.

    `index` is the number of messages it is left after; `is_cut` when it had more.
    """

    run_id: str
    index: int
    is_cut: bool
    is_regenerated: bool
    asked: TeamRunInput
    messages: list[ChatMessage]
    tools: list[ToolExecution]
    responses: list[RunOutput]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStart:
    """All a run begins with. `session_state` is merged already; `history` is oldest first.

    Of one that is `continued` the `input` may be empty: then the model is asked to go on.
    """

    tenant: str
    run_id: str
    session_id: str
    input: str
    created_at: int
    session_state: dict[str, Any]
    user_id: str | None = None
    metadata: dict[str, Any] | None = None
    dependencies: dict[str, Any] | None = None
    history: tuple[ChatMessage, ...] | list[ChatMessage] = ()
    history_run_ids: tuple[str, ...] | list[str] = ()
    media: tuple[Media, ...] | list[Media] = ()
    continued: Continued | None = None
    trace: RunTrace | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """A run's output, and for an ERROR the code that says which, for programs."""

    output: TeamRunOutput
    code: str | None = None
