"""Hearing changes as they happen. A signal may be missed, so whoever waits also looks."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import nats.errors
from nats.aio.msg import Msg

from teambus.bus.connection import Bus
from teambus.bus.errors import BusUnavailable
from teambus.contracts import subjects
from teambus.contracts.ids import SessionId, Tenant
from teambus.contracts.message import decode
from teambus.contracts.session import SessionRecord

UNHEARD_MAX = 16


@dataclass(slots=True)
class HeardSession:
    """The changes of one session record; the oldest unheard ones are dropped."""

    unheard: "asyncio.Queue[bytes]" = field(default_factory=lambda: asyncio.Queue(UNHEARD_MAX))

    async def next(self, wait_s: float) -> SessionRecord | None:
        """The next change, or None after `wait_s`."""
        try:
            async with asyncio.timeout(wait_s):
                return decode(SessionRecord, await self.unheard.get())
        except TimeoutError:
            return None

    async def note(self, message: Msg) -> None:
        if self.unheard.full():
            self.unheard.get_nowait()
        self.unheard.put_nowait(message.data)


@dataclass(frozen=True, slots=True)
class Signals:
    """Subscriptions to what streams repeat."""

    bus: Bus

    @asynccontextmanager
    async def session(self, tenant: Tenant, session_id: SessionId) -> AsyncIterator[HeardSession]:
        heard = HeardSession()
        subject = subjects.session_signal(tenant, session_id)
        try:
            subscription = await self.bus.client.subscribe(subject, cb=heard.note)
        except nats.errors.Error as error:
            raise BusUnavailable(f"cannot listen to a session: {error!r}") from error
        try:
            yield heard
        finally:
            with suppress(nats.errors.Error):
                await subscription.unsubscribe()
