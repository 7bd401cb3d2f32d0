"""Runs that wait for their session: their messages are kept alive, and they use no hand."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog

from teambus.bus.errors import BusError
from teambus.bus.sessions import Sessions
from teambus.bus.signals import Signals
from teambus.contracts.session import SessionRecord
from teambus_team_runner.engine.cancellation import RunCancelled
from teambus_team_runner.hold import Handle
from teambus_team_runner.line import Line

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ParkingLimits:
    """`look_s`: how often a waiting run looks by itself, should it hear nothing."""

    look_s: float = 2
    parked_max: int = 10_000


class Parking:
    """Waits for the turn of each parked run, or its cancellation, then hands it to `resume`."""

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
        self._closed = False

    @property
    def parked(self) -> int:
        return len(self._waiting)

    @property
    def full(self) -> bool:
        return len(self._waiting) >= self._limits.parked_max

    async def park(self, handle: Handle, forget: Callable[[Handle], None]) -> None:
        """Let a run wait; `forget` is told of one that was let go and will not be resumed.

        One that comes when there is no room is given back for later, after closing for another
        runner at once.
        """
        if self.full or self._closed:
            await handle.give_back(delay_s=0 if self._closed else self._limits.look_s)
            forget(handle)
            return
        asked = handle.asked
        log.info("waiting for its session", run_id=asked.run_id, session_id=asked.session_id)
        task = asyncio.create_task(self._stay(handle, forget), name="parked run")
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def close(self) -> None:
        """Give every parked run back, and each that comes later."""
        self._closed = True
        waiting = tuple(self._waiting)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    async def _stay(self, handle: Handle, forget: Callable[[Handle], None]) -> None:
        try:
            with handle.kept(), suppress(RunCancelled):
                async with handle.cancellation.while_wanted():
                    await self._wait_for_turn(handle)
            if not handle.lapsed:
                await self._resume(handle)
                return
            log.warning("a waiting run's message lapsed", run_id=handle.asked.run_id)
        except asyncio.CancelledError:
            await handle.give_back()
            raise
        except Exception as error:  # Else the run stayed in hand with nobody working on it.
            log.error("a waiting run was let go", run_id=handle.asked.run_id, exc_info=error)
        forget(handle)

    async def _wait_for_turn(self, handle: Handle) -> None:
        """Return when it is worth asking for the session, or the message may be another's."""
        asked = handle.asked
        wait_s = min(self._limits.look_s, handle.ack_wait_s / 3)
        async with self._signals.session(asked.tenant, asked.session_id) as heard:
            record = await self._look(handle)
            while not (handle.lapsed or (record and self._line.is_free(record, asked))):
                record = await heard.next(wait_s) or await self._look(handle)

    async def _look(self, handle: Handle) -> SessionRecord | None:
        """The record from its leader, with anybody gone removed from before this run."""
        try:
            return await self._line.clear_the_way(handle.asked)
        except BusError as error:
            log.warning("could not look at the session", run_id=handle.asked.run_id, why=str(error))
            return None
