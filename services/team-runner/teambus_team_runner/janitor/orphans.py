"""Sessions whose holder is over, and for which nobody waits who would see to it."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from teambus.bus import reads
from teambus.bus.connection import Bus
from teambus.bus.topology import SESSIONS
from teambus.contracts.message import MalformedMessage, decode
from teambus.contracts.session import SessionRecord
from teambus.contracts.subjects import ROOT
from teambus_team_runner.line import Line

log = structlog.get_logger(__name__)

PAGE = 256
PAGE_BYTES_MAX = 4 * 1024 * 1024


@dataclass(slots=True)
class OrphanSweep:
    """Goes through all session records, `looks_max` in one sweep, and on from there in the next.

    What is read here may be stale and only points at records; whether a claim is over is asked of
    the leaders, and the record replaced by compare-and-set.
    """

    bus: Bus
    line: Line
    orphan_after_s: float
    looks_max: int
    _next: int = 1

    async def act(self, may_act: Callable[[], bool]) -> None:
        left = self.looks_max
        while left > 0 and may_act():
            page = await self._page(min(PAGE, left))
            for stored in page:
                await self._see_to(stored)
            left -= len(page)
            if not page:
                return

    async def _page(self, messages_max: int) -> list[reads.Stored]:
        """The next records, from the first again after the last."""
        page = await reads.page(
            self.bus,
            SESSIONS,
            f"{ROOT}.session.>",
            start=self._next,
            messages_max=messages_max,
            bytes_max=PAGE_BYTES_MAX,
        )
        self._next = page[-1].seq + 1 if page else 1
        return page

    async def _see_to(self, stored: reads.Stored) -> None:
        try:
            record = decode(SessionRecord, stored.data)
        except MalformedMessage as error:
            log.warning("a session record cannot be read", subject=stored.subject, why=str(error))
            return
        claimed = record.holder is not None or record.waiting
        if not claimed or time.time() - stored.stored_at < self.orphan_after_s:
            return
        if await self.line.clear(record.tenant, record.session_id):
            log.warning("cleared a session nobody held any more", session_id=record.session_id)
