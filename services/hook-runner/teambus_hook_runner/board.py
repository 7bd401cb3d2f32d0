"""Memory that a hook process and the hook-runner share: which calls have begun, which has the loop.

A process that is stuck answers nothing, so what must be known about it then is read, not asked.
"""

import mmap
import os
import sys
import tempfile
from typing import Self

NOBODY = 0.0
_CELL_BYTES = 8


class Board:
    """A cell that says whose code has the loop right now, then one per slot: since when it runs.

    Times are of the monotonic clock, which processes of one machine share.
    """

    def __init__(self, descriptor: int, slots: int) -> None:
        self._map = mmap.mmap(descriptor, (slots + 1) * _CELL_BYTES)
        self._cells = memoryview(self._map).cast("d")

    @classmethod
    def make(cls, slots: int) -> tuple[Self, int]:
        """A fresh board and a descriptor for the process that shares it."""
        descriptor = _nameless_file()
        os.ftruncate(descriptor, (slots + 1) * _CELL_BYTES)
        return cls(descriptor, slots), descriptor

    @property
    def on_loop(self) -> int | None:
        """The slot whose code has the loop."""
        value = self._cells[0]
        return None if value == NOBODY else int(value) - 1

    def started_at(self, slot: int) -> float | None:
        value = self._cells[slot + 1]
        return None if value == NOBODY else value

    def start(self, slot: int, now: float) -> None:
        self._cells[slot + 1] = now

    def clear(self, slot: int) -> None:
        self._cells[slot + 1] = NOBODY

    def enter_loop(self, slot: int) -> None:
        self._cells[0] = slot + 1

    def leave_loop(self) -> None:
        self._cells[0] = NOBODY

    def close(self) -> None:
        self._cells.release()
        self._map.close()


def _nameless_file() -> int:
    """In memory where the system can, so that a read-only file system will do."""
    if sys.platform == "linux":
        return os.memfd_create("teambus-hooks")
    else:  # noqa: RET505 - a type checker for one system must see the other's branch as such
        with tempfile.TemporaryFile() as file:
            return os.dup(file.fileno())
