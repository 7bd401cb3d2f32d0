"""One attempt at a run: look, take it by the journal's fence, open its session, carry it out."""

import asyncio
import time
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import structlog

from teambus.bus.bodies import Bodies
from teambus.bus.cancels import CancelWatch
from teambus.bus.connection import Bus
from teambus.bus.errors import BusError
from teambus.bus.events import Events
from teambus.bus.journal import Fenced, Journal, Tail, read_entries, read_tail
from teambus.bus.requests import Requests
from teambus.bus.sessions import Seen, Sessions, unwritten
from teambus.contracts import subjects
from teambus.contracts.headers import NEW_RUN, NEW_SESSION
from teambus.contracts.journal import AttemptReleased, AttemptStarted
from teambus.domain import session_order
from teambus.domain.replay import Past, read_past
from teambus_team_runner.asked import Asked
from teambus_team_runner.ending import Endings
from teambus_team_runner.execution import Deferred, Execution
from teambus_team_runner.hold import Handle, hold
from teambus_team_runner.holders import Holders
from teambus_team_runner.line import Line
from teambus_team_runner.refusal import refuse_id_in_use
from teambus_team_runner.steps import Alone

log = structlog.get_logger(__name__)


class Outcome(Enum):
    """What became of a message after an attempt. A suspect has its last attempt before it, and
    others died with it perhaps: it is to be taken alone.
    """

    SETTLED = auto()
    PARKED = auto()
    SUSPECT = auto()


@dataclass(frozen=True, slots=True)
class AttemptLimits:
    """`journal_entries_max` bounds the reading of one run's journal; `journal_patience_s` is how
    long paid work waits for a bus that is away; `release_s` bounds the last words of a drain.
    Of a run that died `deaths_max` times users' code is called alone, and its last attempt is made
    alone, once others had `alone_wait_s` to finish.
    """

    journal_entries_max: int = 10_000
    journal_entry_bytes_max: int = 16 * 1024 * 1024
    waiting_max: int = 32
    journal_patience_s: float = 300
    release_s: float = 5
    deaths_max: int = 2
    alone_wait_s: float = 60


@dataclass(frozen=True, slots=True)
class Found:
    """What the bus knows of a run before it is taken."""

    completed: bool
    tail: Tail
    session: Seen
    past: Past


@dataclass(frozen=True, slots=True)
class Attempts:
    """Makes attempts at runs, in the name of one runner."""

    bus: Bus
    bodies: Bodies
    events: Events
    requests: Requests
    sessions: Sessions
    cancels: CancelWatch
    line: Line
    endings: Endings
    execution: Execution
    limits: AttemptLimits
    holders: Holders

    async def make(self, handle: Handle, alone: Alone | None = None) -> Outcome:
        """`alone` is how to be alone, None for who is. Raises `Fenced` when another runner has the
        run, `BusError` when the bus is away.
        """
        found = await self._find(handle)
        if found.past.first is not None:
            handle.began_at = found.past.first.at
        if found.completed:
            await self.endings.leave(handle)
            return Outcome.SETTLED
        if await self._is_anothers(found.past, handle):
            return Outcome.SETTLED
        if found.past.ended is not None:
            await self.endings.carry_out(handle, found.past.ended)
            return Outcome.SETTLED
        if await self.holders.has_another(*handle.asked.key, found.past.holder):
            log.info("left the run to the runner that has it", holder=found.past.holder)
            handle.drop()
            return Outcome.SETTLED
        if handle.lapsed:
            # Whoever has the message by now may be what was found: it is not to be fenced.
            log.warning("the message lapsed before the run was taken")
            return Outcome.SETTLED
        if self._must_wait(found.session, handle.asked):
            if handle.cancellation:
                return await self._end_in_line(handle, found)
            return await self._wait_in_line(handle, found.session, alone)
        if alone and self._is_last(found.past) and not handle.cancellation:
            return Outcome.SUSPECT
        handle.alone = alone if found.past.attempts >= self.limits.deaths_max else None
        return await self._take(handle, found)

    async def _find(self, handle: Handle) -> Found:
        """What there is of a new run is nothing: that is taken on trust once, for where it is not
        true the journal refuses the attempt, and the message comes again and is looked into.
        """
        asked = handle.asked
        new, handle.new = handle.new, frozenset()
        if NEW_RUN not in new:
            return await self._look(asked)
        await self.cancels.check(*asked.run)
        if NEW_SESSION in new:
            session = unwritten(asked.tenant, asked.session_id)
        else:
            session = await self.sessions.read(asked.tenant, asked.session_id)
        return Found(False, Tail(), session, Past())

    async def _look(self, asked: Asked) -> Found:
        """One parallel round of reads from the streams' leaders."""
        subject = subjects.journal(asked.tenant, asked.run_id)
        completed, tail, session, _ = await asyncio.gather(
            self.events.is_completed(asked.tenant, asked.team_id, asked.run_id),
            read_tail(self.bus, subject),
            self.sessions.read(asked.tenant, asked.session_id),
            self.cancels.check(*asked.run),
        )
        read = await read_entries(
            self.bus, self.bodies, subject, tail, entries_max=self.limits.journal_entries_max
        )
        past = read_past(read.entries)
        past.unreadable = read.unreadable
        return Found(completed, tail, session, past)

    async def _is_anothers(self, past: Past, handle: Handle) -> bool:
        """Settle a request whose run id belongs to another request, or to an earlier repeat."""
        asked = handle.asked
        if past.first is None or past.latest is None:
            return False
        if (past.first.team_id, past.first.request_digest) != (asked.team_id, asked.digest):
            agents = self.execution.agents
            await refuse_id_in_use(asked, past.first.team_id, self.events, agents)
        elif not await self._is_repeat(past.latest, asked):
            return False
        await self.line.leave_line(asked)
        await handle.done()
        return True

    async def _is_repeat(self, latest: AttemptStarted, asked: Asked) -> bool:
        """Whether the run is another stored request's, so that this one only says it again."""
        seq = latest.request_seq
        return seq != asked.request_seq and await self.requests.is_stored(seq)

    def _is_last(self, past: Past) -> bool:
        """One whose attempts are used up is carried no further, so it harms nobody."""
        last = self.execution.limits.attempts_max - 1
        return past.attempts == last >= self.limits.deaths_max

    def _must_wait(self, seen: Seen, asked: Asked) -> bool:
        verdict = session_order.decide(
            seen.record, asked.claim, waiting_max=self.limits.waiting_max
        )
        return isinstance(verdict, session_order.Busy)

    async def _wait_in_line(self, handle: Handle, seen: Seen, alone: Alone | None) -> Outcome:
        if await self.line.open(handle.asked, seen) is None:
            return Outcome.PARKED
        # It became free in between: this run holds it now, and looks again.
        return await self.make(handle, alone)

    async def _take(self, handle: Handle, found: Found) -> Outcome:
        """Append the attempt and open the session together; the journal decides who has the run."""
        journal = self._journal(handle.asked, found)
        return await hold(handle, journal, self._carry_out(handle, journal, found))

    async def _end_in_line(self, handle: Handle, found: Found) -> Outcome:
        """End a cancelled run beside its session, which is another's."""
        journal = self._journal(handle.asked, found)
        return await hold(handle, journal, self._carry_out_in_line(handle, journal, found))

    async def _carry_out_in_line(self, handle: Handle, journal: Journal, found: Found) -> Outcome:
        await journal.append(self._started(handle.asked))
        fence = found.session.record.fence
        ended = await self.execution.end_in_line(handle, journal, found.past, fence=fence)
        await self.endings.carry_out(handle, ended)
        return Outcome.SETTLED

    def _journal(self, asked: Asked, found: Found) -> Journal:
        return Journal(
            self.bus,
            self.bodies,
            subjects.journal(asked.tenant, asked.run_id),
            run_id=asked.run_id,
            tail=found.tail,
            patience_s=self.limits.journal_patience_s,
            entry_bytes_max=self.limits.journal_entry_bytes_max,
        )

    async def _carry_out(self, handle: Handle, journal: Journal, found: Found) -> Outcome:
        opening = asyncio.create_task(self.line.open(handle.asked, found.session))
        # What is read now is right if the session is opened on top of the record seen before.
        loading = asyncio.create_task(self.execution.load(handle.asked))
        try:
            await journal.append(self._started(handle.asked))
            handle.opened = await opening
            if handle.opened is None:
                await journal.append(AttemptReleased(reason="the session is busy"))
                return Outcome.PARKED
            if handle.opened.record.fence != found.session.record.fence + 1:
                await _let_go(loading)
                loading = asyncio.create_task(self.execution.load(handle.asked))
            ended = await self.execution.end_of(handle, journal, found.past, loading)
        except Deferred as deferred:
            await journal.append(AttemptReleased(reason=deferred.reason))
            await handle.give_back(delay_s=deferred.delay_s)
            return Outcome.SETTLED
        except asyncio.CancelledError:
            await self._release(journal, "the runner was told to stop")
            raise
        except BusError as error:
            await self._release(journal, str(error))
            raise
        finally:
            await _let_go(opening)
            await _let_go(loading)
        await self.endings.carry_out(handle, ended)
        return Outcome.SETTLED

    async def _release(self, journal: Journal, reason: str) -> None:
        """Say that this attempt was cut short by its runner or the bus, not by the run."""
        if not journal.ours:
            return
        try:
            async with asyncio.timeout(self.limits.release_s):
                await journal.append(AttemptReleased(reason=reason))
        except (Fenced, BusError, TimeoutError) as error:
            log.warning("could not note the release", why=repr(error))

    def _started(self, asked: Asked) -> AttemptStarted:
        return AttemptStarted(
            runner=self.holders.runner,
            request_seq=asked.request_seq,
            team_id=asked.team_id,
            request_digest=asked.digest,
            at=time.time(),
        )


async def _let_go(task: "asyncio.Task[Any]") -> None:
    """End a task whose result is not wanted, or that has been had already."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
