"""The end of a run: decided by one journal record; all else is made from it, again if need be.

Order: database row, completed event, session, message. A death anywhere in between brings the
message again, and each part is the same whoever makes it and however often.
"""

import time
from dataclasses import dataclass

import msgspec
import structlog

from teambus.bus.events import Events
from teambus.contracts.hook import DeadLetter
from teambus.contracts.journal import RunEnded
from teambus.contracts.output import RunStatus
from teambus.contracts.run import RunCompleted
from teambus.domain.frames import kept_events
from teambus_team_runner.databases import Databases
from teambus_team_runner.hold import Handle
from teambus_team_runner.line import Line
from teambus_team_runner.metrics import count_end
from teambus_team_runner.sessions import (
    RunInAnotherSession,
    RunWrite,
    SessionNotFound,
    StoreFenced,
    StoreUnavailable,
    StoreUnfit,
)

log = structlog.get_logger(__name__)

ATTEMPTS_USED_UP = "attempts_used_up"
JOURNAL_UNREADABLE = "journal_unreadable"
STORE_UNAVAILABLE = "store_unavailable"
UNSERVED = "unserved"
GIVEN_UP = (ATTEMPTS_USED_UP, JOURNAL_UNREADABLE, UNSERVED)


@dataclass(frozen=True, slots=True)
class EndingLimits:
    """How often and how long a database that is away is tried again after a run has ended."""

    store_retry_s: float = 5
    store_give_up_s: float = 300


@dataclass(frozen=True, slots=True)
class Endings:
    """Makes everything that follows from a decided end."""

    events: Events
    line: Line
    databases: Databases
    limits: EndingLimits

    async def carry_out(self, handle: Handle, ended: RunEnded) -> None:
        """Project the end. With the database away the message is given back for later, until
        `store_give_up_s` after the end: then the run ends as ERROR, not stored, as a dead letter.
        """
        completed = ended.completed
        try:
            if completed.stored:
                await self.databases.save(_write(ended), team_id=completed.team_id)
        except (StoreUnavailable, StoreUnfit) as error:
            if time.time() - completed.completed_at < self.limits.store_give_up_s:
                log.warning("could not store the run; will try again", why=str(error))
                await handle.give_back(delay_s=self.limits.store_retry_s)
                return
            completed = await self._give_up_storing(completed, error)
        except SessionNotFound:
            completed = msgspec.structs.replace(completed, stored=False)
        except (StoreFenced, RunInAnotherSession) as error:
            if await self._is_completed(completed):
                # Another runner carried this end out long ago, and the session went on.
                await self.leave(handle)
                return
            completed = await self._give_up_storing(completed, error)
        if completed.code in GIVEN_UP:
            await self._bury(completed, str(completed.output.content))
        if await self.events.complete(completed):
            count_end(completed, handle.began_at)
            if handle.trace is not None:
                handle.trace.run(completed, handle.began_at)
        await self.leave(handle)

    async def _give_up_storing(self, completed: RunCompleted, error: Exception) -> RunCompleted:
        log.error("gave up storing the run", why=str(error))
        await self._bury(completed, str(error))
        return not_stored(completed, str(error))

    async def _is_completed(self, completed: RunCompleted) -> bool:
        return await self.events.is_completed(completed.tenant, completed.team_id, completed.run_id)

    async def leave(self, handle: Handle) -> None:
        """Close the session, then acknowledge: a session left open would wait for nobody."""
        await self.line.close(handle.asked, handle.opened)
        await handle.done()

    async def _bury(self, completed: RunCompleted, reason: str) -> None:
        await self.events.bury(letter(completed, reason))


def letter(completed: RunCompleted, reason: str) -> DeadLetter:
    """The dead letter of a run."""
    return DeadLetter(
        id=completed.event_id,
        about="run",
        name=completed.team_id,
        tenant=completed.tenant,
        team_id=completed.team_id,
        run_id=completed.run_id,
        event_id=completed.event_id,
        event=completed,
        reason=reason,
        died_at=completed.completed_at,
    )


def _write(ended: RunEnded) -> RunWrite:
    completed = ended.completed
    return RunWrite(
        tenant=completed.tenant,
        fence=ended.fence,
        output=completed.output,
        completed_at=completed.completed_at,
        session_state=ended.session_state,
        opened=ended.opened is not False,
        replaces=None if ended.replaces is msgspec.UNSET else ended.replaces,
    )


def not_stored(completed: RunCompleted, reason: str) -> RunCompleted:
    """The same run as clients may see it: never COMPLETED when it is not stored."""
    if completed.output.status is RunStatus.CANCELLED:
        return msgspec.structs.replace(completed, stored=False)
    output = msgspec.structs.replace(
        completed.output,
        status=RunStatus.ERROR,
        content=f"the run ended but could not be stored: {reason}",
        messages=None,
        member_responses=[],
    )
    lost = msgspec.structs.replace(completed, output=output, stored=False, code=STORE_UNAVAILABLE)
    if output.events is not None:
        output.events = kept_events(lost, output.events)
    return lost
