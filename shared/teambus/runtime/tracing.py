"""Telling a tracing system what has happened. Off unless a collector is named, and then nothing of
OpenTelemetry is imported.

A span is told once what it stands for is over. Its ids are the teller's, so that whoever takes
a run over can tell of the same spans.
"""

import asyncio
import importlib
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

import structlog

from teambus.contracts.tracing import TraceContext

log = structlog.get_logger(__name__)

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
HTTP_PROTOBUF = "http/protobuf"
CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
SHOWN = ("true", "span_only", "span_and_event")

Kind: TypeAlias = Literal["internal", "server", "client", "consumer"]
Value: TypeAlias = str | bool | int | float | tuple[str, ...]


class NoTraces(Exception):
    """traces are wanted, and cannot be sent"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Something that has happened, in seconds since 1970; `error` is the kind of its failure."""

    name: str
    context: TraceContext
    parent: TraceContext | None
    began_at: float
    ended_at: float
    kind: Kind = "internal"
    attributes: Mapping[str, Value] = field(default_factory=dict)
    links: tuple[TraceContext, ...] = ()
    error: str | None = None
    detail: str = ""


class Tracer(Protocol):
    """Takes spans and sends them on, or drops them; never waits and never raises."""

    shows_content: bool
    """Whether spans say what users, models and tools said."""

    def tell(self, span: Span) -> None: ...

    def is_sampled(self, trace_id: str) -> bool:
        """Whether a trace that begins here is told of."""

    def within(self, context: TraceContext) -> AbstractContextManager[None]:
        """Have spans that users' own code makes in the block belong to this one."""

    async def flush(self, wait_s: float) -> None:
        """Send what is left, for so long at most; nothing is taken after."""


@asynccontextmanager
async def tracing(
    service: str,
    environment: Mapping[str, str],
    *,
    flush_s: float,
    users: bool = False,
    is_logged: bool = True,
) -> AsyncIterator[Tracer | None]:
    """A tracer while the block runs, None where none is wanted or can be had; at the end what is
    left is sent, for `flush_s` at most. With `users`, spans of users' own code go the same way,
    unless users have set up OpenTelemetry themselves.
    """
    tracer: Tracer | None = None
    try:
        if is_wanted(environment):
            tracer = open_tracer(service, environment, users=users)
    except NoTraces as reason:
        # That traces cannot be sent never stops a service.
        if is_logged:
            log.error("no traces are sent", why=str(reason))
    if tracer is not None and is_logged:
        log.info("traces are sent", to=_first(environment, ENDPOINTS), content=tracer.shows_content)
    try:
        yield tracer
    finally:
        if tracer is not None:
            await asyncio.shield(tracer.flush(flush_s))


def open_tracer(service: str, environment: Mapping[str, str], *, users: bool) -> Tracer:
    """Set up by OpenTelemetry's own variables. Raises `NoTraces`."""
    protocol = _first(environment, PROTOCOLS) or HTTP_PROTOBUF
    if protocol != HTTP_PROTOBUF:
        raise NoTraces(f"{PROTOCOLS[1]} is {protocol!r}; only {HTTP_PROTOBUF} is spoken")
    shows = environment.get(CONTENT, "").strip().lower() in SHOWN
    try:
        otel: Any = importlib.import_module("teambus.runtime.otel")
        tracer: Tracer = otel.OtelTracer(service, environment, shows_content=shows)
        if users:
            otel.lend(tracer)
    except ImportError as error:
        raise NoTraces(f"{error}; pip install 'teambus[otel]'") from error
    except Exception as error:  # a mistake in OTEL_* variables, whatever the SDK makes of it
        raise NoTraces(f"check the OTEL_* variables: {error!r}") from error
    return tracer


def is_wanted(environment: Mapping[str, str]) -> bool:
    """Whether a collector is named."""
    is_off = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip() or "otlp"
    return not is_off and exporter == "otlp" and bool(_first(environment, ENDPOINTS))


def _first(environment: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((value for name in names if (value := environment.get(name, "").strip())), "")
