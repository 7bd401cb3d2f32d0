"""The janitor's round: stand for the lease, sweep while it is held, leave notes for the next."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import structlog

from teambus.bus import catalogue
from teambus.bus.connection import Bus
from teambus.bus.errors import BusError
from teambus.bus.leases import Candidacy
from teambus.contracts.ids import TeamId
from teambus_team_runner.janitor import metrics
from teambus_team_runner.janitor.lag import LagWatch
from teambus_team_runner.janitor.orphans import OrphanSweep
from teambus_team_runner.janitor.room import RoomWatch
from teambus_team_runner.janitor.unserved import UnservedSweep

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Janitor:
    """One candidate. What it does is fenced or harmless when repeated, for leases lie.

    `agents` is shared with those who end runs, and kept as the catalogue says.
    """

    bus: Bus
    candidacy: Candidacy
    unserved: UnservedSweep
    orphans: OrphanSweep
    lag: LagWatch
    room: RoomWatch
    agents: set[TeamId]
    sweep_s: float

    @asynccontextmanager
    async def on_duty(self, stop: asyncio.Event) -> AsyncIterator[None]:
        """Stand for it while the block runs and until `stop`; another has it at once afterwards."""
        duty = asyncio.create_task(self._do_duty(stop), name="janitor")
        try:
            yield
        finally:
            if not stop.is_set():
                duty.cancel()
            await asyncio.gather(duty, return_exceptions=True)

    async def _do_duty(self, stop: asyncio.Event) -> None:
        tasks = [
            asyncio.create_task(self.candidacy.stand(), name="stand for janitor"),
            asyncio.create_task(self._sweep_always(), name="sweep"),
        ]
        try:
            await stop.wait()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            metrics.show_nothing()
            await self.candidacy.resign()

    async def _sweep_always(self) -> None:
        while True:
            if not self.candidacy.held:
                metrics.show_nothing()
                await self.candidacy.taken.wait()
                self.unserved.absences.go_on(self.candidacy.notes)
            await self.sweep()
            await asyncio.sleep(self.sweep_s)

    async def sweep(self) -> None:
        """Each part by itself: one that cannot be done now is done in the next sweep."""
        metrics.JANITOR.set(1)
        for part in (
            self._read_catalogue,
            self._see_unserved,
            self._see_lag,
            self._see_room,
            self._clear_orphans,
        ):
            await self._try(part)

    async def _try(self, part: Callable[[], Awaitable[Any]]) -> None:
        try:
            await part()
        except BusError as error:
            log.warning("the janitor could not look", part=part.__name__, why=str(error))
        except Exception as error:  # Else a mistake here would end the runs in this runner's hands.
            log.error("the janitor failed", part=part.__name__, exc_info=error)

    async def _read_catalogue(self) -> None:
        apps = await catalogue.read(self.bus)
        self.agents.clear()
        self.agents.update(agent.id for app in apps for agent in app.agents)

    async def _see_unserved(self) -> None:
        await self.unserved.look()
        self.candidacy.notes = self.unserved.notes()
        metrics.show_unserved(*self.unserved.figures())
        await self.unserved.act(self._may_act)

    async def _see_lag(self) -> None:
        await self.lag.look()
        metrics.show_waiting(self.lag.seen)

    async def _see_room(self) -> None:
        await self.room.look()
        metrics.show_room(self.room.seen)

    async def _clear_orphans(self) -> None:
        await self.orphans.act(self._may_act)

    def _may_act(self) -> bool:
        return self.candidacy.held
