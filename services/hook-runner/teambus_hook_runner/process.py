"""One hook process: given calls, watched from outside, and ended whether it agrees or not."""

import asyncio
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

import structlog

from teambus_hook_runner import blame
from teambus_hook_runner.asked import Answer, Asked, Interrupted, Limits, Unavailable
from teambus_hook_runner.spawning import Load, Spawned, spawn
from teambus_hook_runner.wire import (
    Call,
    Cancel,
    Described,
    FromChild,
    Raised,
    Ready,
    Returned,
    ToChild,
    Unable,
    frame,
)

log = structlog.get_logger(__name__)

LAST_WORDS_S = 0.5
"""How long the pipe of a dead process may stay open; only what it forked can hold it."""


@dataclass(slots=True, eq=False)
class _Open:
    """A call the process has not answered yet."""

    asked: Asked
    number: int
    slot: int
    sent_at: float
    answer: "asyncio.Future[Answer]"
    timer: asyncio.TimerHandle | None = None
    told_at: float | None = None


class HookProcess:
    """A running process that has loaded the app. Every call given to it is answered."""

    def __init__(self, limits: Limits, slots: int) -> None:
        self.ended = asyncio.Event()
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._first: asyncio.Future[FromChild] = self._loop.create_future()
        self._open: dict[int, _Open] = {}
        self._free_slots = list(range(slots))
        self._numbers = 0
        self._threaded: frozenset[str] = frozenset()
        self._to_blame: set[int] | None = None
        self._spawned: Spawned
        self._watching: asyncio.Task[None]

    @classmethod
    async def start(cls, load: Load, hooks: list[str], slots: int, limits: Limits) -> Self:
        """Raises `Unavailable` with the reason when the app is not loaded in time."""
        process = cls(limits, slots)
        first = await process._begin(load, hooks, slots)
        if not isinstance(first, Ready):
            await process.kill()
            raise Unavailable(first.error if isinstance(first, Unable) else f"it said {first}")
        process._threaded = frozenset(first.threaded)
        return process

    @classmethod
    async def describe(cls, load: Load, limits: Limits) -> bytes:
        """What the app declares, as JSON, by a process of its own. Raises `Unavailable`."""
        process = cls(limits, 0)
        first = await process._begin(load, [], 0)
        await process.stop()
        if not isinstance(first, Described):
            raise Unavailable(first.error if isinstance(first, Unable) else f"it said {first}")
        return first.app

    @property
    def pid(self) -> int:
        return self._spawned.process.pid

    def call(self, asked: Asked) -> "asyncio.Future[Answer]":
        """Send a call; its time begins when the process begins it."""
        answer: asyncio.Future[Answer] = self._loop.create_future()
        if self.ended.is_set():
            answer.set_result(Interrupted())
            return answer
        self._numbers += 1
        slot = self._free_slots.pop()
        self._spawned.board.clear(slot)
        opened = _Open(asked, self._numbers, slot, time.monotonic(), answer)
        self._open[opened.number] = opened
        self._wake(opened, asked.timeout_s)
        call = Call(
            opened.number,
            slot,
            asked.hook,
            asked.delivery_id,
            asked.attempt,
            asked.event,
            asked.session,
            asked.traceparent,
        )
        self._send(call)
        return answer

    async def stop(self) -> None:
        """Ask it to end, and end it when it does not within `kill_after_s`."""
        if not self._spawned.calls.is_closing():
            self._spawned.calls.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.kill_after_s):
                await self.ended.wait()
        await self.kill()

    async def kill(self) -> None:
        """End it now; its calls are interrupted. Returns when it is gone."""
        self._kill(set())
        await self.ended.wait()

    async def _begin(self, load: Load, hooks: list[str], slots: int) -> FromChild:
        self._spawned = await spawn(load, hooks, slots, self._hear)
        self._watching = self._loop.create_task(self._watch(), name="hook process")
        try:
            async with asyncio.timeout(self._limits.start_timeout_s):
                return await self._first
        except TimeoutError as error:
            await self.kill()
            raise Unavailable(
                f"it did not load the app within {self._limits.start_timeout_s:g} s"
            ) from error
        except asyncio.CancelledError:
            await self.kill()
            raise

    def _hear(self, message: FromChild) -> None:
        if isinstance(message, Returned | Raised):
            self._answer(message.number, message)
        elif not self._first.done():
            self._first.set_result(message)

    def _send(self, message: ToChild) -> None:
        if not self._spawned.calls.is_closing():
            self._spawned.calls.write(frame(message))

    def _answer(self, number: int, answer: Answer) -> None:
        opened = self._open.pop(number, None)
        if opened is None:
            return
        if opened.timer is not None:
            opened.timer.cancel()
        self._free_slots.append(opened.slot)
        if not opened.answer.done():
            opened.answer.set_result(answer)

    def _wake(self, opened: _Open, after_s: float) -> None:
        opened.timer = self._loop.call_later(after_s, self._look, opened)

    def _look(self, opened: _Open) -> None:
        """See whether a call's time is over, and whether it has yielded since it was told."""
        now = time.monotonic()
        if opened.told_at is not None:
            self._look_again(opened)
            return
        started_at = self._spawned.board.started_at(opened.slot)
        if started_at is None:
            self._look_at_unbegun(opened, now)
        elif (left_s := started_at + opened.asked.timeout_s - now) > 0:
            self._wake(opened, left_s)
        else:
            opened.told_at = now
            self._send(Cancel(opened.number))
            self._wake(opened, self._limits.kill_after_s)

    def _look_at_unbegun(self, opened: _Open, now: float) -> None:
        """It waits for others in the process, whose time ends all waiting; or nobody is at home."""
        others = (self._spawned.board.started_at(o.slot) for o in self._open.values())
        patience_s = opened.asked.timeout_s + self._limits.kill_after_s
        if now - opened.sent_at < patience_s or any(at is not None for at in others):
            self._wake(opened, self._limits.kill_after_s)
        else:
            log.error("a hook process begins no call and is killed", hook=opened.asked.hook)
            self._kill(set())

    def _look_again(self, opened: _Open) -> None:
        """Kill for it, unless another call has the loop whose own time is not over yet."""
        holder = self._holder()
        threaded = opened.asked.hook in self._threaded
        if not threaded and holder not in (None, opened) and not self._is_overdue(holder):
            self._wake(opened, self._limits.kill_after_s)
            return
        guilty = blame.for_kill(self._standings()) or {opened.number}
        log.error(
            "a hook did not yield when its time was over; its process is killed",
            hooks=sorted({self._open[number].asked.hook for number in guilty}),
            calls=len(guilty),
            others=len(self._open) - len(guilty),
        )
        self._kill(guilty)

    def _holder(self) -> _Open | None:
        slot = self._spawned.board.on_loop
        return next((each for each in self._open.values() if each.slot == slot), None)

    def _is_overdue(self, opened: _Open | None) -> bool:
        if opened is None or opened.told_at is None:
            return False
        # A timer may fire a little early by the clock.
        return time.monotonic() - opened.told_at >= self._limits.kill_after_s - 0.01

    def _standings(self) -> Iterable[blame.Standing]:
        board = self._spawned.board
        for number, opened in self._open.items():
            yield blame.Standing(
                number,
                begun=board.started_at(opened.slot) is not None,
                overdue=self._is_overdue(opened),
                threaded=opened.asked.hook in self._threaded,
                on_loop=board.on_loop == opened.slot,
            )

    def _kill(self, to_blame: set[int]) -> None:
        if self._to_blame is None:
            self._to_blame = to_blame
        if not self.ended.is_set():
            self._spawned.kill()

    async def _watch(self) -> None:
        code = await self._spawned.process.wait()
        self._spawned.kill()
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_S):
                await self._spawned.heard.ended.wait()
        if not self._first.done():
            self._first.set_result(Unable(f"it {_how(code)} while it loaded the app"))
        self._conclude(code)
        self.ended.set()
        self._spawned.close()

    def _conclude(self, code: int) -> None:
        """Answer what is open. What answered before the end is heard by now."""
        killed = self._to_blame is not None
        guilty = self._to_blame if killed else blame.for_crash(self._standings())
        if not killed and self._open:
            log.error("a hook process ended by itself", how=_how(code), calls=len(self._open))
        for opened in tuple(self._open.values()):
            answer: Answer = Interrupted()
            if guilty and opened.number in guilty:
                answer = self._overrun(opened) if killed else _crash(opened.number, code)
            self._answer(opened.number, answer)

    def _overrun(self, opened: _Open) -> Raised:
        return Raised(
            opened.number,
            "timeout",
            f"did not end within {opened.asked.timeout_s:g} s nor yield within"
            f" {self._limits.kill_after_s:g} s of being told to; its process was killed",
        )


def _crash(number: int, code: int) -> Raised:
    return Raised(number, "crashed", f"its process {_how(code)} during the call")


def _how(code: int) -> str:
    return f"was ended by signal {-code}" if code < 0 else f"exited with code {code}"
