"""A call as the hook-runner asks for it, and what can come of asking."""

from typing import TypeAlias

import msgspec

from teambus_hook_runner.wire import Raised, Returned


class Unavailable(Exception):
    """no process could be started for the hook"""


class Interrupted(msgspec.Struct, frozen=True):
    """The process was lost, but not because of this call."""


Answer: TypeAlias = Returned | Raised | Interrupted


class Limits(msgspec.Struct, frozen=True):
    """How long a process may take to start, and a call to yield once its time is over."""

    start_timeout_s: float
    kill_after_s: float


class Asked(msgspec.Struct, frozen=True):
    """A call to be made, by whichever process."""

    hook: str
    delivery_id: str
    attempt: int
    event: bytes
    timeout_s: float
    session: bytes | None = None
    traceparent: str = ""
