"""Calling hooks inside a hook process: async ones on its loop, sync ones in its threads."""

import asyncio
import inspect
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from teambus.app.hooks import BackgroundHook
from teambus.app.teambus import TeamBus
from teambus_hook_runner.board import Board
from teambus_hook_runner.failures import failure, flush_prints
from teambus_hook_runner.marked import marked
from teambus_hook_runner.supplies import arguments
from teambus_hook_runner.wire import Call, FromChild, Raised, Returned


@dataclass(slots=True)
class Calls:
    """Takes calls and answers each exactly once, when the hook's code has ended."""

    app: TeamBus
    hooks: Mapping[str, BackgroundHook]
    board: Board
    threads: ThreadPoolExecutor
    answer: Callable[[FromChild], None]
    around: Callable[[Call], AbstractContextManager[object]] = nullcontext
    tasks: dict[int, asyncio.Task[None]] = field(default_factory=dict)
    told: set[int] = field(default_factory=set)

    def take(self, call: Call) -> None:
        hook = self.hooks[call.hook]
        loop = asyncio.get_running_loop()
        if hook.is_async:
            task = loop.create_task(self._call_on_loop(hook, call), name=call.hook)
            self.tasks[call.number] = task
        else:
            self.threads.submit(self._call_in_thread, hook, call, loop)

    def cancel(self, number: int) -> None:
        """Only what runs on the loop can be cancelled; a thread is over when it returns."""
        if task := self.tasks.get(number):
            self.told.add(number)
            task.cancel()

    async def _call_on_loop(self, hook: BackgroundHook, call: Call) -> None:
        self.board.start(call.slot, time.monotonic())
        answer: Returned | Raised = Returned(call.number)
        try:
            with self.around(call):
                for given in arguments(self.app, hook, call):
                    await marked(hook.function(**given), self.board, call.slot)
        except BaseException as error:  # noqa: BLE001 - user code ends here, whatever it raises
            answer = failure(call.number, error)
        if call.number in self.told:
            self.told.discard(call.number)
            # Told to stop, a hook may clean up and return as if it had done its work.
            trace = answer.traceback if isinstance(answer, Raised) else ""
            answer = Raised(call.number, "timeout", "was cancelled when its time was over", trace)
        self._end(call, answer)

    def _call_in_thread(
        self, hook: BackgroundHook, call: Call, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.board.start(call.slot, time.monotonic())
        answer: Returned | Raised = Returned(call.number)
        try:
            with self.around(call):
                for given in arguments(self.app, hook, call):
                    _finish(hook.function(**given), loop)
        except BaseException as error:  # noqa: BLE001 - user code ends here, whatever it raises
            answer = failure(call.number, error)
        self._end(call, answer)

    def _end(self, call: Call, answer: FromChild) -> None:
        self.tasks.pop(call.number, None)
        flush_prints()
        self.answer(answer)


def _finish(result: Any, loop: asyncio.AbstractEventLoop) -> None:
    """A plain function may return something to await, a lambda around an async one say."""
    if inspect.isawaitable(result):
        asyncio.run_coroutine_threadsafe(_awaited(result), loop).result()


async def _awaited(result: Any) -> None:
    await result
