"""A thread that has one connection to itself, so that work which blocks does not block the loop.

To go to another thread and back costs as much as a small read, so what is asked for in one turn of
the loop goes there together and comes back together.
"""

import asyncio
import math
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

T = TypeVar("T")

TURN_S = 0.0005


def take_short_turns() -> None:
    """Let threads that come back from a database wait less long for the loop.

    They wait after each statement, up to a whole turn while the loop is busy: with Python's own
    5 ms the save of a few runs that end together takes longer than a model call.
    """
    sys.setswitchinterval(TURN_S)


class Recoverable(Protocol):
    def recover(self) -> bool:
        """Undo what is not committed, and say whether more can be done on this connection."""

    def break_off(self) -> None:
        """Called in another thread: let what waits for the database fail."""

    def close(self) -> None: ...


C = TypeVar("C", bound=Recoverable)


class _Unit(NamedTuple):
    work: Callable[[Any], Any]
    answer: asyncio.Future[Any]


class _Outcome(NamedTuple):
    result: Any = None
    error: Exception | None = None


class ConnectionThread(Generic[C]):
    """Does units of work one after the other. What one that fails did not commit is undone.

    A connection that does not recover from it is made anew. The thread starts with the first unit.
    """

    def __init__(self, connect: Callable[[], C], name: str) -> None:
        self.busy = 0  # units that are in the thread
        self._connect = connect
        self._connection: C | None = None
        self._begun_at = math.inf
        self._loop = asyncio.get_running_loop()
        self._gathered: list[_Unit] = []
        self._given: SimpleQueue[list[_Unit] | None] = SimpleQueue()
        # A thread that hangs in a dead disk must not keep the process from ending.
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._ending = False
        self._ended = asyncio.Event()

    async def do(self, work: Callable[[C], T]) -> T:
        """Do one unit. Cancelled before it is begun it is left out, later it is done to its end."""
        assert not self._ending, self._thread.name
        answer = self._loop.create_future()
        if not self._gathered:
            self._loop.call_soon(self._give)
        self._gathered.append(_Unit(work, answer))
        result: T = await answer
        return result

    def end(self) -> None:
        """Take nothing more: finish what was asked for, close the connection, end the thread.

        May be called twice.
        """
        self._ending = True
        self._give()
        if self._thread.ident is None:
            self._ended.set()
        self._given.put(None)

    def break_off(self, *, after_s: float) -> None:
        """Let the unit that is being done fail, when it was begun so long ago."""
        connection = self._connection
        if connection is not None and time.monotonic() - self._begun_at >= after_s:
            connection.break_off()

    async def ended(self) -> None:
        await self._ended.wait()

    def _give(self) -> None:
        if not self._gathered:
            return
        units, self._gathered = self._gathered, []
        if self._thread.ident is None:
            self._thread.start()
        self.busy += len(units)
        self._given.put(units)

    def _settle(self, units: list[_Unit], outcomes: list[_Outcome]) -> None:
        self.busy -= len(units)
        for unit, outcome in zip(units, outcomes, strict=True):
            if unit.answer.done():
                continue
            if outcome.error is None:
                unit.answer.set_result(outcome.result)
            else:
                unit.answer.set_exception(outcome.error)

    def _run(self) -> None:
        while units := self._given.get():
            self._tell(self._settle, units, [self._outcome(unit) for unit in units])
            del units  # or the thread keeps what they wrote and read while it waits
        self._drop()
        self._tell(self._ended.set)

    def _outcome(self, unit: _Unit) -> _Outcome:
        if unit.answer.cancelled():
            return _Outcome()
        try:
            if self._connection is None:
                self._connection = self._connect()
            self._begun_at = time.monotonic()
            return _Outcome(unit.work(self._connection))
        except Exception as error:  # noqa: BLE001 - whoever asked for it hears of it
            if self._connection is None or not self._connection.recover():
                self._drop()
            return _Outcome(error=error)
        finally:
            self._begun_at = math.inf

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _tell(self, what: Callable[..., None], *arguments: object) -> None:
        with suppress(RuntimeError):  # the loop is closed, and whoever asked is gone with it
            self._loop.call_soon_threadsafe(what, *arguments)
