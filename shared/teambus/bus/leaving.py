"""Ending a subscription without losing what is on its way to it."""

import asyncio

import nats.errors
import structlog
from nats.aio.subscription import Subscription

from teambus.bus.connection import Bus
from teambus.bus.errors import BusUnavailable

log = structlog.get_logger(__name__)


async def leave(bus: Bus, subscription: Subscription) -> None:
    """Unsubscribe; returns once all that the server sent before was handed to the subscriber."""
    if bus.client.is_closed:
        return
    try:
        if not bus.connected:
            await subscription.unsubscribe()
            return
        # The client's drain asks for the echo before its UNSUB is sent, and misses the rest.
        await bus.client._send_unsubscribe(subscription._id)
        await bus.barrier()
        async with asyncio.timeout(bus.settings.request_timeout_s):
            await subscription.drain()  # type: ignore[no-untyped-call]  # nats-py leaves it so
    except (TimeoutError, nats.errors.Error, BusUnavailable) as error:
        log.warning("could not unsubscribe", subject=subscription.subject, why=repr(error))
