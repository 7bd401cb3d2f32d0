"""Work that waits too long: said once when it begins, and once when it is over."""

import asyncio
import time
from dataclasses import dataclass, field

import structlog

from teambus.bus import survey
from teambus.bus.connection import Bus
from teambus.bus.topology import EVENTS, REQUESTS
from teambus.domain.lag import LagLimits, is_late

log = structlog.get_logger(__name__)

AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Waiting:
    """How far a pool or hook is behind."""

    name: str
    pending: int
    oldest_s: float


@dataclass(slots=True)
class LagWatch:
    """Looks at every pool's and hook's consumer."""

    bus: Bus
    limits: LagLimits
    seen: list[Waiting] = field(default_factory=list)
    _late: set[str] = field(default_factory=set)

    async def look(self) -> None:
        now = time.time()
        self.seen = [
            Waiting(
                lag.consumer.title,
                lag.consumer.num_pending,
                0 if lag.oldest_at is None else max(0, now - lag.oldest_at),
            )
            for stream in (REQUESTS, EVENTS)
            for lag in await self._lags(stream)
        ]
        self._tell()

    async def _lags(self, stream: str) -> list[survey.Lag]:
        room = asyncio.Semaphore(AT_ONCE)

        async def of(consumer: survey.ConsumerState) -> survey.Lag:
            async with room:
                return await survey.lag(self.bus, stream, consumer)

        consumers = await survey.consumers(self.bus, stream)
        return list(await asyncio.gather(*(of(each) for each in consumers)))

    def _tell(self) -> None:
        late = {
            each.name: each
            for each in self.seen
            if is_late(each.pending, each.oldest_s, self.limits)
        }
        for name in sorted(late.keys() - self._late):
            log.warning(
                "work waits too long",
                consumer=name,
                pending=late[name].pending,
                oldest_s=round(late[name].oldest_s, 1),
            )
        for name in sorted(self._late - late.keys()):
            log.info("work no longer waits too long", consumer=name)
        self._late = set(late)
