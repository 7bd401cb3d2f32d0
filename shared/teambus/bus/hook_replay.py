"""Delivering the past to one hook again: each stored event of a stretch of time, at a bounded rate.

It is known by its id. What it has asked for already, it does not ask for again, so one that was
killed is gone on with by starting it again under the same id.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, TypeAlias

import structlog

from teambus.bus import reads
from teambus.bus.bodies import Bodies, BodyMissing
from teambus.bus.connection import Bus
from teambus.bus.consumers import progress
from teambus.bus.events import Events, SeenOutcome
from teambus.bus.redrive import Redrives
from teambus.bus.topology import EVENTS, REDRIVE, hook_consumer_name
from teambus.contracts import subjects
from teambus.contracts.catalogue import HookDescription
from teambus.contracts.hook import RedriveDelivery, delivery_id
from teambus.contracts.ids import RunId, TeamId, Tenant
from teambus.contracts.message import MalformedMessage, decode
from teambus.contracts.run import RunCompleted
from teambus.domain.hearing import wants
from teambus.domain.redrive import replayable

log = structlog.get_logger(__name__)

CLOCKS_APART_S = 60
"""How much earlier than it says an event may have been stored."""
LOOK_EVERY = 50
LOOK_S = 0.5

Said: TypeAlias = Literal["replay", "under way", "asked", "unreadable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Runs of these teams and agents that ended from `since` on and before `until`, in seconds
    since 1970.
    """

    tenant: Tenant
    teams: list[TeamId]
    since: float
    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """`pending_max`: with so much asked for and not delivered yet, it waits."""

    per_second_max: float
    pending_max: int


class HookReplay:
    """One replay to one hook."""

    def __init__(
        self, bus: Bus, bodies: Bodies, hook: HookDescription, *, id_: str, source: str
    ) -> None:
        self._bus = bus
        self._bodies = bodies
        self._hook = hook
        self._id = id_
        self._events = Events(bus, bodies, source=source)
        self._redrives = Redrives(bus, bodies, source=source)

    async def look(self, stretch: Stretch) -> AsyncIterator[tuple[RunId, Said]]:
        """What would be done with each event that the hook wants, oldest first."""
        async for event, said, _ in self._judged(stretch):
            yield event, said

    async def make(self, stretch: Stretch, pace: Pace) -> AsyncIterator[tuple[RunId, Said]]:
        """Ask for each delivery, and say so. Raises `BusError` when it cannot go on."""
        asked = 0
        due = time.monotonic()
        async for run_id, said, order in self._judged(stretch):
            if order is not None:
                if asked % LOOK_EVERY == 0:
                    await self._keep_below(pace.pending_max)
                due = max(due, time.monotonic() - 1) + 1 / pace.per_second_max
                await self._redrives.ask(*order)
                await self._forget_letter(*order)
                asked += 1
                await asyncio.sleep(max(0.0, due - time.monotonic()))
            yield run_id, said

    async def _judged(
        self, stretch: Stretch
    ) -> AsyncIterator[tuple[RunId, Said, tuple[RedriveDelivery, SeenOutcome] | None]]:
        settled_seq = (
            await progress(self._bus, EVENTS, hook_consumer_name(self._hook))
        ).settled_seq
        async for stored in self._stored(stretch):
            try:
                body = await self._bodies.load(stored.data, stored.headers)
                event = decode(RunCompleted, body)
            except (MalformedMessage, BodyMissing):
                said_there = subjects.EventSubject.parse(stored.subject)
                if said_there.team_id in stretch.teams:
                    yield said_there.run, "unreadable", None
                continue
            if not self._is_meant(event, stretch):
                continue
            seen = await self._events.outcome(event.tenant, event.run_id, self._hook.name)
            said = replayable(seen.outcome, overdue=stored.seq > settled_seq, replay=self._id)
            order = (self._order(event, seen), seen) if said == "replay" else None
            yield event.run_id, said, order

    def _is_meant(self, event: RunCompleted, stretch: Stretch) -> bool:
        is_of = event.team_id in stretch.teams and event.team_id in self._hook.teams
        is_then = stretch.since <= event.completed_at < stretch.until
        return is_of and is_then and wants(self._hook, event.output)

    async def _stored(self, stretch: Stretch) -> AsyncIterator[reads.Stored]:
        """Every event stored about then, from the leader: a replica may have missed the newest."""
        team = stretch.teams[0] if len(stretch.teams) == 1 else "*"
        subject = f"{subjects.ROOT}.event.{stretch.tenant}.{team}.*.completed"
        last_seq = (await reads.bounds(self._bus, EVENTS)).last_seq
        since = datetime.fromtimestamp(max(0.0, stretch.since - CLOCKS_APART_S), UTC)
        first = await reads.first_since(self._bus, EVENTS, subject, since)
        if first is None:
            return
        async for stored in reads.history(
            self._bus, EVENTS, subject, start=first.seq, until=last_seq, messages_max=last_seq
        ):
            yield stored

    def _order(self, event: RunCompleted, seen: SeenOutcome) -> RedriveDelivery:
        return RedriveDelivery(
            delivery_id=delivery_id(event.tenant, self._hook.name, event.run_id),
            tenant=event.tenant,
            hook=self._hook.name,
            event=event,
            generation=seen.outcome.generation + 1 if seen.outcome else 1,
            asked_at=time.time(),
            replay=self._id,
        )

    async def _forget_letter(self, order: RedriveDelivery, seen: SeenOutcome) -> None:
        """What is delivered again is not dead any more."""
        if seen.outcome is None or seen.outcome.state != "dead":
            return
        subject = subjects.dead(order.tenant, "hook", order.hook, order.delivery_id)
        await self._events.forget_letter(subject, before=order.generation)

    async def _keep_below(self, pending_max: int) -> None:
        """Wait while the hook has so much before it; a slow or failing hook slows its replay."""
        said = False
        while (pending := await self._pending()) >= pending_max:
            if not said:
                log.info("waiting for the hook", hook=self._hook.name, pending=pending)
            said = True
            await asyncio.sleep(LOOK_S)

    async def _pending(self) -> int:
        name = hook_consumer_name(self._hook)
        return (await progress(self._bus, REDRIVE, name)).unsettled
