"""From a run in hand to its decided end: load the session, run who is asked, journal the end."""

import asyncio
import time
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog

from teambus.app.agents import Agent
from teambus.app.teams import Component
from teambus.bus.journal import Journal
from teambus.contracts.ids import TeamId, completed_event_id
from teambus.contracts.journal import RunEnded
from teambus.contracts.output import RunStatus, TeamRunInput, TeamRunOutput
from teambus.contracts.run import RunCompleted
from teambus.domain.replay import Past
from teambus_team_runner.asked import Asked
from teambus_team_runner.databases import Databases
from teambus_team_runner.ending import (
    ATTEMPTS_USED_UP,
    JOURNAL_UNREADABLE,
    STORE_UNAVAILABLE,
)
from teambus_team_runner.engine.ports import EngineLimits, Finished, RunStart
from teambus_team_runner.engine.run import run_component
from teambus_team_runner.frames import UnreadFrames
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
OUTPUT_TOO_LARGE = "output_too_large"
SHARED_BYTES_MAX = MIB
"""An end larger than this shares no journal entry with the answers before it."""
INJECTED_STATE = ("current_user_id", "current_session_id", "current_run_id")


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
class Execution:
    """Runs teams and agents."""

    components: Mapping[TeamId, Component]
    databases: Databases
    line: Line
    models: Models
    engine_limits: EngineLimits
    limits: ExecutionLimits

    @property
    def agents(self) -> frozenset[TeamId]:
        """Which of them are agents."""
        return frozenset(id_ for id_, each in self.components.items() if isinstance(each, Agent))

    async def end_of(
        self, handle: Handle, journal: Journal, past: Past, loading: Awaitable[LoadedSession]
    ) -> RunEnded:
        """Carry the run to its end and make that durable. Raises `Deferred` and `Fenced`.

        `loading` is `load` of this request, begun when it could no longer miss anything.
        """
        asked = handle.asked
        finished, stored = await self._finish(handle, journal, past, loading)
        assert handle.opened is not None, asked
        fence = handle.opened.record.fence
        ended = _ended(asked, finished, stored=stored, fence=fence)
        if (size := len(msgspec.json.encode(ended))) > SHARED_BYTES_MAX:
            # What was paid for is made durable by itself, for the end may take all the room.
            await journal.settled()
        if size > self.limits.output_bytes_max:
            failed = self._failed(
                asked, OUTPUT_TOO_LARGE, _too_large(size, self.limits.output_bytes_max)
            )
            ended = _ended(asked, failed, stored=stored, fence=fence)
        await journal.append(ended)
        return ended

    async def _finish(
        self, handle: Handle, journal: Journal, past: Past, loading: Awaitable[LoadedSession]
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
            session = await loading
            await self._lift(handle, session.fence)
        except SessionNotFound:
            return self._failed(asked, "session_not_found", "Session not found"), False
        except (StoreUnavailable, StoreUnfit) as error:
            return self._without_database(asked, past, error), False
        return await self._run(
            asked, session, JournaledSteps(journal, past, fresh_s=self.limits.fresh_s)
        ), True

    async def load(self, asked: Asked) -> LoadedSession:
        """What the run starts from. Raises `SessionNotFound`, `StoreUnavailable`, `StoreUnfit`."""
        component = self.components[asked.team_id]
        wanted = asked.request.add_history_to_context
        shown = component.add_history_to_context if wanted is None else wanted
        return await self.databases.load(
            asked.tenant,
            asked.session_id,
            team_id=asked.team_id,
            user_id=asked.request.user_id,
            history_runs=component.history_runs if shown else 0,
        )

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

    async def _run(self, asked: Asked, session: LoadedSession, steps: JournaledSteps) -> Finished:
        component = self.components[asked.team_id]
        start = _start(asked, component, session)
        limit = asyncio.timeout(self.limits.run_timeout_s)
        try:
            async with limit:
                return await run_component(
                    component, start, steps, self.models, UnreadFrames(), self.engine_limits
                )
        except TimeoutError:
            if not limit.expired():
                raise
            detail = f"the run took longer than {self.limits.run_timeout_s:g} s"
            return self._failed(asked, "run_timeout", detail)

    def _failed(self, asked: Asked, code: str, detail: str) -> Finished:
        """The end of a run in which nobody spoke."""
        output = TeamRunOutput(
            run_id=asked.run_id,
            team_id=asked.team_id,
            session_id=asked.session_id,
            status=RunStatus.ERROR,
            created_at=int(time.time()),
            content_type="str",
            member_responses=[],
            user_id=asked.request.user_id,
            input=TeamRunInput(input_content=asked.request.input),
            content=detail,
            metadata=asked.request.metadata,
        )
        component = self.components[asked.team_id]
        if isinstance(component, Agent):
            output.agent_id, output.agent_name = component.id, component.name
        else:
            output.team_name = component.name
        return Finished(output, code)


def _start(asked: Asked, component: Component, session: LoadedSession) -> RunStart:
    request = asked.request
    state = merged(merged(component.session_state, session.session_state), request.session_state)
    return RunStart(
        tenant=asked.tenant,
        run_id=asked.run_id,
        session_id=asked.session_id,
        input=request.input,
        created_at=int(time.time()),
        session_state=state,
        user_id=request.user_id,
        metadata=merged(merged(component.metadata, session.metadata), request.metadata) or None,
        dependencies=merged(component.dependencies, request.dependencies) or None,
        history=[message for _, messages in session.history for message in messages],
        history_run_ids=[run_id for run_id, _ in session.history],
    )


def merged(base: dict[str, Any] | None, over: dict[str, Any] | None) -> dict[str, Any]:
    """`over` laid on `base`, objects within objects too; neither is changed."""
    result = dict(base or {})
    for key, value in (over or {}).items():
        below = result.get(key)
        both = isinstance(below, dict) and isinstance(value, dict)
        result[key] = merged(below, value) if both else value
    return result


def _kept(state: dict[str, Any] | None) -> dict[str, Any] | None:
    if state is None:
        return None
    return {key: value for key, value in state.items() if key not in INJECTED_STATE}


def _ended(asked: Asked, finished: Finished, *, stored: bool, fence: int) -> RunEnded:
    return RunEnded(
        completed=_completed(asked, finished, stored=stored),
        fence=fence,
        session_state=_kept(finished.output.session_state),
    )


def _completed(asked: Asked, finished: Finished, *, stored: bool) -> RunCompleted:
    return RunCompleted(
        event_id=completed_event_id(asked.tenant, asked.team_id, asked.run_id),
        tenant=asked.tenant,
        team_id=asked.team_id,
        run_id=asked.run_id,
        session_id=asked.session_id,
        output=finished.output,
        completed_at=time.time(),
        dependencies=asked.request.dependencies,
        code=finished.code,
        stored=stored,
    )


def _too_large(size: int, bytes_max: int) -> str:
    log.error("the output is too large to be carried", bytes=size, bytes_max=bytes_max)
    return (
        f"the run was answered, but its output with all transcripts has {size} bytes, more than"
        f" {bytes_max}; ask with a shorter message, of fewer members, or with smaller tool results"
    )
