"""Ending runs that nobody serves: taken by the journal's fence like by any runner, then ended.

Order: journal, dead letter, completed event, session, message. A death anywhere in between leaves
the message, and whoever comes next, janitor or runner, makes the same of it.
"""

import asyncio
import time
from collections.abc import Collection
from dataclasses import dataclass

import msgspec
import structlog

from teambus.bus import reads
from teambus.bus.bodies import Bodies
from teambus.bus.cancels import order_for
from teambus.bus.connection import Bus
from teambus.bus.errors import BusUnavailable
from teambus.bus.events import Events
from teambus.bus.journal import Fenced, Journal, Tail, read_entries
from teambus.bus.requests import Requests
from teambus.bus.sessions import Sessions
from teambus.bus.topology import JOURNAL
from teambus.contracts import headers as names
from teambus.contracts import subjects
from teambus.contracts.ids import TeamId
from teambus.contracts.journal import AttemptStarted, RunEnded
from teambus.contracts.message import MalformedMessage
from teambus.contracts.output import RunStatus
from teambus.contracts.run import RunCompleted
from teambus.domain.media import run_input
from teambus.domain.replay import Past, read_past
from teambus_team_runner.asked import Asked, body_kept, end_malformed, ended_early, read_stored
from teambus_team_runner.ending import GIVEN_UP, UNSERVED, letter, not_stored
from teambus_team_runner.engine.cancellation import PENDING, Cancellation
from teambus_team_runner.holders import Holders
from teambus_team_runner.line import Line
from teambus_team_runner.metrics import count_early_end
from teambus_team_runner.refusal import refuse_id_in_use

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """`unserved_s`: for how long nobody may have served a request before it is given up."""

    unserved_s: float = 3600
    journal_entries_max: int = 10_000
    patience_s: float = 20


@dataclass(frozen=True, slots=True)
class GivingUp:
    """Ends requests in the name of one runner. `agents` are those the catalogue knows."""

    bus: Bus
    bodies: Bodies
    events: Events
    requests: Requests
    sessions: Sessions
    line: Line
    holders: Holders
    agents: Collection[TeamId]
    limits: Limits

    async def give_up(self, message: reads.Stored) -> bool:
        """End the run of a request that nobody serves, and take it out of the queue.

        False when it is left: a runner has it, has worked on it lately, or takes it right now.
        """
        try:
            asked = await read_stored(message, self.bodies)
        except MalformedMessage as error:
            await end_malformed(message, error, self.events, self.agents)
            await self.requests.remove(message.seq)
            return True
        with structlog.contextvars.bound_contextvars(
            run_id=asked.run_id, team_id=asked.team_id, tenant=asked.tenant
        ):
            return await self._give_up(asked, message)

    async def _give_up(self, asked: Asked, message: reads.Stored) -> bool:
        if await self.events.is_completed(*asked.run):
            await self._leave(asked)
            return True
        stored = await reads.last(self.bus, JOURNAL, subjects.journal(asked.tenant, asked.run_id))
        past = await self._past(asked, stored)
        if await self._is_anothers(past, asked):
            return True
        if stored is not None and time.time() - stored.stored_at < self.limits.unserved_s:
            return False
        if await self.holders.has_another(*asked.key, past.holder):
            return False
        if past.ended is None:
            try:
                ended = await self._decide(asked, stored)
            except Fenced:
                log.info("a runner took the request after all")
                return False
        else:
            ended = past.ended
        await self._carry_out(asked, ended.completed, message)
        return True

    async def _past(self, asked: Asked, stored: reads.Stored | None) -> Past:
        entries = await read_entries(
            self.bus,
            self.bodies,
            subjects.journal(asked.tenant, asked.run_id),
            _tail(stored),
            entries_max=self.limits.journal_entries_max,
        )
        return read_past(entries.entries)

    async def _is_anothers(self, past: Past, asked: Asked) -> bool:
        """Settle a request whose run id belongs to another request, or that repeats one."""
        if past.first is None or past.latest is None:
            return False
        if (past.first.team_id, past.first.request_digest) != (asked.team_id, asked.digest):
            await refuse_id_in_use(asked, past.first.team_id, self.events, self.agents)
        elif not await self._is_repeat(past.latest, asked):
            return False
        await self.line.leave_line(asked)
        await self.requests.remove(asked.request_seq)
        return True

    async def _is_repeat(self, latest: AttemptStarted, asked: Asked) -> bool:
        """Whether the run is another stored request's, so that this one only says it again."""
        seq = latest.request_seq
        return seq != asked.request_seq and await self.requests.is_stored(seq)

    async def _decide(self, asked: Asked, stored: reads.Stored | None) -> RunEnded:
        """Take the run and end it in one journal entry; raises `Fenced` when a runner has it."""
        seen = await self.sessions.read(asked.tenant, asked.session_id)
        journal = Journal(
            self.bus,
            self.bodies,
            subjects.journal(asked.tenant, asked.run_id),
            run_id=asked.run_id,
            tail=_tail(stored),
            patience_s=self.limits.patience_s,
        )
        completed = await self._end(asked)
        ended = RunEnded(completed=completed, fence=seen.record.fence, opened=False)
        try:
            journal.add(
                AttemptStarted(
                    runner=self.holders.runner,
                    request_seq=asked.request_seq,
                    team_id=asked.team_id,
                    request_digest=asked.digest,
                    at=time.time(),
                )
            )
            async with asyncio.timeout(self.limits.patience_s):
                await journal.append(ended)
        except TimeoutError as error:
            raise BusUnavailable("the journal took no entry in time") from error
        finally:
            await journal.close()
        return ended

    async def _carry_out(self, asked: Asked, ended: RunCompleted, message: reads.Stored) -> None:
        """Make of a decided end all but the row: the run's database may be out of reach here."""
        completed, reason = ended, str(ended.output.content)
        if ended.stored:
            reason = "the run ended, but nobody serves its database any more"
            completed = not_stored(ended, reason)
        if ended.stored or ended.code in GIVEN_UP:
            # Of a run that ended well, what it came to is kept here.
            buried = msgspec.structs.replace(letter(ended, reason), body=body_kept(message))
            await self.events.bury(buried)
        if await self.events.complete(completed):
            count_early_end(completed)
        await self._leave(asked)
        log.warning("gave up a request that nobody serves", code=completed.code)

    async def _leave(self, asked: Asked) -> None:
        """Close the session, then remove: a session left open would wait for nobody."""
        await self.line.close(asked)
        await self.requests.remove(asked.request_seq)

    async def _end(self, asked: Asked) -> RunCompleted:
        """ERROR, or CANCELLED for a run that was not wanted any more before."""
        early = self._unserved(asked)
        order = await order_for(self.bus, *asked.run)
        if order is None:
            return early
        early.output.status = RunStatus.CANCELLED
        early.output.cancellation_stage = PENDING
        early.output.content = order.reason or Cancellation(asked.run_id).reason
        return msgspec.structs.replace(early, code=None)

    def _unserved(self, asked: Asked) -> RunCompleted:
        tenant, team_id, run_id = asked.run
        detail = (
            f"nobody has served {team_id!r} for {self.limits.unserved_s:g} s;"
            " start its team-runner, or ask for a team or agent that exists"
        )
        early = ended_early(
            tenant, team_id, run_id, code=UNSERVED, detail=detail, agents=self.agents
        )
        early.output.session_id = asked.session_id
        early.output.user_id = asked.request.user_id
        early.output.metadata = asked.request.metadata
        early.output.input = run_input(asked.request.input, asked.request.media)
        return msgspec.structs.replace(
            early, session_id=asked.session_id, dependencies=asked.request.dependencies
        )


def _tail(stored: reads.Stored | None) -> Tail:
    return Tail() if stored is None else Tail(stored.seq, stored.headers.get(names.MSG_ID))
