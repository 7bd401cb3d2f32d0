"""Fakes with memory for the engine: models that follow a script, steps that record and can die."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from teambus import Agent, OpenAIChat, Team
from teambus.contracts.journal import (
    ModelAnswer,
    ModelAnswered,
    RunPinned,
    ToolResult,
    ToolReturned,
)
from teambus.contracts.output import FunctionCall, Metrics, TeamRunOutput, ToolCall
from teambus_team_runner.engine.cancellation import Cancellation
from teambus_team_runner.engine.ports import EngineLimits, Finished, RunStart
from teambus_team_runner.engine.run import run_component
from teambus_team_runner.models.port import BeforeTry, Heard, ModelError, ModelRequest

Line = str | None | list[ToolCall] | ModelAnswer | ModelError | Callable[[ModelRequest], "Line"]


R = TypeVar("R")


class Died(Exception):
    """The process was gone at this step."""


def call(name: str, arguments: Mapping[str, Any] | str, id_: str = "c1") -> ToolCall:
    text = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
    return ToolCall(id=id_, function=FunctionCall(name=name, arguments=text))


def delegate(member: str, task: str, id_: str = "c1") -> ToolCall:
    return call("delegate_task_to_member", {"member_id": member, "task": task}, id_)


@dataclass
class FakeModel:
    """Says the line that stands at the number of its own earlier answers in this run.

    `in_pieces` it is heard cut at `|`. `broken` are the tries before it that broke off.
    """

    id: str
    lines: Sequence[Line]
    asked: list[tuple[str, ModelRequest]]
    held: dict[str, asyncio.Event]
    arrivals: asyncio.Semaphore
    provider: str = "Fake"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    in_pieces: bool = False
    broken: dict[str, list[str]] = field(default_factory=dict)
    was_heard: list[bool] = field(default_factory=list)

    async def answer(
        self, request: ModelRequest, before_try: BeforeTry, heard: Heard | None = None
    ) -> ModelAnswer:
        await before_try()
        self.was_heard.append(heard is not None)
        messages = list(request.messages)
        self.asked.append((self.id, ModelRequest(messages, request.tools)))
        self.arrivals.release()
        if self.id in self.held:
            await self.held[self.id].wait()
        for pieces in self.broken.pop(self.id, []):
            _hear(heard, pieces)
            await before_try()
        own = [m for m in messages if m.role == "assistant" and not m.from_history]
        answer = _answer(self.lines[min(len(own), len(self.lines) - 1)], request)
        if self.in_pieces:
            _hear(heard, answer.content)
        return answer


def _hear(heard: Heard | None, text: str | None) -> None:
    if heard is not None and text is not None:
        for piece in ("", *text.split("|")):
            heard(piece)


def _answer(line: Line, request: ModelRequest) -> ModelAnswer:
    if isinstance(line, ModelError):
        raise line
    if isinstance(line, ModelAnswer):
        return line
    if callable(line):
        return _answer(line(request), request)
    metrics = Metrics(input_tokens=10, output_tokens=5, total_tokens=15, duration=0.5)
    if isinstance(line, list):
        return ModelAnswer(tool_calls=line, metrics=metrics, finish_reason="tool_calls")
    return ModelAnswer(content=line, metrics=metrics, finish_reason="stop")


class FakeModels:
    """Models by id. `asked` remembers every question of all of them in order."""

    def __init__(self, **scripts: Sequence[Line]) -> None:
        self.asked: list[tuple[str, ModelRequest]] = []
        self.held: dict[str, asyncio.Event] = {}
        self.in_pieces = False
        self.broken: dict[str, list[str]] = {}
        self.was_heard: list[bool] = []
        self._scripts = scripts
        self._arrivals = asyncio.Semaphore(0)

    def of(self, declared: OpenAIChat) -> FakeModel:
        lines = self._scripts[declared.id]
        model = FakeModel(declared.id, lines, self.asked, self.held, self._arrivals)
        model.in_pieces, model.broken = self.in_pieces, self.broken
        model.was_heard = self.was_heard
        return model

    async def asked_times(self, n: int) -> None:
        """Wait for `n` more questions."""
        for _ in range(n):
            await self._arrivals.acquire()

    def asked_of(self, id_: str) -> list[ModelRequest]:
        return [request for asked, request in self.asked if asked == id_]


class FakeSteps:
    """Records in memory. Dies at the n-th step it would have to do: paid for, not recorded."""

    def __init__(self, journal: "Mapping[str, Any] | None" = None) -> None:
        self.journal: dict[str, Any] = dict(journal or {})
        self.done: list[str] = []
        self.die_at: int | None = None
        self.raised: BaseException = Died()
        self.settled_after: list[int] = []
        self.once: list[str] = []
        self.cancellation = Cancellation("run-1")

    async def pin(self, make: Callable[[], Awaitable[RunPinned]]) -> RunPinned:
        if "pinned" not in self.journal:
            async with self.cancellation.while_wanted():
                pinned = await make()
            self._record("pinned", pinned)
        return self._recorded("pinned", RunPinned)

    async def model(
        self, path: str, digest: str, call: Callable[[BeforeTry], Awaitable[ModelAnswer]]
    ) -> ModelAnswered:
        if not self._has(path, digest):
            async with self.cancellation.while_wanted():
                answer = await call(self._before_try)
            self._record(path, ModelAnswered(path=path, digest=digest, answer=answer, at=1000.5))
        return self._recorded(path, ModelAnswered)

    async def tool(
        self, path: str, digest: str, call: Callable[[], Awaitable[ToolResult]]
    ) -> ToolReturned:
        if not self._has(path, digest):
            async with self.cancellation.while_wanted():
                result = await call()
            self._record(path, ToolReturned(path=path, digest=digest, result=result, at=1000.5))
        return self._recorded(path, ToolReturned)

    async def tool_once(
        self, path: str, digest: str, call: Callable[[], Awaitable[ToolResult]], *, tool: str
    ) -> ToolReturned:
        self.once.append(tool)
        return await self.tool(path, digest, call)

    def users_code(self) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    async def settled(self) -> None:
        self.settled_after.append(len(self.done))

    async def _before_try(self) -> None:
        return None

    def _has(self, path: str, digest: str) -> bool:
        if path not in self.journal:
            return False
        assert msgspec.json.decode(self.journal[path])["digest"] == digest, f"{path} changed"
        return True

    def _record(self, path: str, record: msgspec.Struct) -> None:
        if self.die_at is not None and len(self.done) >= self.die_at:
            raise self.raised
        self.journal[path] = msgspec.json.encode(record)
        self.done.append(path)

    def _recorded(self, path: str, kind: type[R]) -> R:
        return msgspec.json.decode(self.journal[path], type=kind)


class FakeFrames:
    """Remembers what was said, as it was when it was said."""

    are_read = True

    def __init__(self) -> None:
        self.said: list[dict[str, Any]] = []

    def emit(self, event: str, data: dict[str, Any]) -> None:
        assert data["event"] == event
        self.said.append(msgspec.json.decode(msgspec.json.encode(data)))

    async def room(self) -> None:
        return None

    @property
    def events(self) -> list[str]:
        return [data["event"] for data in self.said]


def agent(name: str, **options: Any) -> Agent:
    options.setdefault("model", OpenAIChat(id=name.lower()))
    return Agent(name=name, **options)


def team(*members: Agent | Team, **options: Any) -> Team:
    options = {"id": "tea-team", "name": "TeaTeam", **options}
    options.setdefault("model", OpenAIChat(id="leader"))
    return Team(members=list(members), **options)


def started(**given: Any) -> RunStart:
    first: dict[str, Any] = {
        "tenant": "default",
        "run_id": "run-1",
        "session_id": "session-1",
        "input": "Which tea?",
        "created_at": 999,
        "session_state": {},
    }
    return RunStart(**{**first, **given})


@dataclass
class Played:
    """A finished run with all that it touched."""

    finished: Finished
    steps: FakeSteps
    models: FakeModels
    frames: FakeFrames

    @property
    def output(self) -> TeamRunOutput:
        return self.finished.output


async def play(
    team: Agent | Team,
    models: FakeModels,
    *,
    steps: FakeSteps | None = None,
    start: RunStart | None = None,
    limits: EngineLimits | None = None,
    frames: FakeFrames | None = None,
) -> Played:
    steps, frames = steps or FakeSteps(), frames or FakeFrames()
    finished = await run_component(
        team, start or started(), steps, models, frames, limits or EngineLimits()
    )
    return Played(finished, steps, models, frames)
