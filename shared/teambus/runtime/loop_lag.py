"""How late the event loop is: what a service's work makes everything else in it wait for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import Histogram

LAG_SECONDS = Histogram(
    "teambus_event_loop_lag_seconds",
    "How much later than asked for the event loop woke, looked at twice a second",
    buckets=(0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 5),
)
LOOK_S = 0.5


@asynccontextmanager
async def watching_the_loop() -> AsyncIterator[None]:
    """Look while the block runs."""
    watch = asyncio.create_task(_watch(), name="event loop lag")
    try:
        yield
    finally:
        watch.cancel()


async def _watch() -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + LOOK_S
        await asyncio.sleep(LOOK_S)
        LAG_SECONDS.observe(max(0, loop.time() - due))
