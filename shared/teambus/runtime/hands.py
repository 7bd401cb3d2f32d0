"""Hands: how much a worker holds at once, and how it lets go."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Self

import structlog

log = structlog.get_logger(__name__)


class Hands:
    """A fixed number of hands. Leaving the block waits for what they hold, then lets go.

    Work still in hand after `patience_s` is cancelled; it is up to that work to give itself back.
    `first` is called whenever a hand may have become free, before whoever waits in `free` hears of
    it: what it takes is taken.
    """

    def __init__(self, count: int, *, patience_s: float) -> None:
        assert count >= 1, count
        self._count = count
        self._patience_s = patience_s
        self._busy: set[asyncio.Task[None]] = set()
        self._whose: Counter[str] = Counter()
        self.first: Callable[[], None] | None = None
        self._solitary = 0
        self._solitude = asyncio.Lock()
        self._waiting: set[asyncio.Future[None]] = set()
        self._hurried = asyncio.Event()

    @property
    def count(self) -> int:
        return self._count

    @property
    def busy(self) -> int:
        return len(self._busy)

    @property
    def spare(self) -> int:
        """How many hands are free for new work now."""
        if self._solitary:
            return 0
        return max(0, self._count - len(self._busy))

    @property
    def owners(self) -> set[str]:
        """Whose work is in hand."""
        return set(self._whose)

    def held_for(self, owner: str) -> int:
        """How many hands hold work of this owner."""
        return self._whose[owner]

    async def free(self, stop: asyncio.Event, *, wait_s: float | None = None) -> int:
        """Wait for a free hand, `wait_s` at most, and say how many are free; 0 once `stop` is
        set.
        """
        try:
            async with asyncio.timeout(wait_s):
                while not self.spare and not stop.is_set():
                    await self._change(stop)
        except TimeoutError:
            return 0
        return 0 if stop.is_set() else self.spare

    @asynccontextmanager
    async def alone(self, *, wait_s: float) -> AsyncIterator[None]:
        """For work in hand: run the block while all other hands are empty and stay so.

        After `wait_s` it runs beside what is still in the other hands.
        """
        self._solitary += 1
        self._tell_change()
        try:
            async with self._solitude:
                await self._until_alone(wait_s)
                yield
        finally:
            self._solitary -= 1
            self._tell_change()

    def hurry(self) -> None:
        """Have no more patience: what is in hand when the block ends is let go at once."""
        self._hurried.set()

    def take(self, work: Coroutine[None, None, None], *, owner: str = "") -> None:
        task = asyncio.create_task(work)
        self._busy.add(task)
        self._whose[owner] += 1
        task.add_done_callback(partial(self._let_go, owner))

    async def _until_alone(self, wait_s: float) -> None:
        never = asyncio.Event()
        try:
            async with asyncio.timeout(wait_s):
                while len(self._busy) > self._solitary:
                    await self._change(never)
        except TimeoutError:
            log.warning("other work is still in hand", busy=self.busy, waited_s=wait_s)

    async def _change(self, stop: asyncio.Event) -> None:
        """Return when what is in hand has changed, or `stop` is set."""
        changed = asyncio.get_running_loop().create_future()
        stopping = asyncio.ensure_future(stop.wait())
        self._waiting.add(changed)
        try:
            await asyncio.wait({changed, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._waiting.discard(changed)
            stopping.cancel()

    def _tell_change(self) -> None:
        if self.first is not None:
            self.first()
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    def _let_go(self, owner: str, task: asyncio.Task[None]) -> None:
        self._busy.discard(task)
        self._whose[owner] -= 1
        if not self._whose[owner]:
            del self._whose[owner]
        self._tell_change()
        if not task.cancelled() and (error := task.exception()):
            # Settling itself failed, so the message is unsettled and the bus will bring it again.
            log.error("could not settle", exc_info=error)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._be_patient()
        overdue = tuple(self._busy)
        for task in overdue:
            task.cancel()
        await asyncio.gather(*overdue, return_exceptions=True)

    async def _be_patient(self) -> None:
        if not self._busy:
            return
        hurried = asyncio.ensure_future(self._hurried.wait())
        emptied = asyncio.ensure_future(asyncio.wait(tuple(self._busy)))
        await asyncio.wait(
            {hurried, emptied}, timeout=self._patience_s, return_when=asyncio.FIRST_COMPLETED
        )
        for waiting in (hurried, emptied):
            waiting.cancel()
