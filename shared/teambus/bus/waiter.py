"""Waiting for the end of a run: hear it live, and look it up again in case it was not heard."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from nats.aio.msg import Msg

from teambus.bus import reads
from teambus.bus.bodies import Bodies
from teambus.bus.connection import Bus
from teambus.bus.topology import EVENTS
from teambus.contracts import subjects
from teambus.contracts.ids import RunId, TeamId, Tenant
from teambus.contracts.message import decode
from teambus.contracts.run import RunCompleted, RunRefused


class Listener:
    """Hears the committed events of one run from the moment it exists.

    What is published later on the same connection, a request say, reaches the server after the
    subscription, so no barrier is needed. Nodes further away may miss: hence the looking up.
    """

    def __init__(self, bus: Bus, bodies: Bodies, tenant: Tenant, team: TeamId, run: RunId) -> None:
        self._bus = bus
        self._bodies = bodies
        self._subject = subjects.event(tenant, team, run, "completed")
        self._team = team
        self._heard: asyncio.Queue[Msg | None] = asyncio.Queue(maxsize=64)

    async def completed(self, *, wait_s: float, look_s: float = 3) -> RunCompleted | None:
        """The run-completed event, or None when `wait_s` seconds have passed without it."""
        deadline = time.monotonic() + wait_s
        while True:
            if found := await self.look():
                return found
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return None
            if heard := await self._hear(min(look_s, left_s)):
                return heard

    async def look(self) -> RunCompleted | None:
        """The run-completed event if it is already there."""
        stored = await reads.last_nearby(self._bus, EVENTS, self._subject)
        if stored is None:
            return None
        return decode(RunCompleted, await self._bodies.load(stored.data, stored.headers))

    async def _hear(self, wait_s: float) -> RunCompleted | None:
        """What is heard within `wait_s`; None also when it is time to look again."""
        try:
            async with asyncio.timeout(wait_s):
                while (message := await self._heard.get()) is not None:
                    if (event := await self._read(message)) is not None:
                        return event
        except TimeoutError:
            pass
        return None

    async def _read(self, message: Msg) -> RunCompleted | None:
        headers = dict(message.headers or {})
        if headers.get("Nats-Subject", self._subject) != self._subject:
            return None
        return decode(RunCompleted, await self._bodies.load(message.data, headers))

    async def _on_message(self, message: Msg) -> None:
        if message.subject.endswith(".completed") and not self._heard.full():
            self._heard.put_nowait(message)

    def _on_reconnect(self) -> None:
        if not self._heard.full():
            self._heard.put_nowait(None)


class Waiter:
    """Opens listeners; one for each HTTP request that waits."""

    def __init__(self, bus: Bus, bodies: Bodies) -> None:
        self._bus = bus
        self._bodies = bodies

    @asynccontextmanager
    async def listening(
        self, tenant: Tenant, team_id: TeamId, run_id: RunId
    ) -> AsyncIterator[Listener]:
        listener = Listener(self._bus, self._bodies, tenant, team_id, run_id)
        heard = subjects.live(tenant, run_id, "completed")
        self._bus.reconnect_listeners.add(listener._on_reconnect)  # noqa: SLF001 - same module
        subscription = await self._bus.client.subscribe(heard, cb=listener._on_message)  # noqa: SLF001 - same module
        try:
            yield listener
        finally:
            self._bus.reconnect_listeners.discard(listener._on_reconnect)  # noqa: SLF001 - same module
            if not self._bus.client.is_closed:
                await subscription.unsubscribe()
