"""The tool calls of one turn: members' work, users' tools, and calls that come to nothing."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec

from teambus.app.agents import Agent
from teambus.app.checks import DELEGATION_TOOL
from teambus.app.teams import Team
from teambus.contracts.catalogue import ToolDescription
from teambus.contracts.ids import digest
from teambus.contracts.output import Metrics, RunOutput, RunStatus, ToolCall, ToolExecution
from teambus_team_runner.engine.party import Party, Surroundings
from teambus_team_runner.engine.prompt import roster
from teambus_team_runner.engine.state import State, working_copy
from teambus_team_runner.engine.tools import ToolUse, arguments_shown, described, specs_of
from teambus_team_runner.engine.tracing import Who

DELEGATION = ToolDescription(
    name=DELEGATION_TOOL,
    description="Give one task to one member of the team and get the member's result.",
    parameters={
        "type": "object",
        "properties": {
            "member_id": {"type": "string", "description": "The id of the member."},
            "task": {
                "type": "string",
                "description": "What to do, with all the member must know and what to give back.",
            },
        },
        "required": ["member_id", "task"],
        "additionalProperties": False,
    },
)
NO_RESPONSE = "The member gave no response."


@dataclass(frozen=True, slots=True)
class MemberResult:
    """What a member's run came to; `state` is None when it changed nothing."""

    output: RunOutput
    content: str
    state: State | None
    started_at: float
    ended_at: float


RunMember: TypeAlias = Callable[[Party, Surroundings, str, State], Awaitable[MemberResult]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallResult:
    """What the model is told of one call. A call that was not carried out has no execution.

    Of one that is `cut` the model is told nothing: the run was cancelled.
    """

    call: ToolCall
    arguments: dict[str, Any]
    content: str
    error: bool
    ended_at: float
    execution: ToolExecution | None = None
    state: State | None = None
    response: RunOutput | None = None
    cut: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """Where a party's calls happen: after which answer, with which state."""

    party: Party
    surroundings: Surroundings
    number: int
    at: float
    state: State


class Calls:
    """Carries out the calls a party's model asks for."""

    def __init__(self, party: Party, run_member: RunMember) -> None:
        self._who = party.who
        self._specs = specs_of(party.who.tools)
        self._run_member = run_member

    def tools(self) -> list[ToolDescription]:
        """What the model may call, by name."""
        own = [described(spec) for spec in self._specs.values()]
        delegation = [DELEGATION] if isinstance(self._who, Team) else []
        return sorted([*own, *delegation], key=lambda tool: tool.name)

    async def carry_out(self, turn: Turn, call: ToolCall) -> CallResult:
        if self._delegates(call):
            return await self._delegate(turn, call)
        if call.function.name in self._specs:
            return await self._use(turn, call)
        names = ", ".join(tool.name for tool in self.tools()) or "none"
        return told(turn, call, f"There is no tool {call.function.name!r}. There are: {names}.")

    def _delegates(self, call: ToolCall) -> bool:
        return isinstance(self._who, Team) and call.function.name == DELEGATION_TOOL

    async def _use(self, turn: Turn, call: ToolCall) -> CallResult:
        name, arguments = call.function.name, call.function.arguments
        path = f"{turn.party.step(turn.number)}/tool:{call.id}"
        key = digest(msgspec.json.encode((name, arguments)))
        spec = self._specs[name]
        use = ToolUse(spec, arguments, turn.party, turn.surroundings, turn.state, f"{path}/{key}")
        trace, steps = turn.surroundings.start.trace, turn.surroundings.steps
        traced = None if trace is None else trace.step(turn.party.run_id, path, key)
        using = use.result if traced is None else traced.around(use.result)
        if spec.repeatable:
            result = (await steps.tool(path, key, using)).result
        else:
            result = (await steps.tool_once(path, key, using, tool=name)).result
        if traced is not None:
            traced.called(name, call.id, arguments, result)
        ended_at = result.started_at + result.duration_s
        shown = arguments_shown(arguments)
        execution = execution_of(call, shown, turn.at)
        execution.tool_call_error = result.error
        execution.result = result.content
        execution.metrics = _times(result.started_at, ended_at)
        return CallResult(
            call=call,
            arguments=shown,
            content=result.content,
            error=result.error,
            ended_at=ended_at,
            execution=execution,
            state=result.session_state,
        )

    async def _delegate(self, turn: Turn, call: ToolCall) -> CallResult:
        asked = arguments_shown(call.function.arguments)
        id_, task = asked.get("member_id"), asked.get("task")
        if not (isinstance(id_, str) and isinstance(task, str) and task.strip()):
            return told(turn, call, f"{DELEGATION_TOOL} needs the texts `member_id` and `task`.")
        member = self._member(id_)
        if member is None:
            assert isinstance(self._who, Team)
            text = f"There is no member {id_!r}. The members are: {roster(self._who)}."
            return told(turn, call, text)
        party = turn.party.member(member, call.id, int(turn.at))
        result = await self._run_member(party, turn.surroundings, task, working_copy(turn.state))
        if (trace := turn.surroundings.start.trace) is not None:
            who = Who(party.run_id, member.id, member.name, isinstance(member, Team))
            times = result.started_at, result.ended_at
            trace.member(who, turn.party.run_id, result.output, times)
        execution = execution_of(call, asked, turn.at)
        execution.tool_call_error = False
        execution.result = result.content
        execution.child_run_id = party.run_id
        execution.metrics = _times(result.started_at, result.ended_at)
        return CallResult(
            call=call,
            arguments=asked,
            content=result.content,
            error=False,
            ended_at=result.ended_at,
            execution=execution,
            state=result.state,
            response=result.output,
            cut=result.output.status is RunStatus.CANCELLED,
        )

    def _member(self, id_: str) -> Agent | Team | None:
        """By id, or by name for a model that mistook one for the other."""
        assert isinstance(self._who, Team)
        members = self._who.members
        found = [each for each in members if each.id == id_]
        found += [each for each in members if each.name.lower() == id_.lower()]
        return found[0] if found else None


def cut(turn: Turn, call: ToolCall) -> CallResult:
    """A call that the run's cancellation left without a result."""
    return CallResult(call=call, arguments={}, content="", error=True, ended_at=turn.at, cut=True)


def told(turn: Turn, call: ToolCall, content: str) -> CallResult:
    """A call that comes to nothing but this text."""
    arguments = arguments_shown(call.function.arguments)
    execution = execution_of(call, arguments, turn.at)
    execution.tool_call_error = True
    execution.result = content
    return CallResult(
        call=call,
        arguments=arguments,
        content=content,
        error=True,
        ended_at=turn.at,
        execution=execution,
    )


def execution_of(call: ToolCall, arguments: dict[str, Any], at: float) -> ToolExecution:
    return ToolExecution(
        tool_call_id=call.id,
        tool_name=call.function.name,
        tool_args=arguments,
        created_at=int(at),
    )


def _times(started_at: float, ended_at: float) -> Metrics:
    duration_s = round(ended_at - started_at, 6)
    return Metrics(start_time=started_at, end_time=ended_at, duration=duration_s)
