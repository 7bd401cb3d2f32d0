"""Which calls a lost hook process is put down to. All others in it are called again, uncounted."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Standing:
    """How a call stood when its process was lost.

    `overdue`: its time was over, it was told so, and it did not yield. `on_loop`: its code had the
    event loop, so no other call that needs the loop could move, whatever the clock said of it.
    """

    number: int
    begun: bool
    overdue: bool
    threaded: bool
    on_loop: bool


def for_kill(calls: Iterable[Standing]) -> set[int]:
    """Who made us kill the process."""
    overdue = [call for call in calls if call.overdue]
    if any(call.on_loop for call in overdue):
        overdue = [call for call in overdue if call.on_loop or call.threaded]
    return {call.number for call in overdue}


def for_crash(calls: Iterable[Standing]) -> set[int]:
    """Who may have ended the process from inside: the one that had the loop, or, as a thread may
    do it at any time, everyone who had begun.
    """
    begun = [call for call in calls if call.begun]
    if not any(call.threaded for call in begun) and any(call.on_loop for call in begun):
        begun = [call for call in begun if call.on_loop]
    return {call.number for call in begun}
