"""Opening and closing sessions: one run at a time, and a line of those who wait."""

import asyncio
import time
from collections.abc import Collection
from weakref import WeakValueDictionary

import msgspec
import structlog

from teambus.bus.events import Events
from teambus.bus.journal import Fenced
from teambus.bus.requests import Requests
from teambus.bus.sessions import Seen, Sessions
from teambus.contracts.ids import SessionId, TeamId, Tenant
from teambus.contracts.session import SessionClaim, SessionRecord
from teambus.domain import session_order
from teambus.domain.session_order import Busy, Opened
from teambus_team_runner.asked import Asked, ended_early
from teambus_team_runner.metrics import count_early_end

log = structlog.get_logger(__name__)

MISSING_MAX = 10_000
"""Claims remembered as gone once; of one forgotten the first look is made again."""


class Line:
    """The sessions as this runner sees them.

    Runs of this process take turns at a record, so that they do not race each other on the bus;
    between processes the compare-and-set decides.
    """

    def __init__(
        self,
        sessions: Sessions,
        requests: Requests,
        events: Events,
        *,
        waiting_max: int,
        orphan_after_s: float,
        agents: Collection[TeamId],
    ) -> None:
        self._sessions = sessions
        self._requests = requests
        self._events = events
        self._waiting_max = waiting_max
        self._orphan_after_s = orphan_after_s
        self._agents = agents
        self._turns: WeakValueDictionary[tuple[Tenant, SessionId], asyncio.Lock] = (
            WeakValueDictionary()
        )
        self._missing_since: dict[tuple[Tenant, str], float] = {}

    async def open(self, asked: Asked, seen: Seen | None = None) -> Seen | None:
        """The record as written, with this run as holder, or None: then the run waits in line.

        Opening again as the holder is a new opening with a higher fence.
        """
        async with self._turn(asked):
            while True:
                seen = seen or await self._sessions.read(asked.tenant, asked.session_id)
                verdict = session_order.decide(
                    seen.record, asked.claim, waiting_max=self._waiting_max
                )
                if written := await self._write(seen, verdict):
                    return written if isinstance(verdict, Opened) else None
                seen = None

    async def close(self, asked: Asked, seen: Seen | None = None) -> None:
        """Leave the session, from whatever place in it. Harmless when repeated.

        `seen`, what was written at the opening, mostly still stands and saves a read.
        """
        async with self._turn(asked):
            while True:
                seen = seen or await self._sessions.read(asked.tenant, asked.session_id)
                record = session_order.close(seen.record, asked.run_id)
                if record is None or await self._sessions.replace(seen, record):
                    return
                seen = None

    async def lift(self, asked: Asked, seen: Seen, *, above: int) -> Seen:
        """The session as still opened by this run, with a fence above what its database knows.

        A database may remember more than a bus that was set up anew. Raises `Fenced` when the
        session is no longer this run's.
        """
        async with self._turn(asked):
            while (holder := seen.record.holder) is not None and holder.run_id == asked.run_id:
                record = msgspec.structs.replace(seen.record, fence=above + 1)
                if lifted := await self._sessions.replace(seen, record):
                    return lifted
                seen = await self._sessions.read(asked.tenant, asked.session_id)
        raise Fenced(f"session {asked.session_id!r} was taken over")

    async def leave_line(self, asked: Asked) -> None:
        """Stop waiting, without touching a run of the same id that holds the session."""
        async with self._turn(asked):
            while True:
                seen = await self._sessions.read(asked.tenant, asked.session_id)
                others = [waiter for waiter in seen.record.waiting if waiter != asked.claim]
                if len(others) == len(seen.record.waiting):
                    return
                record = msgspec.structs.replace(seen.record, waiting=others)
                if await self._sessions.replace(seen, record):
                    return

    async def clear_the_way(self, asked: Asked) -> SessionRecord:
        """The record, with whoever stands right before this run and is over removed from it.

        Only who is next looks whether the one before is over; the others would look in vain.
        """
        seen = await self._sessions.read(asked.tenant, asked.session_id)
        other = session_order.blocker(seen.record, asked.claim)
        older = [waiter for waiter in seen.record.waiting if waiter.request_seq < asked.request_seq]
        held = seen.record.holder is not None
        if other is None or (held and older) or not await self._is_over(asked.tenant, other):
            return seen.record
        record = session_order.close(seen.record, other.run_id)
        if record is None or not await self._sessions.replace(seen, record):
            return seen.record
        return record

    async def clear(self, tenant: Tenant, session_id: SessionId) -> bool:
        """Remove whoever holds the session or waits for it and is over; whether it was done."""
        seen = await self._sessions.read(tenant, session_id)
        holder = [seen.record.holder] if seen.record.holder is not None else []
        record = seen.record
        for claim in (*holder, *record.waiting):
            if await self._is_over(tenant, claim):
                record = session_order.close(record, claim.run_id) or record
        return record is not seen.record and await self._sessions.replace(seen, record) is not None

    def is_free(self, record: SessionRecord, asked: Asked) -> bool:
        """Whether it is worth asking to open now, or to get a place in the line."""
        in_line = asked.claim in record.waiting
        room = not in_line and len(record.waiting) < self._waiting_max
        return room or session_order.blocker(record, asked.claim) is None

    async def _is_over(self, tenant: Tenant, claim: SessionClaim) -> bool:
        if await self._events.is_completed(tenant, claim.team_id, claim.run_id):
            return True
        if await self._requests.is_stored(claim.request_seq):
            self._missing_since.pop((tenant, claim.run_id), None)
            return False
        return await self._is_orphan(tenant, claim)

    async def _is_orphan(self, tenant: Tenant, claim: SessionClaim) -> bool:
        """A claim whose request is gone without an end, seen twice long enough apart."""
        since = self._missing_since.setdefault((tenant, claim.run_id), time.monotonic())
        if len(self._missing_since) > MISSING_MAX:
            del self._missing_since[next(iter(self._missing_since))]
        if time.monotonic() - since < self._orphan_after_s:
            return False
        self._missing_since.pop((tenant, claim.run_id), None)
        log.error("session held by a run without a request", run_id=claim.run_id, tenant=tenant)
        detail = "the run's request was removed from the queue before the run ended"
        end = ended_early(
            tenant,
            claim.team_id,
            claim.run_id,
            code="orphaned",
            detail=detail,
            agents=self._agents,
        )
        if await self._events.complete(end):
            count_early_end(end)
        return True

    async def _write(self, seen: Seen, verdict: Opened | Busy) -> Seen | None:
        if verdict.record is None:
            return seen
        return await self._sessions.replace(seen, verdict.record)

    def _turn(self, asked: Asked) -> asyncio.Lock:
        return self._turns.setdefault((asked.tenant, asked.session_id), asyncio.Lock())
