"""Running a service from its `main`: its loop, and what its end tells whoever started it."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

import structlog

from teambus.bus.errors import BusError
from teambus.runtime.logging import configure_logging
from teambus.runtime.scheduling import interrupt_nobody
from teambus.runtime.settings import SettingsError
from teambus.runtime.stopping import refuse_to_start

if sys.platform == "win32":
    from asyncio import new_event_loop
else:
    from uvloop import new_event_loop

log = structlog.get_logger(__name__)

BUS_LOST = 1


def run_service(
    name: str,
    start: Callable[[], Coroutine[Any, Any, int]],
    *,
    refusals: tuple[type[Exception], ...] = (),
) -> NoReturn:
    """Run what `start` returns; its result is the exit status.

    Status 2 is for what starting again does not mend: wrong settings, and the service's own
    `refusals`. Status 1: the bus cannot be had, or is lost.
    """
    configure_logging(name)
    interrupt_nobody()
    refused: tuple[type[Exception], ...] = (SettingsError, *refusals)
    try:
        with asyncio.Runner(loop_factory=new_event_loop) as loop:
            sys.exit(loop.run(start()))
    except refused as error:
        refuse_to_start(error)
    except BusError as error:
        log.error("the bus is not usable", why=str(error))
        sys.exit(BUS_LOST)
