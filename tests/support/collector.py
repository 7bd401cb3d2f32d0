"""A collector of traces: a real HTTP server that takes OTLP and remembers every span."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan

from tests.support.system import until


@dataclass(frozen=True, slots=True)
class Seen:
    """A span as it arrived, and from which process."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: str
    began_ns: int
    ended_ns: int
    attributes: dict[str, Any]
    links: tuple[tuple[str, str], ...]
    error: bool
    service: str
    pid: int


@dataclass(slots=True)
class Collector:
    """`spans` are in the order they arrived."""

    url: str
    spans: list[Seen] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """What has a service send its spans here, soon."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}

    def of(self, trace_id: str) -> list[Seen]:
        return [each for each in self.spans if each.trace_id == trace_id]

    async def trace_with(
        self, trace_id: str, names: Counter[str], *, wait_s: float = 40
    ) -> list[Seen]:
        """The spans of a trace, once there are at least these, by name."""

        async def are_there() -> bool:
            return not names - Counter(each.name for each in self.of(trace_id))

        def missing() -> str:
            here = Counter(each.name for each in self.of(trace_id))
            return f"missing {names - here}; there are {here}"

        await until(are_there, wait_s, missing)
        return self.of(trace_id)

    async def once(self, wanted: Callable[[Seen], bool], *, wait_s: float = 40) -> Seen:
        """The first span that fits, once it is there."""

        async def found() -> Seen | None:
            return next((each for each in self.spans if wanted(each)), None)

        seen = await until(found, wait_s, lambda: f"only {[each.name for each in self.spans]}")
        assert seen is not None
        return seen


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector on a free port of this machine while the block runs."""

    class Desk(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            assert self.path == "/v1/traces", self.path
            collector.spans += _read(body)
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Desk)
    server.daemon_threads = True
    collector = Collector(f"http://127.0.0.1:{server.server_port}")
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        serving.join()


def _read(body: bytes) -> list[Seen]:
    request = ExportTraceServiceRequest.FromString(body)
    found = []
    for resource in request.resource_spans:
        of_process = _attributes(resource.resource.attributes)
        for scope in resource.scope_spans:
            found += [_seen(span, of_process) for span in scope.spans]
    return found


def _seen(span: ProtoSpan, of_process: dict[str, Any]) -> Seen:
    return Seen(
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        kind=ProtoSpan.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        began_ns=span.start_time_unix_nano,
        ended_ns=span.end_time_unix_nano,
        attributes=_attributes(span.attributes),
        links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
        error=span.status.code == 2,
        service=of_process["service.name"],
        pid=of_process["process.pid"],
    )


def _attributes(pairs: Any) -> dict[str, Any]:
    told: list[KeyValue] = list(pairs)
    return {pair.key: _value(pair.value) for pair in told}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return None if kind is None else getattr(value, kind)
