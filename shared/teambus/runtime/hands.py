"""Hands: how much a worker holds at once, and how it lets go."""

import asyncio
from collections.abc import Coroutine
from typing import Self

import structlog

log = structlog.get_logger(__name__)


class Hands:
    """A fixed number of hands. Leaving the block waits for what they hold, then lets go.

    Work still in hand after `patience_s` is cancelled; it is up to that work to give itself back.
    """

    def __init__(self, count: int, *, patience_s: float) -> None:
        assert count >= 1, count
        self._count = count
        self._patience_s = patience_s
        self._busy: set[asyncio.Task[None]] = set()

    @property
    def busy(self) -> int:
        return len(self._busy)

    async def free(self, stop: asyncio.Event) -> int:
        """Wait for a free hand and say how many are free; 0 once `stop` is set."""
        if len(self._busy) < self._count or stop.is_set():
            return 0 if stop.is_set() else self._count - len(self._busy)
        stopping = asyncio.ensure_future(stop.wait())
        try:
            while len(self._busy) >= self._count and not stop.is_set():
                await asyncio.wait({*self._busy, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
        return 0 if stop.is_set() else self._count - len(self._busy)

    def take(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._busy.add(task)
        task.add_done_callback(self._let_go)

    def _let_go(self, task: asyncio.Task[None]) -> None:
        self._busy.discard(task)
        if not task.cancelled() and (error := task.exception()):
            # Settling itself failed, so the message is unsettled and the bus will bring it again.
            log.error("could not settle", exc_info=error)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._busy:
            await asyncio.wait(tuple(self._busy), timeout=self._patience_s)
        overdue = tuple(self._busy)
        for task in overdue:
            task.cancel()
        await asyncio.gather(*overdue, return_exceptions=True)
