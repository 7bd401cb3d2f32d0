"""The tracer that speaks OpenTelemetry. Imported only where traces are sent: it needs the extra
`otel`.

Spans wait in the SDK's bounded queue (`OTEL_BSP_MAX_QUEUE_SIZE`) and are sent by its own thread.
While the collector is away the oldest are dropped; nobody waits.
"""

import asyncio
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace.span import TraceState

from teambus.contracts.tracing import TraceContext
from teambus.runtime.tracing import Span

VALUE_CHARS_MAX = 32 * 1024
VALUE_LIMITS = ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT")
NS = 1_000_000_000

_KINDS = {
    "internal": trace.SpanKind.INTERNAL,
    "server": trace.SpanKind.SERVER,
    "client": trace.SpanKind.CLIENT,
    "consumer": trace.SpanKind.CONSUMER,
}


class OtelTracer:
    """Sends spans by OTLP over HTTP."""

    def __init__(
        self, service: str, environment: Mapping[str, str], *, shows_content: bool
    ) -> None:
        self.shows_content = shows_content
        self._ids = _GivenIds()
        self.provider = TracerProvider(
            resource=_resource(service, environment),
            id_generator=self._ids,
            shutdown_on_exit=False,
            span_limits=_limits(environment),
        )
        self.provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self.provider.get_tracer("teambus")

    def tell(self, span: Span) -> None:
        if not span.context.sampled:
            return
        with self._ids.given(span.context):
            told = self._tracer.start_span(
                span.name,
                context=_context(span.parent),
                kind=_KINDS[span.kind],
                attributes=span.attributes,
                links=[trace.Link(_span_context(each)) for each in span.links],
                start_time=int(span.began_at * NS),
            )
        if span.error is not None:
            told.set_attribute("error.type", span.error)
            told.set_status(trace.StatusCode.ERROR, span.detail or span.error)
        told.end(int(max(span.began_at, span.ended_at) * NS))

    def is_sampled(self, trace_id: str) -> bool:
        decided = self.provider.sampler.should_sample(None, int(trace_id, 16), "run")
        return decided.decision is Decision.RECORD_AND_SAMPLE

    @contextmanager
    def within(self, context: TraceContext) -> Iterator[None]:
        token = otel_context.attach(_context(context))
        try:
            yield
        finally:
            otel_context.detach(token)

    async def flush(self, wait_s: float) -> None:
        """In a thread that nobody waits for at the end of the process."""
        loop, sent = asyncio.get_running_loop(), asyncio.Event()

        def send() -> None:
            self.provider.shutdown()
            loop.call_soon_threadsafe(sent.set)

        threading.Thread(target=send, name="last spans", daemon=True).start()
        try:
            async with asyncio.timeout(wait_s):
                await sent.wait()
        except TimeoutError:
            return


def lend(tracer: OtelTracer) -> None:
    """Have spans of users' own code go the same way. Not where there is none: libraries would tell
    the same as we do.
    """
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        trace.set_tracer_provider(tracer.provider)


class _GivenIds(IdGenerator):
    """Gives the ids of what is told; other spans, users' own, get random ones."""

    def __init__(self) -> None:
        self._random = RandomIdGenerator()
        self._given = threading.local()

    @contextmanager
    def given(self, context: TraceContext) -> Iterator[None]:
        self._given.context = context
        try:
            yield
        finally:
            self._given.context = None

    def generate_span_id(self) -> int:
        context: TraceContext | None = getattr(self._given, "context", None)
        return self._random.generate_span_id() if context is None else int(context.span_id, 16)

    def generate_trace_id(self) -> int:
        context: TraceContext | None = getattr(self._given, "context", None)
        return self._random.generate_trace_id() if context is None else int(context.trace_id, 16)


def _span_context(context: TraceContext) -> trace.SpanContext:
    return trace.SpanContext(
        int(context.trace_id, 16),
        int(context.span_id, 16),
        is_remote=True,
        trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED if context.sampled else 0),
        trace_state=TraceState.from_header([context.state]) if context.state else None,
    )


def _context(context: TraceContext | None) -> otel_context.Context:
    """Never that of the code that tells: a span's parent is what its teller says."""
    if context is None:
        return otel_context.Context()
    span = trace.NonRecordingSpan(_span_context(context))
    return trace.set_span_in_context(span, otel_context.Context())


def _resource(service: str, environment: Mapping[str, str]) -> Resource:
    given: dict[str, str | int] = {
        "service.instance.id": f"{socket.gethostname()}-{os.getpid()}",
        "process.pid": os.getpid(),
    }
    named = environment.get("OTEL_SERVICE_NAME") or "service.name=" in environment.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    if not named:
        given["service.name"] = f"teambus-{service}"
    return Resource.create({**given})


def _limits(environment: Mapping[str, str]) -> SpanLimits:
    if any(environment.get(name) for name in VALUE_LIMITS):
        return SpanLimits()
    return SpanLimits(max_span_attribute_length=VALUE_CHARS_MAX)
