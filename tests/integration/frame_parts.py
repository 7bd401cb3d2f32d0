"""Saying by hand what runners say: batches of frames, and the end of a run."""

from dataclasses import dataclass, field
from typing import Any

import msgspec

from teambus.bus.bodies import Bodies
from teambus.bus.connection import Bus
from teambus.bus.events import Events
from teambus.bus.publish import Publication, publish
from teambus.bus.topology import FRAMES
from teambus.contracts import subjects
from teambus.contracts.frames import ATTEMPT_STRIDE, Frame, FrameBatch
from teambus.contracts.ids import completed_event_id
from teambus.contracts.message import encode
from teambus.contracts.output import RunStatus, TeamRunOutput
from teambus.contracts.run import RunCompleted


@dataclass
class Speaker:
    """A run that says what a test wants. Its frames are numbered on."""

    bus: Bus
    run_id: str
    team_id: str = "desk"
    session_id: str = "s"
    attempt: int = 1
    number: int = 0
    said: list[Frame] = field(default_factory=list)

    @property
    def numbers(self) -> list[int]:
        return [frame.event_index for frame in self.said]

    def frame(self, event: str = "TeamRunContent", **fields: Any) -> Frame:
        data = {
            "event": event,
            "team_id": self.team_id,
            "run_id": self.run_id,
            "session_id": self.session_id,
            "content": f"piece {self.number}",
            **fields,
        }
        frame = Frame(
            event_index=self.number, event=event, data=msgspec.Raw(msgspec.json.encode(data))
        )
        self.number += 1
        return frame

    async def say(self, *frames: Frame, count: int = 1) -> int:
        """Say these frames, or `count` pieces of text, in one batch; its sequence."""
        given = list(frames) or [self.frame() for _ in range(count)]
        self.said += given
        return await self.put(given)

    async def put(self, frames: list[Frame], *, attempt: int | None = None) -> int:
        batch = FrameBatch(
            tenant="default",
            team_id=self.team_id,
            run_id=self.run_id,
            attempt=attempt or self.attempt,
            frames=frames,
        )
        data, headers = await Bodies(self.bus).fit(encode(batch), owner=self.run_id)
        subject = subjects.frames("default", self.run_id)
        numbers = f"{self.run_id}-{self.attempt}-{frames[0].event_index}-{frames[-1].event_index}"
        ack = await publish(self.bus, Publication(subject, data, numbers, headers=headers))
        assert not ack.duplicate
        return ack.seq

    def is_taken_over(self) -> None:
        """The next frames are another attempt's."""
        self.attempt += 1
        self.number = -(-self.number // ATTEMPT_STRIDE) * ATTEMPT_STRIDE

    async def end(self, **fields: Any) -> RunCompleted:
        """The run completes after what it has said."""
        completed = self.completed(**fields)
        await Events(self.bus, Bodies(self.bus), source="test").complete(completed)
        return completed

    def completed(self, *, code: str | None = None, **fields: Any) -> RunCompleted:
        output: dict[str, Any] = {
            "run_id": self.run_id,
            "team_id": self.team_id,
            "team_name": "Desk",
            "session_id": self.session_id,
            "status": RunStatus.COMPLETED,
            "created_at": 1,
            "content_type": "str",
            "content": "all of it",
            "member_responses": [],
        }
        return RunCompleted(
            event_id=completed_event_id("default", self.team_id, self.run_id),
            tenant="default",
            team_id=self.team_id,
            run_id=self.run_id,
            session_id=self.session_id,
            output=TeamRunOutput(**{**output, **fields}),
            completed_at=2.5,
            code=code,
            frames=self.number,
        )


async def forget_frames(bus: Bus, *, keep: int = 0) -> None:
    """What the retention of frames does, only sooner."""
    query = msgspec.json.encode({"keep": keep})
    await bus.client.request(f"$JS.API.STREAM.PURGE.{FRAMES}", query, timeout=5)
