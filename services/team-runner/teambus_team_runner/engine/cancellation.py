"""A run that is not wanted any more: what is under way is cut, nothing new is begun.

Unlike a cancelled task, which is a runner letting go of a run that goes on elsewhere, this ends it.
"""

import asyncio
from dataclasses import dataclass
from types import TracebackType
from typing import Any

PENDING, EXECUTING = "PENDING", "EXECUTING"
"""The stages of a run in which it can be cancelled: before and after it began."""


class RunCancelled(Exception):
    """the run was cancelled by whoever asked for it; the text is the reason"""


@dataclass(frozen=True, slots=True)
class Cut:
    """What a party's run came to that was cancelled. `reason` is for people."""

    reason: str


class Cancellation:
    """Whether a run is still wanted. Once it is not, that stays so."""

    def __init__(self, run_id: str) -> None:
        self.reason = f"Run {run_id} was cancelled"
        self.requested = asyncio.Event()
        self._under_way: set[_Cuttable] = set()

    def __bool__(self) -> bool:
        return self.requested.is_set()

    def request(self, reason: str | None = None) -> None:
        """Cut what is under way; a second request changes nothing."""
        if self:
            return
        self.reason = reason or self.reason
        self.requested.set()
        for each in tuple(self._under_way):
            each.cut()

    def while_wanted(self) -> "_Cuttable":
        """A context for work that a cancellation cuts: raises `RunCancelled`, at once if it has
        been requested before.
        """
        return _Cuttable(self, self._under_way)


class _Cuttable:
    """Ends its block the way `asyncio.timeout` does: a cancel from elsewhere stays one."""

    def __init__(self, cancellation: Cancellation, under_way: "set[_Cuttable]") -> None:
        self._cancellation = cancellation
        self._under_way = under_way
        self._task: asyncio.Task[Any] | None = None
        self._cancels_before = 0
        self._is_cut = False

    def cut(self) -> None:
        assert self._task is not None, "entered before"
        self._is_cut = True
        self._task.cancel()

    async def __aenter__(self) -> None:
        if self._cancellation:
            raise RunCancelled(self._cancellation.reason)
        self._task = asyncio.current_task()
        assert self._task is not None, "entered in a task"
        self._cancels_before = self._task.cancelling()
        self._under_way.add(self)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._under_way.discard(self)
        if not self._is_cut:
            return
        assert self._task is not None, "entered before"
        ours = self._task.uncancel() <= self._cancels_before
        if ours and kind is not None and issubclass(kind, asyncio.CancelledError):
            raise RunCancelled(self._cancellation.reason) from error
