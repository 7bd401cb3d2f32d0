"""The hook-runner's part of a trace: a span for each call of a hook, and in the hook's process one
around its code.

The first is a child of the run's span and linked to it, as OpenTelemetry has it for messages. A
delivery that was asked for again belongs to the trace of whoever asked.
"""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

from teambus.contracts.tracing import TraceContext, new_span_id, new_trace_id
from teambus.runtime.tracing import Span, Tracer, Value
from teambus_hook_runner.parcel import Parcel
from teambus_hook_runner.wire import Call, Raised, Returned

NOT_ANSWERED = "given_back"


@dataclass(slots=True)
class Called:
    """A call that is being made; `answer` is what came of it."""

    traceparent: str = ""
    answer: Returned | Raised | None = None


def delivering(
    tracer: Tracer | None, parcel: Parcel, attempt: int
) -> AbstractContextManager[Called]:
    """Tell of the call that is made in the block."""
    return nullcontext(Called()) if tracer is None else _told(tracer, parcel, attempt)


@contextmanager
def _told(tracer: Tracer, parcel: Parcel, attempt: int) -> Iterator[Called]:
    asker = TraceContext.of(parcel.held.delivery.headers)
    here = _context(tracer, asker)
    called, began_at = Called(here.traceparent), time.time()
    try:
        yield called
    finally:
        addressed = parcel.addressed
        is_first = addressed.generation == 0
        tracer.tell(
            Span(
                name=f"process {addressed.hook}",
                context=here,
                parent=asker,
                began_at=began_at,
                ended_at=time.time(),
                kind="consumer",
                attributes=_delivered(parcel, attempt),
                links=(asker,) if asker is not None and is_first else (),
                error=_error(called.answer),
            )
        )


@contextmanager
def calling(tracer: Tracer, call: Call) -> Iterator[None]:
    """Tell of a hook's own code, which runs in the block; the spans it makes itself are within."""
    parent = TraceContext.parse(call.traceparent)
    here = _context(tracer, parent)
    began_at, error = time.time(), None
    try:
        with tracer.within(here):
            yield
    except BaseException as raised:
        error = type(raised).__name__
        raise
    finally:
        attributes: dict[str, Value] = {"teambus.hook": call.hook, "teambus.attempt": call.attempt}
        tracer.tell(
            Span(
                name=f"hook {call.hook}",
                context=here,
                parent=parent,
                began_at=began_at,
                ended_at=time.time(),
                attributes=attributes,
                error=error,
            )
        )


def _context(tracer: Tracer, asker: TraceContext | None) -> TraceContext:
    if asker is not None:
        return asker.at(new_span_id())
    trace_id = new_trace_id()
    return TraceContext(trace_id, new_span_id(), tracer.is_sampled(trace_id))


def _delivered(parcel: Parcel, attempt: int) -> dict[str, Value]:
    event, addressed = parcel.event, parcel.addressed
    return {
        "messaging.system": "nats",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": parcel.held.delivery.subject,
        "messaging.message.id": event.event_id,
        "teambus.hook": addressed.hook,
        "teambus.delivery_id": addressed.id,
        "teambus.attempt": attempt,
        "teambus.generation": addressed.generation,
        "teambus.run_id": event.run_id,
        "teambus.team_id": event.team_id,
        "teambus.tenant": event.tenant,
    }


def _error(answer: Returned | Raised | None) -> str | None:
    if answer is None:
        return NOT_ANSWERED
    return answer.code if isinstance(answer, Raised) else None
