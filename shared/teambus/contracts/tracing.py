"""Where in a trace something happens, in the words of W3C Trace Context."""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace

from teambus.contracts.ids import digest

TRACEPARENT, TRACESTATE = "traceparent", "tracestate"
STATE_CHARS_MAX = 512

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_STATE = re.compile(r"[\x20-\x7e]*")
_SAMPLED = 1


@dataclass(frozen=True, slots=True)
class TraceContext:
    """One span of one trace; `state` is what tracing systems hand on beside it."""

    trace_id: str
    span_id: str
    sampled: bool = True
    state: str = ""

    @classmethod
    def parse(cls, traceparent: str | None, state: str | None = None) -> "TraceContext | None":
        """None for what is not one: a trace then begins anew, as the standard has it."""
        found = _TRACEPARENT.fullmatch((traceparent or "").strip())
        if found is None:
            return None
        version, trace_id, span_id, flags, more = found.groups()
        if (
            version == "ff"
            or (version == "00" and more)
            or not (int(trace_id, 16) and int(span_id, 16))
        ):
            return None
        state = state or ""
        if len(state) > STATE_CHARS_MAX or not _STATE.fullmatch(state):
            state = ""
        return cls(trace_id, span_id, bool(int(flags, 16) & _SAMPLED), state)

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> "TraceContext | None":
        """What the headers of a message say."""
        return cls.parse(headers.get(TRACEPARENT), headers.get(TRACESTATE))

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{self.sampled:02x}"

    @property
    def headers(self) -> dict[str, str]:
        said = {TRACEPARENT: self.traceparent}
        return {**said, TRACESTATE: self.state} if self.state else said

    def at(self, span_id: str) -> "TraceContext":
        """Another span of the same trace."""
        return replace(self, span_id=span_id)


def new_span_id() -> str:
    return secrets.token_hex(8)


def new_trace_id() -> str:
    return secrets.token_hex(16)


def made_span_id(*cause: str) -> str:
    """The same for the same cause, whoever tells of it and however often."""
    return _made(cause, 16)


def made_trace_id(*cause: str) -> str:
    return _made(cause, 32)


def _made(cause: tuple[str, ...], length: int) -> str:
    return digest("\n".join(cause).encode("utf-8", "surrogatepass"), length)
