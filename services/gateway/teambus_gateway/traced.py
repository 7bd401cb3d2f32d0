"""The gateway's part of a trace: a span for each HTTP request and each question on the bus, which
what is submitted belongs to. Not there at all where no traces are sent.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from teambus.bus.tracing import carrying
from teambus.contracts.tracing import (
    TRACEPARENT,
    TRACESTATE,
    TraceContext,
    new_span_id,
    new_trace_id,
)
from teambus.runtime.tracing import Span, Tracer, Value
from teambus_gateway.metrics import UNKNOWN_ROUTE, method_of, route_of

FAILURES = 500
BOUND = {"run_id": "teambus.run_id", "team_id": "teambus.team_id", "tenant": "teambus.tenant"}


@dataclass(slots=True)
class Serving:
    """What is being answered, as far as it is known."""

    here: TraceContext
    name: str = ""
    attributes: dict[str, Value] = field(default_factory=dict)
    error: str | None = None


@contextmanager
def serving(tracer: Tracer, asker: TraceContext | None, *, name: str = "") -> Iterator[Serving]:
    """Answer in the block; what it publishes belongs to the span that is told of at its end."""
    if asker is None:
        trace_id = new_trace_id()
        here = TraceContext(trace_id, new_span_id(), tracer.is_sampled(trace_id))
    else:
        here = asker.at(new_span_id())
    served = Serving(here, name)
    began_at = time.time()
    try:
        with carrying(here), structlog.contextvars.bound_contextvars(trace_id=here.trace_id):
            yield served
    except BaseException as error:
        served.error = type(error).__name__
        raise
    finally:
        tracer.tell(
            Span(
                name=served.name,
                context=here,
                parent=asker,
                began_at=began_at,
                ended_at=time.time(),
                kind="server",
                attributes=served.attributes,
                error=served.error,
            )
        )


class Traced:
    """Tells of every request over HTTP."""

    def __init__(self, app: ASGIApp, tracer: Tracer) -> None:
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with serving(self._tracer, _asker(scope)) as served:
            served.name = method = method_of(scope)
            served.attributes = {"http.request.method": method, "url.path": scope["path"]}

            async def watch(message: Message) -> None:
                if message["type"] == "http.response.start":
                    status = message["status"]
                    served.attributes["http.response.status_code"] = status
                    served.error = str(status) if status >= FAILURES else None
                await send(message)

            try:
                await self._app(scope, receive, watch)
            finally:
                _name(served, method, scope)


def _name(served: Serving, method: str, scope: Scope) -> None:
    """By what is known only once it was answered."""
    if (route := route_of(scope)) != UNKNOWN_ROUTE:
        served.name = f"{method} {route}"
        served.attributes["http.route"] = route
    bound = structlog.contextvars.get_contextvars()
    served.attributes |= {name: str(bound[key]) for key, name in BOUND.items() if key in bound}


def _asker(scope: Scope) -> TraceContext | None:
    said: dict[str, str] = {}
    for name, value in scope["headers"]:
        if name in (b"traceparent", b"tracestate"):
            said[name.decode()] = value.decode("latin-1")
    return TraceContext.parse(said.get(TRACEPARENT), said.get(TRACESTATE))
