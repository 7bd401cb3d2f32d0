"""How one client is told of one run: which of its events, in which lines, and the last of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from teambus.bus.frame_survey import Said
from teambus.bus.frames import Feed
from teambus.bus.waiter import RunEnd, RunKey
from teambus.contracts.catalogue import TeamDescription
from teambus.contracts.frames import Frame
from teambus.contracts.message import decode
from teambus.contracts.output import RunStatus, TeamRunOutput
from teambus.contracts.run import RunCompleted
from teambus.domain.frames import last_frame
from teambus_gateway.catalogue import Description, Kind
from teambus_gateway.sse import frame_lines, meta_lines
from teambus_gateway.submission import run_path

ALWAYS_TOLD = ("RunContent", "RunError", "RunCancelled")


class _Speaker(msgspec.Struct):
    run_id: str = ""


@dataclass(frozen=True, slots=True)
class Teller:
    """`indexed`: the number of each event stands in its data too. Without `all_events` there is
    everything of the members, but of the leader only text and bad news.
    """

    component: Description
    run: RunKey
    indexed: bool = False
    all_events: bool = True

    @property
    def kind(self) -> Kind:
        return "team" if isinstance(self.component, TeamDescription) else "agent"

    def lines(self, frames: Iterable[Frame]) -> bytes:
        return b"".join(
            [frame_lines(frame, indexed=self.indexed) for frame in frames if self._wants(frame)]
        )

    def caught_up(self, said: Said) -> bytes:
        """Before what a client missed of a run that goes on, if it missed something."""
        if not said.after:
            return b""
        return self._meta(
            "catch_up",
            status="running",
            missed_events=said.after,
            current_event_count=said.total,
            message=f"Catching up on {said.after} missed events.",
        )

    def subscribed(self, said: Said) -> bytes:
        return self._meta(
            "subscribed",
            status="running",
            current_event_count=said.total,
            message=f"Subscribed to {self.kind} run. Receiving live events.",
        )

    def replay(self, status: RunStatus, missed: int, total: int, after: int) -> bytes:
        """Before what a client missed of a run that has ended."""
        return self._meta(
            "replay",
            status=status.value,
            total_events=missed,
            total_buffered=total,
            last_event_index_requested=after,
            message=f"Run {status.value}. Replaying {missed} missed events (of {total} total).",
        )

    def stored_replay(self, status: RunStatus, total: int) -> bytes:
        """Before the events that are kept with a run whose stream is gone, or never was."""
        message = "Run completed. Replaying stored events from database."
        if total == 0:
            message = (
                f"Run {status.value} with no stored events: "
                "a run submitted without streaming keeps only its final output."
            )
        return self._meta("replay", status=status.value, total_events=total, message=message)

    def stopped(self, why: str, code: str, feed: Feed) -> bytes:
        """The last that is told of a run that goes on."""
        return meta_lines(
            "error",
            error=f"{why}; the run goes on: resume to get the rest",
            code=code,
            run_id=self.run.run_id,
            last_event_index=feed.after,
            resume=f"{run_path(self.kind, self.run.team_id, self.run.run_id)}/resume",
        )

    def last_word(self, end: RunEnd, *, number: int = 0) -> Frame:
        """The last frame of the run; its number is at least this."""
        frame = last_frame(self._ended(decode(RunCompleted, end.event)))
        return msgspec.structs.replace(frame, event_index=max(frame.event_index, number))

    def kept_story(self, end: RunEnd | None, output: bytes) -> list[Frame]:
        """What is left to tell of a run whose stream is gone: kept events and the last word."""
        last = self._last_of(output) if end is None else self.last_word(end)
        before = [frame for frame in kept_events(output) if not self._is_last_word(frame, last)]
        number = max(last.event_index, _next_number(before))
        return [*before, msgspec.structs.replace(last, event_index=number)]

    def _last_of(self, output: bytes) -> Frame:
        """The last word on a run of which only its database knows."""
        run = msgspec.json.decode(output, type=TeamRunOutput)
        completed = RunCompleted(
            event_id="",
            tenant=self.run.tenant,
            team_id=run.team_id,
            run_id=run.run_id,
            session_id=run.session_id,
            output=run,
            completed_at=run.created_at,
        )
        return last_frame(self._ended(completed))

    def _ended(self, completed: RunCompleted) -> RunCompleted:
        """An agent's run that a runner of another app had to end does not say that it is one."""
        output = completed.output
        if self.kind == "agent" and output.agent_id is None:
            output.agent_id, output.agent_name = self.component.id, self.component.name
        return completed

    def _is_last_word(self, frame: Frame, last: Frame) -> bool:
        if frame.event != last.event:
            return False
        return msgspec.json.decode(frame.data, type=_Speaker).run_id == self.run.run_id

    def _meta(self, event: str, **fields: Any) -> bytes:
        return meta_lines(event, run_id=self.run.run_id, **fields)

    def _wants(self, frame: Frame) -> bool:
        if self.all_events or frame.event.removeprefix("Team") in ALWAYS_TOLD:
            return True
        return msgspec.json.decode(frame.data, type=_Speaker).run_id != self.run.run_id


def kept_events(output: bytes) -> list[Frame]:
    """The events kept in a run's output; those without a number get their position."""
    run = msgspec.json.decode(output, type=TeamRunOutput)
    frames: list[Frame] = []
    for event in run.events or []:
        given = event.pop("event_index", None)
        number = given if isinstance(given, int) else _next_number(frames)
        data = msgspec.Raw(msgspec.json.encode(event))
        frames.append(Frame(event_index=number, event=event["event"], data=data))
    return frames


def _next_number(frames: list[Frame]) -> int:
    return frames[-1].event_index + 1 if frames else 0
