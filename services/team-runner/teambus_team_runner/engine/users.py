"""Calls of users' functions: on the loop when async, else in a thread, within a time limit."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from teambus.app.injection import is_async
from teambus_team_runner.engine.threads import Threads


class UserFunctionFailed(Exception):
    """A user's function raised, or took too long; the text says which, without a traceback."""


@dataclass(frozen=True, slots=True)
class UserCall:
    function: Callable[..., Any]
    arguments: dict[str, Any]
    timeout_s: float
    lets_through: tuple[type[Exception], ...] = ()


async def call_user(call: UserCall, threads: Threads) -> Any:
    """What the function returns; raises `UserFunctionFailed`, or one of `lets_through` as it is."""
    limit = asyncio.timeout(call.timeout_s)
    try:
        async with limit:
            return await _value(call, threads)
    except call.lets_through:
        raise
    except asyncio.CancelledError as error:
        if _is_cancelled():
            raise
        raise UserFunctionFailed("it was cancelled from within") from error
    except TimeoutError as error:
        if limit.expired():
            raise UserFunctionFailed(f"it did not finish within {call.timeout_s:g} s") from error
        raise UserFunctionFailed(_text(error)) from error
    except (Exception, SystemExit) as error:  # whatever it is, it ends this call only
        raise UserFunctionFailed(_text(error)) from error


async def _value(call: UserCall, threads: Threads) -> Any:
    if is_async(call.function):
        return await call.function(**call.arguments)
    value = await threads.call(call.function, call.arguments)
    return await value if asyncio.iscoroutine(value) else value


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _text(error: BaseException) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
