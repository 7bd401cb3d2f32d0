"""When a service stops: on a signal, when its supervisor is gone, when the bus is closed."""

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn, TypeVar

import structlog

from teambus.runtime.management import report

T = TypeVar("T")
log = structlog.get_logger(__name__)

WATCH_FD = "TEAMBUS_WATCH_FD"
WRONG_SETUP = 2


@contextmanager
def stop_on_signals() -> Iterator[asyncio.Event]:
    """An event set by SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def exit_with_parent() -> None:
    """End this process at once when the pipe named by `TEAMBUS_WATCH_FD` is closed.

    The supervisor holds the other end, so whatever way it dies, its children go too. Needs a
    running loop.
    """
    text = os.environ.get(WATCH_FD)
    if text is None:
        return
    descriptor = int(text)
    os.set_inheritable(descriptor, False)

    def gone() -> None:
        if not os.read(descriptor, 1):
            log.warning("the supervisor is gone")
            os._exit(3)

    asyncio.get_running_loop().add_reader(descriptor, gone)


async def stop_when_closed(closed: asyncio.Event, stop: asyncio.Event) -> None:
    """A connection that is closed for good cannot be mended from inside: stop the service."""
    await closed.wait()
    if not stop.is_set():
        log.error("the bus connection is closed for good")
        stop.set()


async def unless_stopped(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """What `work` returns, or None, with the work cancelled, when stopped before."""
    doing, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    await asyncio.wait({doing, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if doing.done():
        return doing.result()
    doing.cancel()
    with suppress(asyncio.CancelledError):
        await doing
    return None


def refuse_to_start(error: Exception) -> NoReturn:
    """Say what must be mended, to the supervisor or else the operator; again is no use."""
    if not report(error=str(error)):
        sys.stderr.write(f"{error}\n")
    sys.exit(WRONG_SETUP)
