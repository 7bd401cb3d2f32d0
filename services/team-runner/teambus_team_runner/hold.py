"""Holding a run: keeping its message alive, and letting go of the work when the run is lost."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from teambus.bus.errors import BusError
from teambus.bus.journal import Fenced, Journal
from teambus.bus.pull import Delivery
from teambus_team_runner.asked import Asked

log = structlog.get_logger(__name__)


class Handle:
    """The message of a run in hand, and what it asks.

    A redelivery to this process replaces the delivery: an answer to the older one would act on
    the newer one's. For the same reason a message is given back only while it is surely held.
    """

    def __init__(self, delivery: Delivery, asked: Asked, *, ack_wait_s: float) -> None:
        self.asked = asked
        self.ack_wait_s = ack_wait_s
        self._delivery = delivery
        self._touched_at = time.monotonic()

    def replace(self, delivery: Delivery) -> None:
        self._delivery = delivery
        self._touched_at = time.monotonic()

    async def keep(self) -> None:
        await self._delivery.in_progress()
        self._touched_at = time.monotonic()

    async def done(self) -> None:
        await self._delivery.ack()

    async def give_back(self, *, delay_s: float = 0) -> None:
        """Let it be delivered again; one not surely held is left to lapse by itself."""
        if time.monotonic() - self._touched_at < self.ack_wait_s / 2:
            await self._delivery.nak(delay_s)


@asynccontextmanager
async def held(handle: Handle, journal: Journal) -> AsyncIterator[None]:
    """Run the block as long as the run is held; `Fenced` or `BusError` cuts it short.

    A stopped and woken process proves that it still holds the run before it touches the message.
    """
    work = asyncio.current_task()
    assert work is not None
    watching = asyncio.create_task(_keep(handle, journal), name="keep the run")
    lost = False

    def let_go(_: asyncio.Task[None]) -> None:
        nonlocal lost
        if not watching.cancelled():
            lost = True
            work.cancel()

    watching.add_done_callback(let_go)
    try:
        yield
    except asyncio.CancelledError:
        if not lost or work.uncancel() > 0:
            raise
        await watching
        raise AssertionError("the watch ended without a reason") from None
    finally:
        watching.remove_done_callback(let_go)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def _keep(handle: Handle, journal: Journal) -> None:
    """Ends only by raising."""
    while True:
        try:
            async with asyncio.timeout(handle.ack_wait_s / 3):
                await journal.lost.wait()
        except TimeoutError:
            await _beat(handle, journal)
        else:
            await journal.settled()
            raise AssertionError("a lost journal settles by raising")


async def _beat(handle: Handle, journal: Journal) -> None:
    try:
        await journal.prove(handle.ack_wait_s / 2)
        await handle.keep()
    except Fenced:
        raise
    except BusError as error:
        # The journal gives up by itself when the bus stays away; a beat missed is no loss.
        log.warning("could not renew the hold", error=str(error))
