"""What a run has done, told as spans in the words of OpenTelemetry's conventions for GenAI.

Every id is made from the run and the place in it, and every time is the journal's. So whoever takes
a run over tells of the same spans: what it finds recorded it tells again, for the runner that did
it may have died before it could.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from teambus.contracts.ids import RunId, Tenant
from teambus.contracts.journal import ModelAnswered, ToolResult
from teambus.contracts.output import (
    RunOutput,
    RunStatus,
    TeamRunOutput,
)
from teambus.contracts.run import RunCompleted
from teambus.contracts.tracing import TraceContext, made_span_id, made_trace_id
from teambus.runtime.tracing import Kind, Span, Tracer, Value
from teambus_team_runner.engine.failure import Failure
from teambus_team_runner.engine.wording import (
    OPERATION,
    asked_of,
    exchanged,
    said,
    tokens,
)
from teambus_team_runner.models.port import Model, ModelRequest, outgoing

R = TypeVar("R")
P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Who:
    """The one whose run is told of: a team, or an agent."""

    run_id: RunId
    id: str
    name: str
    is_team: bool


class RunTrace:
    """One run's part of its trace. `asker` is the span it was asked in; without one it has a trace
    of its own.
    """

    def __init__(
        self, tracer: Tracer, tenant: Tenant, run_id: RunId, asker: TraceContext | None
    ) -> None:
        self.tracer = tracer
        self._tenant = tenant
        self._asker = asker
        span_id = made_span_id("run", tenant, run_id)
        if asker is None:
            trace_id = made_trace_id("run", tenant, run_id)
            self.here = TraceContext(trace_id, span_id, tracer.is_sampled(trace_id))
        else:
            self.here = asker.at(span_id)

    def run(self, completed: RunCompleted, began_at: float) -> None:
        """The run that was asked for has ended."""
        output = completed.output
        who = Who(
            output.run_id,
            output.agent_id or output.team_id,
            output.agent_name or output.team_name or output.team_id,
            output.agent_id is None,
        )
        attributes = {**self._of_run(who, output), "teambus.tenant": self._tenant}
        times = began_at, completed.completed_at
        self._party(who, output, times, self._asker, attributes)

    def member(
        self, who: Who, parent_run_id: RunId, output: RunOutput, times: tuple[float, float]
    ) -> None:
        """A member's run has ended."""
        parent = self._of(parent_run_id)
        self._party(who, output, times, parent, self._of_run(who, output))

    def step(self, run_id: RunId, path: str, digest: str) -> "StepTrace":
        """A step about to be done, or found to be done, in the run of this id."""
        here = self.here.at(made_span_id("step", self._tenant, run_id, path, digest))
        return StepTrace(self.tracer, here, self._of(run_id))

    @asynccontextmanager
    async def hook(self, run_id: RunId, key: str, name: str) -> AsyncIterator[None]:
        """A foreground hook is called in the block; `key` says at which place."""
        here = self.here.at(made_span_id("hook", self._tenant, run_id, key))
        step = StepTrace(self.tracer, here, self._of(run_id))
        error: str | None = None
        try:
            with step.within():
                yield
        except asyncio.CancelledError:
            error = "cancelled"
            raise
        except Exception as raised:
            error = type(raised).__name__
            raise
        finally:
            step.hooked(name, error)

    def _of(self, run_id: RunId) -> TraceContext:
        return self.here.at(made_span_id("run", self._tenant, run_id))

    def _party(
        self,
        who: Who,
        output: RunOutput | TeamRunOutput,
        times: tuple[float, float],
        parent: TraceContext | None,
        attributes: dict[str, Value],
    ) -> None:
        operation = "invoke_workflow" if who.is_team else "invoke_agent"
        failed = output.status is RunStatus.ERROR
        self.tracer.tell(
            Span(
                name=f"{operation} {who.name}",
                context=self._of(who.run_id),
                parent=parent,
                began_at=times[0],
                ended_at=times[1],
                attributes={OPERATION: operation, **attributes},
                error="run_failed" if failed else None,
                detail=str(output.content) if failed and self.tracer.shows_content else "",
            )
        )

    def _of_run(self, who: Who, output: RunOutput | TeamRunOutput) -> dict[str, Value]:
        facts: dict[str, Value] = {
            "gen_ai.conversation.id": output.session_id or "",
            "teambus.run_id": who.run_id,
            "teambus.status": output.status.value,
            **tokens(output.metrics),
        }
        if who.is_team:
            facts |= {"gen_ai.workflow.name": who.name, "teambus.team_id": who.id}
        else:
            facts |= {"gen_ai.agent.name": who.name, "gen_ai.agent.id": who.id}
        if self.tracer.shows_content and output.input is not None:
            facts |= exchanged(output.input.input_content, str(output.content))
        return facts


class StepTrace:
    """One step: `around` its doing, then told of with what came of it."""

    def __init__(self, tracer: Tracer, here: TraceContext, parent: TraceContext) -> None:
        self._tracer = tracer
        self._here = here
        self._parent = parent
        self._began_at: float | None = None

    def around(self, call: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
        """The call, made within the step's span: what it asks of others carries the trace on."""

        async def traced(*given: P.args, **named: P.kwargs) -> R:
            with self.within():
                return await call(*given, **named)

        return traced

    @contextmanager
    def within(self) -> Iterator[None]:
        self._began_at = time.time()
        with self._tracer.within(self._here), outgoing(self._here.headers):
            yield

    def asked(
        self, model: Model, request: ModelRequest, answered: ModelAnswered, failure: Failure | None
    ) -> None:
        """A model has answered, or failed for good."""
        answer = answered.answer
        attributes = {**asked_of(model), **tokens(answer.metrics)}
        if answer.model:
            attributes["gen_ai.response.model"] = answer.model
        if answer.finish_reason:
            attributes["gen_ai.response.finish_reasons"] = (answer.finish_reason,)
        if self._tracer.shows_content:
            attributes |= said(request, answer)
        lasted_s = (answer.metrics and answer.metrics.duration) or 0
        began_at = self._began_at or answered.at - lasted_s
        code = None if failure is None else failure.code
        self._tell(f"chat {model.id}", (began_at, answered.at), attributes, code, kind="client")

    def called(self, name: str, call_id: str, arguments: str, result: ToolResult) -> None:
        """A tool has returned, or failed, which its model is told."""
        attributes: dict[str, Value] = {
            OPERATION: "execute_tool",
            "gen_ai.tool.name": name,
            "gen_ai.tool.type": "function",
            "gen_ai.tool.call.id": call_id,
        }
        if self._tracer.shows_content:
            attributes["gen_ai.tool.call.arguments"] = arguments
            attributes["gen_ai.tool.call.result"] = result.content
        times = result.started_at, result.started_at + result.duration_s
        error = "tool_failed" if result.error else None
        self._tell(f"execute_tool {name}", times, attributes, error)

    def cut(self, name: str) -> None:
        """The run was cancelled while the step was under way."""
        if self._began_at is not None:
            self._tell(name, (self._began_at, time.time()), {}, "cancelled")

    def hooked(self, name: str, error: str | None) -> None:
        assert self._began_at is not None, name
        attributes: dict[str, Value] = {"teambus.hook": name}
        self._tell(f"hook {name}", (self._began_at, time.time()), attributes, error)

    def _tell(
        self,
        name: str,
        times: tuple[float, float],
        attributes: Mapping[str, Value],
        error: str | None,
        *,
        kind: Kind = "internal",
    ) -> None:
        self._tracer.tell(
            Span(
                name=name,
                context=self._here,
                parent=self._parent,
                began_at=times[0],
                ended_at=times[1],
                kind=kind,
                attributes={**attributes, "teambus.replayed": self._began_at is None},
                error=error,
            )
        )
