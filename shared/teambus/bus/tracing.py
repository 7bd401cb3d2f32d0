"""The trace that what is published goes on with. Nothing is carried unless somebody traces."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

from teambus.contracts.tracing import TraceContext

_NOTHING: Mapping[str, str] = MappingProxyType({})
_carried: ContextVar[Mapping[str, str]] = ContextVar("trace headers", default=_NOTHING)


def carried() -> Mapping[str, str]:
    """The trace headers of a message published now."""
    return _carried.get()


@contextmanager
def carrying(context: TraceContext | None) -> Iterator[None]:
    """Have what is published in the block go on with this trace."""
    token = _carried.set(_NOTHING if context is None else context.headers)
    try:
        yield
    finally:
        _carried.reset(token)
