"""Driving a hook's coroutine so that the board always says whose code has the loop."""

from collections.abc import Coroutine, Generator
from types import coroutine
from typing import Any

from teambus_hook_runner.board import Board


@coroutine
def marked(work: Coroutine[Any, Any, Any], board: Board, slot: int) -> Generator[Any, Any, Any]:
    """Await `work`; each of its steps is bracketed by two writes to memory."""
    step, argument = work.send, None
    while True:
        board.enter_loop(slot)
        try:
            waited_for = step(argument)
        except StopIteration as stop:
            return stop.value
        finally:
            board.leave_loop()
        try:
            step, argument = work.send, (yield waited_for)
        except GeneratorExit:
            work.close()
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is for the hook
            step, argument = work.throw, error
