"""Traces: what is read from headers, when anything is sent at all, and which spans are the same."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import pytest
import structlog.testing

from teambus import RunContext
from teambus.contracts.tracing import TraceContext
from teambus.runtime.tracing import Span, tracing
from teambus_team_runner.engine.ports import RunStart
from teambus_team_runner.engine.tracing import RunTrace
from teambus_team_runner.models.port import ModelError, outgoing_headers
from tests.unit.engine_fakes import (
    Died,
    FakeModels,
    FakeSteps,
    agent,
    call,
    delegate,
    play,
    started,
    team,
)

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
ASKER = TraceContext(TRACE, SPAN, state="own=1")


def test_a_traceparent_is_read_and_said_again() -> None:
    said = TraceContext.of({"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "own=1"})
    assert said == ASKER
    assert said.headers == {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "own=1"}
    unsampled = TraceContext.parse(f"00-{TRACE}-{SPAN}-00")
    assert unsampled is not None
    assert not unsampled.sampled
    assert unsampled.at("1" * 16).traceparent == f"00-{TRACE}-{'1' * 16}-00"


@pytest.mark.parametrize(
    "said",
    [
        None,
        "",
        "nonsense",
        f"00-{TRACE}-{SPAN}",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\r\nx: y",
    ],
)
def test_what_is_no_traceparent_begins_a_trace_anew(said: str | None) -> None:
    assert TraceContext.parse(said) is None


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    assert TraceContext.parse(f"01-{TRACE}-{SPAN}-01-more") == replace(ASKER, state="")


@pytest.mark.parametrize("state", ["x" * 513, "own=1\r\nx: y", "own=\u00e9"])
def test_a_tracestate_that_cannot_be_carried_is_dropped(state: str) -> None:
    read = TraceContext.parse(f"00-{TRACE}-{SPAN}-01", state)
    assert read is not None
    assert read.state == ""


MODULES = ("teambus_team_runner.main", "teambus_hook_runner.main", "teambus_hook_runner.child")


@pytest.mark.parametrize("module", MODULES)
def test_nothing_of_opentelemetry_is_imported_when_it_is_off(module: str) -> None:
    """But for what FastAPI imports by itself in the gateway."""
    program = (
        f"import asyncio, sys, {module}\n"
        "from teambus.runtime.tracing import tracing\n"
        "async def off():\n"
        "    async with tracing('x', {}, flush_s=1) as tracer:\n"
        "        assert tracer is None\n"
        "asyncio.run(off())\n"
        "assert not [each for each in sys.modules if each.startswith('opentelemetry')]\n"
    )
    subprocess.run([sys.executable, "-P", "-c", program], check=True, timeout=60)


ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}


@pytest.mark.parametrize(
    "off",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": " "},
        {**ENDPOINT, "OTEL_SDK_DISABLED": "true"},
        {**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"},
    ],
)
async def test_traces_are_off_unless_a_collector_is_named(off: dict[str, str]) -> None:
    with structlog.testing.capture_logs() as logs:
        async with tracing("x", off, flush_s=1) as tracer:
            assert tracer is None
    assert logs == []


async def test_what_cannot_be_spoken_is_told_and_stops_nobody() -> None:
    asked = {**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    with structlog.testing.capture_logs() as logs:
        async with tracing("x", asked, flush_s=1) as tracer:
            assert tracer is None
    assert "only http/protobuf is spoken" in logs[0]["why"]


async def test_a_missing_extra_is_told_and_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "teambus.runtime.otel", None)
    with structlog.testing.capture_logs() as logs:
        async with tracing("x", ENDPOINT, flush_s=1) as tracer:
            assert tracer is None
    assert "pip install 'teambus[otel]'" in logs[0]["why"]


@dataclass
class FakeTracer:
    """Remembers what it was told, and within which span something happened."""

    shows_content: bool = False
    told: list[Span] = field(default_factory=list)
    around: list[TraceContext] = field(default_factory=list)

    def tell(self, span: Span) -> None:
        self.told.append(span)

    def is_sampled(self, trace_id: str) -> bool:
        return True

    @contextmanager
    def within(self, context: TraceContext) -> Iterator[None]:
        self.around.append(context)
        yield

    async def flush(self, wait_s: float) -> None:
        return


def traced(tracer: FakeTracer, run_id: str = "run-1") -> RunStart:
    return replace(started(run_id=run_id), trace=RunTrace(tracer, "default", run_id, ASKER))


def desk() -> FakeModels:
    return FakeModels(
        leader=[[delegate("Cook", "Boil."), call("count", "{}", "c2")], "Done."],
        cook=[ModelError("model_provider_error", "no water")],
    )


def count(run_context: RunContext) -> str:
    return "one"


async def test_a_run_done_again_tells_of_the_same_spans() -> None:
    whole = FakeTracer()
    a_team = team(agent("Cook"), tools=[count])
    await play(a_team, desk(), start=traced(whole))
    names = [span.name for span in whole.told]
    assert sorted(names) == [
        "chat cook",
        "chat leader",
        "chat leader",
        "execute_tool count",
        "invoke_agent Cook",
    ]
    for die_at in range(1, 5):
        first, second = FakeTracer(), FakeTracer()
        steps = FakeSteps()
        steps.die_at = die_at
        with pytest.raises(Died):
            await play(a_team, desk(), steps=steps, start=traced(first))
        steps = FakeSteps(steps.journal)
        await play(a_team, desk(), steps=steps, start=traced(second))
        told = {span.context.span_id for span in whole.told}
        assert {span.context.span_id for span in second.told} == told
        assert {span.context.span_id for span in first.told} <= told
        assert {span.parent for span in second.told} == {span.parent for span in whole.told}
        replayed = [span for span in second.told if span.attributes.get("teambus.replayed")]
        assert len(replayed) == len([path for path in steps.journal if path != "pinned"]) - len(
            steps.done
        )


async def test_no_two_places_of_a_run_and_no_two_runs_have_the_same_span() -> None:
    tracer = FakeTracer()
    for run_id in ("run-1", "run-2"):
        await play(team(agent("Cook"), tools=[count]), desk(), start=traced(tracer, run_id))
    assert len({span.context.span_id for span in tracer.told}) == len(tracer.told) == 10


async def test_a_failure_is_told_by_its_code_and_not_by_what_was_said() -> None:
    tracer = FakeTracer()
    await play(team(agent("Cook"), tools=[count]), desk(), start=traced(tracer))
    by_name = {span.name: span for span in tracer.told}
    assert by_name["chat cook"].error == "model_provider_error"
    assert by_name["invoke_agent Cook"].error == "run_failed"
    assert "no water" not in repr(tracer.told)


async def test_a_model_is_asked_with_the_headers_of_its_own_span() -> None:
    tracer, seen = FakeTracer(), []

    def look(_: object) -> str:
        seen.append(dict(outgoing_headers() or {}))
        return "Done."

    await play(team(agent("Cook")), FakeModels(leader=[look]), start=traced(tracer))
    (chat,) = tracer.told
    assert seen == [chat.context.headers]
    assert tracer.around == [chat.context]
    assert outgoing_headers() is None


async def test_a_foreground_hook_is_told_of_with_what_it_raised() -> None:
    tracer = FakeTracer()

    def picky(run_context: RunContext) -> None:
        raise ValueError("tea only")

    await play(
        team(agent("Cook"), pre_hooks=[picky]), FakeModels(leader=["Done."]), start=traced(tracer)
    )
    hook = tracer.told[0]
    assert (hook.name, hook.error) == ("hook picky", "UserFunctionFailed")
    assert "tea only" not in repr(tracer.told)
