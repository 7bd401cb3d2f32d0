"""From a run in hand to its decided end: load the session, run who is asked, journal the end."""

import asyncio
import functools
import time
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, replace

import structlog

from teambus.app.agents import Agent
from teambus.app.teams import Component
from teambus.bus.frame_log import FrameLog
from teambus.bus.journal import Journal
from teambus.contracts.ids import TeamId
from teambus.contracts.journal import RunEnded
from teambus.contracts.output import RunStatus, TeamRunOutput
from teambus.domain.merging import merged
from teambus.domain.replay import Past
from teambus_team_runner.asked import Asked
from teambus_team_runner.continuing import CannotContinue, continued, load
from teambus_team_runner.databases import Databases
from teambus_team_runner.decided import Decision, Told, cancelled, failed
from teambus_team_runner.ending import (
    ATTEMPTS_USED_UP,
    JOURNAL_UNREADABLE,
    STORE_UNAVAILABLE,
)
from teambus_team_runner.engine.ports import EngineLimits, Finished, Frames, RunStart
from teambus_team_runner.engine.run import run_component
from teambus_team_runner.frames import (
    FrameLimits,
    Origin,
    PublishedFrames,
    RunFrames,
    UnreadFrames,
)
from teambus_team_runner.hold import Handle
from teambus_team_runner.line import Line
from teambus_team_runner.models.catalogue import Models
from teambus_team_runner.sessions import (
    LoadedSession,
    SessionNotFound,
    StoreUnavailable,
    StoreUnfit,
)
from teambus_team_runner.steps import JournaledSteps

log = structlog.get_logger(__name__)

MIB = 1024 * 1024
SHARED_BYTES_MAX = MIB
"""An end larger than this shares no journal entry with the answers before it."""


class Deferred(Exception):
    """the run cannot be worked on now, through no fault of its own"""

    def __init__(self, reason: str, delay_s: float) -> None:
        super().__init__(reason)
        self.reason = reason
        self.delay_s = delay_s


@dataclass(frozen=True, slots=True)
class ExecutionLimits:
    """`attempts_max` counts deaths without progress; `fresh_s` is how old a proof of holding the
    run may be before a paid step; `output_bytes_max` leaves room for what is said of an output
    in the largest body the bus carries.
    """

    fresh_s: float
    attempts_max: int = 5
    run_timeout_s: float = 3600
    store_retry_s: float = 5
    store_give_up_s: float = 300
    output_bytes_max: int = 63 * MIB


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a run starts from, and the `fence` of the last opening that wrote to its session."""

    start: RunStart
    fence: int


@dataclass(frozen=True, slots=True)
class Execution:
    """Runs teams and agents."""

    components: Mapping[TeamId, Component]
    databases: Databases
    line: Line
    models: Models
    frame_log: FrameLog
    engine_limits: EngineLimits
    frame_limits: FrameLimits
    limits: ExecutionLimits

    @property
    def agents(self) -> frozenset[TeamId]:
        """Which of them are agents."""
        return frozenset(id_ for id_, each in self.components.items() if isinstance(each, Agent))

    async def end_of(
        self, handle: Handle, journal: Journal, past: Past, loading: Awaitable[Loaded]
    ) -> RunEnded:
        """Carry the run to its end and make that durable. Raises `Deferred` and `Fenced`.

        `loading` is `load` of this request, begun when it could no longer miss anything.
        """
        asked = handle.asked
        async with self._frames(asked, journal, past) as frames:
            finished, stored = await self._finish(handle, journal, past, loading, frames)
            if handle.cancellation and finished.output.status is not RunStatus.CANCELLED:
                finished = self._cancelled(handle, past)
            # Before the end is decided: whoever carries it out cannot say what came before it.
            told = Told(await frames.finish(), frames.events)
        assert handle.opened is not None, asked
        fence = handle.opened.record.fence
        decision = Decision(
            asked, self.components[asked.team_id], finished, told, fence=fence, stored=stored
        )
        ended, record = decision.within(self.limits.output_bytes_max)
        if len(record) > SHARED_BYTES_MAX:
            # What was paid for is made durable by itself, for the end may take all the room.
            await journal.settled()
        journal.add_encoded(record)
        await journal.settled()
        return ended

    def _frames(self, asked: Asked, journal: Journal, past: Past) -> RunFrames:
        if not asked.request.stream:
            return UnreadFrames()
        origin = Origin(
            asked.tenant,
            asked.team_id,
            asked.run_id,
            attempt=journal.first_seq,
            is_first=past.latest is None,
            prove=functools.partial(journal.prove, self.limits.fresh_s),
        )
        return PublishedFrames(self.frame_log, origin, self.frame_limits)

    async def end_in_line(
        self, handle: Handle, journal: Journal, past: Past, *, fence: int
    ) -> RunEnded:
        """The end of a run cancelled while another had its session, at the opening `fence`."""
        asked = handle.asked
        async with self._frames(asked, journal, past) as frames:
            told = Told(await frames.finish(), frames.events)
        decision = Decision(
            asked,
            self.components[asked.team_id],
            self._cancelled(handle, past),
            told,
            fence=fence,
            stored=True,
            opened=False,
        )
        ended = decision.ended()
        await journal.append(ended)
        return ended

    async def _finish(
        self,
        handle: Handle,
        journal: Journal,
        past: Past,
        loading: Awaitable[Loaded],
        frames: Frames,
    ) -> tuple[Finished, bool]:
        """The outcome, and whether it goes into the database."""
        asked = handle.asked
        if past.attempts >= self.limits.attempts_max:
            reason = f"the run was given up: {past.attempts} attempts made no step forward"
            return self._failed(asked, ATTEMPTS_USED_UP, reason), True
        if past.unreadable is not None:
            reason = f"the journal of the run cannot be read: {past.unreadable}"
            return self._failed(asked, JOURNAL_UNREADABLE, reason), True
        try:
            loaded = await loading
            await self._lift(handle, loaded.fence)
        except SessionNotFound:
            return self._failed(asked, "session_not_found", "Session not found"), False
        except CannotContinue as error:
            return self._failed(asked, error.code, error.detail), False
        except (StoreUnavailable, StoreUnfit) as error:
            return self._without_database(asked, past, error), False
        if handle.cancellation and not past.paid:
            return self._cancelled(handle, past), True
        steps = JournaledSteps(
            journal,
            past,
            handle.cancellation,
            fresh_s=self.limits.fresh_s,
            alone=handle.alone,
        )
        start = loaded.start
        if handle.trace is not None:
            start = replace(start, trace=handle.trace)
        return await self._run(asked, start, steps, frames), True

    async def load(self, asked: Asked) -> Loaded:
        """What the run starts from.

        Raises `SessionNotFound`, `CannotContinue`, `StoreUnavailable`, `StoreUnfit`.
        """
        component = self.components[asked.team_id]
        wanted = asked.request.add_history_to_context
        shown = component.add_history_to_context if wanted is None else wanted
        history_runs = component.history_runs if shown else 0
        session, before = await load(self.databases, asked, history_runs=history_runs)
        start = _start(asked, component, session, before)
        if asked.request.continues is not None and before is not None:
            start = continued(start, asked.request.continues, before)
        return Loaded(start, session.fence)

    async def _lift(self, handle: Handle, stored: int) -> None:
        """Let nothing in the database be newer than this opening of the session."""
        opened = handle.opened
        if opened is not None and stored >= opened.record.fence:
            handle.opened = await self.line.lift(handle.asked, opened, above=stored)

    def _without_database(self, asked: Asked, past: Past, error: Exception) -> Finished:
        """Nothing is paid for a run that could not be stored: try later, for a while."""
        stuck_since = time.time() if past.stuck_since is None else past.stuck_since
        if time.time() - stuck_since < self.limits.store_give_up_s:
            raise Deferred(str(error), self.limits.store_retry_s)
        return self._failed(asked, STORE_UNAVAILABLE, str(error))

    async def _run(
        self, asked: Asked, start: RunStart, steps: JournaledSteps, frames: Frames
    ) -> Finished:
        component = self.components[asked.team_id]
        limit = asyncio.timeout(self.limits.run_timeout_s)
        try:
            async with limit:
                return await run_component(
                    component, start, steps, self.models, frames, self.engine_limits
                )
        except TimeoutError:
            if not limit.expired():
                raise
            detail = f"the run took longer than {self.limits.run_timeout_s:g} s"
            return self._failed(asked, "run_timeout", detail)

    def _cancelled(self, handle: Handle, past: Past) -> Finished:
        component = self.components[handle.asked.team_id]
        return cancelled(handle.asked, component, handle.cancellation.reason, began=past.paid)

    def _failed(self, asked: Asked, code: str, detail: str) -> Finished:
        return failed(asked, self.components[asked.team_id], code, detail)


def _start(
    asked: Asked, component: Component, session: LoadedSession, before: TeamRunOutput | None
) -> RunStart:
    request = asked.request
    state = merged(merged(component.session_state, session.session_state), request.session_state)
    metadata = merged(component.metadata, session.metadata)
    if before is not None:
        metadata = merged(metadata, before.metadata)
    return RunStart(
        tenant=asked.tenant,
        run_id=asked.run_id,
        session_id=asked.session_id,
        input=request.input,
        created_at=int(time.time()),
        session_state=state,
        user_id=request.user_id,
        metadata=merged(metadata, request.metadata) or None,
        dependencies=merged(component.dependencies, request.dependencies) or None,
        history=[message for _, messages in session.history for message in messages],
        media=request.media,
        history_run_ids=[run_id for run_id, _ in session.history],
    )
