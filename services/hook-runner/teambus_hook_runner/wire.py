"""What the hook-runner and its hook processes say to each other, and how it is cut into frames.

A frame is its length in four bytes and a msgpack array. Both ends are always of the same version,
so unlike on the bus nothing here is ever read by older code.
"""

from collections.abc import Iterator
from typing import Any, Generic, TypeAlias, TypeVar

import msgspec

T = TypeVar("T")

LENGTH_BYTES = 4


class _Said(msgspec.Struct, frozen=True, array_like=True, tag=True):
    pass


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """The argument a hook process is started with: descriptors it inherits, and what to load.

    Without `hooks` it only describes the app and ends.
    """

    calls: int
    answers: int
    parent: int
    board: int
    slots: int
    app: str
    app_dir: str
    hooks: list[str]
    webhook_networks: list[str] = []
    traces_flush_s: float = 0


class Call(_Said, frozen=True):
    """Call a hook. `event` is the completed event, `session` a session, each as JSON."""

    number: int
    slot: int
    hook: str
    delivery_id: str
    attempt: int
    event: bytes
    session: bytes | None = None
    traceparent: str = ""


class Cancel(_Said, frozen=True):
    """The call's time is over."""

    number: int


class Ready(_Said, frozen=True):
    """The app is loaded. `threaded` are the hooks called in threads."""

    threaded: list[str]


class Described(_Said, frozen=True):
    """What `describe` says of the app, as JSON."""

    app: bytes


class Unable(_Said, frozen=True):
    """The app cannot be loaded."""

    error: str


class Returned(_Said, frozen=True):
    """The hook returned."""

    number: int


class Raised(_Said, frozen=True):
    """The hook raised, or its time was over. `code` is that of a `HookFailure`.

    `retry_after_s` is how long whoever refused wishes to be left alone.
    """

    number: int
    code: str
    error: str
    traceback: str = ""
    retry_after_s: float = 0


ToChild: TypeAlias = Call | Cancel
FromChild: TypeAlias = Ready | Described | Unable | Returned | Raised

_encoder = msgspec.msgpack.Encoder()


def frame(message: ToChild | FromChild) -> bytes:
    body = _encoder.encode(message)
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


class Frames(Generic[T]):
    """Puts messages together from pieces as they arrive."""

    def __init__(self, kind: Any) -> None:
        self._decoder: msgspec.msgpack.Decoder[T] = msgspec.msgpack.Decoder(kind)
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[T]:
        """Every message that is complete with `data`."""
        held = self._held
        held += data
        begin = 0
        while len(held) - begin >= LENGTH_BYTES:
            body = begin + LENGTH_BYTES
            end = body + int.from_bytes(held[begin:body], "big")
            if len(held) < end:
                break
            with memoryview(held) as view:
                message = self._decoder.decode(view[body:end])
            begin = end
            yield message
        del held[:begin]
