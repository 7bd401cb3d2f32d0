"""Requests that nobody serves: no consumer gets them, or the consumer's runners are all gone."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import structlog

from teambus.bus import reads, server_api, survey
from teambus.bus.connection import Bus
from teambus.bus.survey import ConsumerState, Unserved
from teambus.bus.topology import REQUESTS
from teambus.contracts.subjects import ROOT
from teambus.domain.absence import Absences
from teambus_team_runner.janitor.giving_up import GivingUp

log = structlog.get_logger(__name__)

ABSENT_MAX = 10_000
NOTED_MAX = 256
NAMED_MAX = 20
AGED_MAX = 64


@dataclass(slots=True)
class UnservedSweep:
    """Sees what nobody serves, and gives it up after `unserved_s`, `acts_max` in one sweep.

    Long queues are no sign: a request is left alone as long as anybody is there to take it.
    """

    bus: Bus
    giving_up: GivingUp
    absences: Absences
    acts_max: int
    seen: list[Unserved] = field(default_factory=list)
    oldest_at: float | None = None
    _moves: dict[str, tuple[int, int]] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)

    async def look(self) -> None:
        """Find out what nobody serves now, and say so when it has changed."""
        waiting = await server_api.counts(self.bus, REQUESTS, f"{ROOT}.request.>")
        consumers = await survey.consumers(self.bus, REQUESTS)
        idle = await self._idle(consumers)
        self.seen = survey.unserved(waiting, consumers, idle)
        self.absences.look({each.absent for each in self.seen}, time.time())
        self.oldest_at = await self._oldest_at()
        self._tell()

    async def act(self, may_act: Callable[[], bool]) -> None:
        """Give up what nobody has served for too long, as long as `may_act`."""
        left = self.acts_max
        for each in self.seen:
            if left and self.absences.missing_for(each.absent, self._unserved_s):
                left -= await self._give_up(each.subject, left, may_act)

    def notes(self) -> dict[str, Any]:
        return self.absences.notes(NOTED_MAX)

    def figures(self) -> tuple[int, float]:
        """How many requests nobody serves, and how old the oldest is, in seconds."""
        age_s = 0 if self.oldest_at is None else max(0, time.time() - self.oldest_at)
        return sum(each.count for each in self.seen), age_s

    @property
    def _unserved_s(self) -> float:
        return self.giving_up.limits.unserved_s

    async def _idle(self, consumers: list[ConsumerState]) -> set[str]:
        """The consumers nobody pulls from, nor did since the last look."""
        pulled = await asyncio.gather(*(survey.is_pulled(self.bus, each) for each in consumers))
        idle = {
            each.name
            for each, is_pulled in zip(consumers, pulled, strict=True)
            if not is_pulled and self._moves.get(each.name, each.moves) == each.moves
        }
        self._moves = {each.name: each.moves for each in consumers}
        return idle

    async def _oldest_at(self) -> float | None:
        """When the oldest of what nobody serves was asked for, of so many subjects at most."""
        found = [
            await survey.oldest(self.bus, REQUESTS, each.subject) for each in self.seen[:AGED_MAX]
        ]
        return min((stored.stored_at for stored in found if stored is not None), default=None)

    async def _give_up(self, subject: str, limit: int, may_act: Callable[[], bool]) -> int:
        """How many were looked at: the oldest of a subject, as far as they are old enough."""
        done = 0
        stored = reads.history(self.bus, REQUESTS, subject, until=2**62, messages_max=limit)
        async for message in stored:
            if time.time() - message.stored_at < self._unserved_s or not may_act():
                break
            done += 1
            await self.giving_up.give_up(message)
        return done

    def _tell(self) -> None:
        absent = {each.absent for each in self.seen}
        if absent - self._told:
            log.warning(
                "nobody serves these requests",
                subjects=[each.subject for each in self.seen[:NAMED_MAX]],
                count=sum(each.count for each in self.seen),
                given_up_after_s=self._unserved_s,
            )
        elif self._told and not absent:
            log.info("every request is served again")
        self._told = absent
