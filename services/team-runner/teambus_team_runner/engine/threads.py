"""Threads for users' blocking functions: a fixed number, and none that a stop must wait for."""

import asyncio
import contextvars
import threading
import weakref
from collections.abc import Callable
from typing import Any

_of_loop: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Threads]"
_of_loop = weakref.WeakKeyDictionary()


class Threads:
    """At most `count` blocking calls at a time.

    A cancelled caller leaves at once, its call cannot be stopped: it keeps its place until it
    returns. The threads are daemons, so a call that never returns does not hold up the process.
    """

    def __init__(self, count: int) -> None:
        self._places = asyncio.Semaphore(count)

    @classmethod
    def here(cls, count: int) -> "Threads":
        """The running loop's threads, like asyncio's own default executor."""
        loop = asyncio.get_running_loop()
        threads = _of_loop.get(loop)
        if threads is None:
            threads = _of_loop[loop] = cls(count)
        return threads

    async def call(self, function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        await self._places.acquire()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        context = contextvars.copy_context()

        def settle(value: Any, error: BaseException | None) -> None:
            self._places.release()
            if answer.done():
                return
            if error is None:
                answer.set_result(value)
            else:
                answer.set_exception(error)

        def work() -> None:
            value, error = _outcome(lambda: context.run(function, **arguments))
            _tell(loop, lambda: settle(value, error))

        name = getattr(function, "__name__", "blocking call")
        try:
            threading.Thread(target=work, name=name, daemon=True).start()
        except RuntimeError:  # the machine has no thread left
            self._places.release()
            raise
        return await answer


def _outcome(work: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    try:
        return work(), None
    except StopIteration as error:  # a future refuses to carry one
        return None, RuntimeError(f"raised {error!r}")
    except BaseException as error:  # noqa: BLE001 - it is raised again where it was called
        return None, error


def _tell(loop: asyncio.AbstractEventLoop, what: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(what)
    except RuntimeError:
        return  # the loop is closed, and nobody waits any more
