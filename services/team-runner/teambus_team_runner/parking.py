"""Runs that wait for their session: their messages are kept alive, and they use no hand."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from teambus.bus.errors import BusError
from teambus.bus.sessions import Sessions
from teambus.bus.signals import Signals
from teambus.contracts.session import SessionRecord
from teambus_team_runner.hold import Handle
from teambus_team_runner.line import Line

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ParkingLimits:
    """`look_s`: how often a waiting run looks by itself, should it hear nothing."""

    look_s: float = 2
    parked_max: int = 10_000


class Parking:
    """Waits for the turn of each parked run, then hands it to `resume`."""

    def __init__(
        self,
        signals: Signals,
        sessions: Sessions,
        line: Line,
        limits: ParkingLimits,
        resume: Callable[[Handle], Awaitable[None]],
    ) -> None:
        self._signals = signals
        self._sessions = sessions
        self._line = line
        self._limits = limits
        self._resume = resume
        self._waiting: set[asyncio.Task[None]] = set()

    @property
    def full(self) -> bool:
        return len(self._waiting) >= self._limits.parked_max

    def park(self, handle: Handle) -> None:
        task = asyncio.create_task(self._stay(handle), name="parked run")
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def close(self) -> None:
        """Give every parked run back."""
        waiting = tuple(self._waiting)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    async def _stay(self, handle: Handle) -> None:
        try:
            await self._wait_for_turn(handle)
            await self._resume(handle)
        except asyncio.CancelledError:
            await handle.give_back()
            raise

    async def _wait_for_turn(self, handle: Handle) -> None:
        asked = handle.asked
        wait_s = min(self._limits.look_s, handle.ack_wait_s / 3)
        async with self._signals.session(asked.tenant, asked.session_id) as heard:
            record = await self._look(handle)
            while record is None or not self._line.is_free(record, asked):
                record = await heard.next(wait_s) or await self._look(handle)
                await handle.keep()

    async def _look(self, handle: Handle) -> SessionRecord | None:
        """The record from its leader, with anybody gone removed from before this run."""
        asked = handle.asked
        try:
            await self._line.clear_the_way(asked)
            return (await self._sessions.read(asked.tenant, asked.session_id)).record
        except BusError as error:
            log.warning("could not look at the session", run_id=asked.run_id, why=str(error))
            return None
