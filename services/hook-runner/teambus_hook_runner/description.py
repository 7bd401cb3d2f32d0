"""What app this is and what hooks it has: by the catalogue, or by its own word.

The app is the user's code, so asking it takes a process of its own, which ends at once.
"""

import asyncio

import structlog

from teambus.bus import catalogue
from teambus.bus.connection import Bus
from teambus.bus.errors import BusError
from teambus.contracts.catalogue import AppDescription
from teambus.contracts.message import decode
from teambus_hook_runner.asked import Limits
from teambus_hook_runner.process import HookProcess
from teambus_hook_runner.spawning import Load

log = structlog.get_logger(__name__)


async def described(load: Load, limits: Limits) -> AppDescription:
    """The app's own word. Raises `Unavailable` with the reason when it cannot be loaded."""
    return decode(AppDescription, await HookProcess.describe(load, limits))


async def catalogued(bus: Bus, app_id: str, *, look_s: float) -> AppDescription:
    """The catalogue's word, once somebody has provisioned the app."""
    while True:
        if (app := await _look(bus, app_id)) is not None:
            return app
        await asyncio.sleep(look_s)


async def _look(bus: Bus, app_id: str) -> AppDescription | None:
    try:
        apps = await catalogue.read(bus)
    except BusError as error:
        log.warning("the catalogue cannot be read", reason=str(error))
        return None
    found = next((app for app in apps if app.id == app_id), None)
    if found is None:
        log.warning("waiting for the app to be provisioned", app=app_id)
    return found
