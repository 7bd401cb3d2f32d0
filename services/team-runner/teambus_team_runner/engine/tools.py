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
from teambus_team_runner.engine.party import Party, Surroundings
from teambus_team_runner.engine.state import State, changed, working_copy
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
        context = self._context()
        content, error = await self._content(context)
        return ToolResult(
            content=content,
            error=error,
            session_state=changed(self.state, context.session_state),
            started_at=started_at,
            duration_s=round(time.perf_counter() - clock, 6),
        )

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

    def _context(self) -> RunContext:
        start = self.surroundings.start
        return RunContext(
            run_id=self.party.run_id,
            session_id=start.session_id,
            user_id=start.user_id,
            session_state=working_copy(self.state),
            dependencies=start.dependencies,
            metadata=start.metadata,
            idempotency_key=self.party.idempotency_key(start.tenant, self.place),
        )

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
