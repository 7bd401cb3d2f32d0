"""The end of a run as one record: what it came to, and what its readers were told."""

import time
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import structlog

from teambus.app.agents import Agent
from teambus.app.teams import Component
from teambus.contracts.ids import completed_event_id
from teambus.contracts.journal import RunEnded, encode_record
from teambus.contracts.output import RunStatus, TeamRunOutput
from teambus.contracts.run import RunCompleted
from teambus.domain.frames import kept_events
from teambus.domain.media import run_input
from teambus_team_runner.asked import Asked
from teambus_team_runner.continuing import replaced_by
from teambus_team_runner.engine.cancellation import EXECUTING, PENDING
from teambus_team_runner.engine.ports import Finished
from teambus_team_runner.engine.state import INJECTED

log = structlog.get_logger(__name__)

OUTPUT_TOO_LARGE = "output_too_large"


@dataclass(frozen=True, slots=True)
class Told:
    """What readers were told: the number that comes next, and all but content; None when nobody
    reads.
    """

    frames: int
    events: list[dict[str, Any]] | None


@dataclass(frozen=True, slots=True)
class Decision:
    """All that the end of a run is made of. `stored`: it goes into the database; `opened`: the run
    had its session.
    """

    asked: Asked
    component: Component
    finished: Finished
    told: Told
    fence: int
    stored: bool
    opened: bool = True

    def ended(self) -> RunEnded:
        return RunEnded(
            completed=self._completed(),
            fence=self.fence,
            session_state=_kept(self.finished.output.session_state),
            opened=msgspec.UNSET if self.opened else False,
            replaces=replaced_by(self.asked, self.finished.output.status) or msgspec.UNSET,
        )

    def within(self, bytes_max: int) -> tuple[RunEnded, bytes]:
        """The end as the bus can carry it, and its record. Too large, it loses its events, then its
        output.
        """
        ended = self.ended()
        record = encode_record(ended)
        if (size := len(record)) <= bytes_max:
            return ended, record
        if self.told.events:
            log.warning("an output so large is kept without its events", bytes=size)
            return replace(self, told=Told(self.told.frames, [])).within(bytes_max)
        instead = failed(self.asked, self.component, OUTPUT_TOO_LARGE, _too_large(size, bytes_max))
        short = replace(self, finished=instead).ended()
        return short, encode_record(short)

    def _completed(self) -> RunCompleted:
        asked = self.asked
        completed = RunCompleted(
            event_id=completed_event_id(asked.tenant, asked.team_id, asked.run_id),
            tenant=asked.tenant,
            team_id=asked.team_id,
            run_id=asked.run_id,
            session_id=asked.session_id,
            output=self.finished.output,
            completed_at=time.time(),
            dependencies=asked.request.dependencies,
            code=self.finished.code,
            stored=self.stored,
            frames=self.told.frames,
        )
        if self.told.events is not None:
            completed.output.events = kept_events(completed, self.told.events)
        return completed


def failed(asked: Asked, component: Component, code: str, detail: str) -> Finished:
    """The end of a run in which nobody spoke."""
    return Finished(_silent(asked, component, RunStatus.ERROR, detail), code)


def cancelled(asked: Asked, component: Component, reason: str, *, began: bool) -> Finished:
    """The end of a cancelled run that has nothing to show, whether it `began` or not."""
    output = _silent(asked, component, RunStatus.CANCELLED, reason)
    output.cancellation_stage = EXECUTING if began else PENDING
    return Finished(output)


def _silent(asked: Asked, component: Component, status: RunStatus, content: str) -> TeamRunOutput:
    continues = asked.request.continues
    output = TeamRunOutput(
        run_id=asked.run_id,
        team_id=asked.team_id,
        session_id=asked.session_id,
        status=status,
        created_at=int(time.time()),
        content_type="str",
        member_responses=[],
        user_id=asked.request.user_id,
        input=run_input(asked.request.input, asked.request.media),
        content=content,
        metadata=asked.request.metadata,
        forked_from_run_id=continues.run_id if continues else None,
    )
    if isinstance(component, Agent):
        output.agent_id, output.agent_name = component.id, component.name
    else:
        output.team_name = component.name
    return output


def _too_large(size: int, bytes_max: int) -> str:
    log.error("the output is too large to be carried", bytes=size, bytes_max=bytes_max)
    return (
        f"the run was answered, but its output with all transcripts has {size} bytes, more than"
        f" {bytes_max}; ask with a shorter message, of fewer members, or with smaller tool results"
    )


def _kept(state: dict[str, Any] | None) -> dict[str, Any] | None:
    if state is None:
        return None
    return {key: value for key, value in state.items() if key not in INJECTED}
