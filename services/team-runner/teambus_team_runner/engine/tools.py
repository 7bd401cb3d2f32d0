"""Tools of users' own: found, given their arguments, called, and their results made text."""

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from teambus.app.agents import Agent
from teambus.app.contexts import RunContext
from teambus.app.errors import ToolArgumentsError
from teambus.app.tools import ToolSpec, tool_spec
from teambus.contracts.catalogue import ToolDescription
from teambus.contracts.journal import ToolResult
from teambus_team_runner.engine.context import run_context
from teambus_team_runner.engine.party import Party, Surroundings
from teambus_team_runner.engine.state import State, changed
from teambus_team_runner.engine.users import UserCall, UserFunctionFailed, call_user

_spec = functools.lru_cache(maxsize=4096)(tool_spec)


def specs_of(functions: Sequence[Callable[..., Any]]) -> dict[str, ToolSpec]:
    return {spec.name: spec for spec in map(_spec, functions)}


def described(spec: ToolSpec) -> ToolDescription:
    return ToolDescription(name=spec.name, description=spec.description, parameters=spec.parameters)


def arguments_shown(text: str) -> dict[str, Any]:
    """The arguments as the model wrote them; empty when they are not a JSON object."""
    try:
        shown = msgspec.json.decode(text.encode("utf-8", "replace") or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return shown if isinstance(shown, dict) else {}


@dataclass(frozen=True, slots=True)
class ToolUse:
    """One call of one tool. Failing is a result too: the model is told and decides."""

    spec: ToolSpec
    arguments: str
    party: Party
    surroundings: Surroundings
    state: State
    place: str

    async def result(self) -> ToolResult:
        started_at, clock = time.time(), time.perf_counter()
        context = run_context(self.party, self.surroundings, self.state)
        tenant = self.surroundings.start.tenant
        context.idempotency_key = self.party.idempotency_key(tenant, self.place)
        content, error = await self._content(context)
        state = changed(self.state, context.session_state)
        if mistake := self._mistake_in(state):
            content, error, state = f"{content}\n({mistake})", True, None
        return ToolResult(
            content=content,
            error=error,
            session_state=state,
            started_at=started_at,
            duration_s=round(time.perf_counter() - clock, 6),
        )

    def _mistake_in(self, state: State | None) -> str | None:
        """What the tool left is recorded with its result, and must not be too large for that."""
        size = 0 if state is None else len(msgspec.json.encode(state))
        bytes_max = self.surroundings.limits.tool_state_bytes_max
        if size <= bytes_max:
            return None
        return f"the session_state it left was dropped: {size} bytes, more than {bytes_max}"

    async def _content(self, context: RunContext) -> tuple[str, bool]:
        limits = self.surroundings.limits
        try:
            arguments = {**self.spec.arguments(self.arguments), **self._injected(context)}
            call = UserCall(self.spec.function, arguments, limits.tool_timeout_s)
            value = await call_user(call, self.surroundings.threads)
        except ToolArgumentsError as error:
            return str(error), True
        except UserFunctionFailed as error:
            return bounded(f"{self.spec.name} failed: {error}", limits.tool_result_chars_max), True
        return bounded(as_text(value), limits.tool_result_chars_max), False

    def _injected(self, context: RunContext) -> dict[str, Any]:
        who = self.party.who
        known = {
            "run_context": context,
            "team": self.party.team,
            "agent": who if isinstance(who, Agent) else None,
        }
        return {name: known[name] for name in self.spec.injected}


def as_text(value: object) -> str:
    """What a model reads of a value: text as it is, anything else as JSON where it can be."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError, RecursionError):
        return str(value).encode("utf-8", "replace").decode()


def bounded(text: str, chars_max: int) -> str:
    if len(text) <= chars_max:
        return text
    return f"{text[:chars_max]}\n(cut here: {len(text) - chars_max} more characters)"
