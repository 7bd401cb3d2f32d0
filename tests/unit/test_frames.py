"""Frames on their way to the bus: numbered, gathered, in order, bounded, never in the run's way."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from teambus.bus.errors import BusUnavailable
from teambus.bus.journal import Fenced
from teambus.contracts.frames import Frame, FrameBatch
from teambus_team_runner import pieces
from teambus_team_runner.frames import FrameLimits, Origin, PublishedFrames, UnreadFrames

NEVER = 3600.0


class MemoryLog:
    """Keeps batches. Holds each back while `open` is cleared; refuses when told to."""

    batch_bytes_max = 900_000

    def __init__(self, tail: int | None = None) -> None:
        self.batches: list[FrameBatch] = []
        self.begun = 0
        self.open = asyncio.Event()
        self.open.set()
        self.refusal: Exception | None = None
        self._tail = tail

    async def publish(self, batch: FrameBatch, *, patience_s: float) -> None:
        self.begun += 1
        await self.open.wait()
        if self.refusal is not None:
            raise self.refusal
        self.batches.append(batch)

    async def tail(self, tenant: str, run_id: str, *, patience_s: float) -> int | None:
        if self.refusal is not None:
            raise self.refusal
        return self._tail

    @property
    def frames(self) -> list[Frame]:
        return [frame for batch in self.batches for frame in batch.frames]

    @property
    def said(self) -> list[tuple[str, Any]]:
        return [(f.event, msgspec.json.decode(f.data).get("content")) for f in self.frames]


class Proofs:
    """Counts the proofs asked for; raises once the run is another's."""

    def __init__(self) -> None:
        self.count = 0
        self.lost = False

    async def __call__(self) -> None:
        self.count += 1
        if self.lost:
            raise Fenced("another has it")


def frames_to(
    log: MemoryLog, *, is_first: bool = True, prove: Any = None, **limits: Any
) -> PublishedFrames:
    origin = Origin("default", "desk", "r", 42, is_first, prove or Proofs())
    return PublishedFrames(log, origin, FrameLimits(**{"coalesce_s": NEVER, **limits}))


def speak(frames: PublishedFrames, text: str, run_id: str = "r", event: str = "RunContent") -> None:
    frames.emit(event, {"event": event, "run_id": run_id, "content": text})


def happen(frames: PublishedFrames, event: str, run_id: str = "r", **data: Any) -> None:
    frames.emit(event, {"event": event, "run_id": run_id, **data})


async def until(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < deadline, "never so"
        await asyncio.sleep(0)


async def test_frames_are_numbered_without_gaps_and_say_whose_they_are() -> None:
    log = MemoryLog()
    async with frames_to(log) as frames:
        for event in ("TeamRunStarted", "TeamModelRequestStarted", "TeamModelRequestCompleted"):
            happen(frames, event)
            await until(lambda: not frames._publishing)

        assert await frames.finish() == 3

    assert [frame.event_index for frame in log.frames] == [0, 1, 2]
    assert {(b.tenant, b.team_id, b.run_id, b.attempt) for b in log.batches} == {
        ("default", "desk", "r", 42)
    }


async def test_pieces_are_gathered_until_something_else_happens() -> None:
    log = MemoryLog()
    async with frames_to(log) as frames:
        for text in ("", "Green", " tea", "."):
            speak(frames, text)
        happen(frames, "ModelRequestCompleted")
        assert await frames.finish() == 2

    assert log.said == [("RunContent", "Green tea."), ("ModelRequestCompleted", None)]


async def test_pieces_of_a_run_that_was_cut_short_are_said_at_its_end() -> None:
    log = MemoryLog()
    async with frames_to(log) as frames:
        speak(frames, "Gree")
        assert await frames.finish() == 1

    assert log.said == [("RunContent", "Gree")]


async def test_pieces_are_not_kept_longer_than_the_window() -> None:
    log = MemoryLog()
    async with frames_to(log, coalesce_s=0.01) as frames:
        speak(frames, "Green")
        speak(frames, " tea")
        await until(lambda: log.frames)
        speak(frames, ".")
        await until(lambda: len(log.frames) == 2)

    assert log.said == [("RunContent", "Green tea"), ("RunContent", ".")]


async def test_without_a_window_every_piece_is_a_frame() -> None:
    log = MemoryLog()
    async with frames_to(log, coalesce_s=0) as frames:
        for text in ("", "Green", " tea."):
            speak(frames, text)
        assert await frames.finish() == 3

    assert [content for _, content in log.said] == ["", "Green", " tea."]


async def test_pieces_of_members_side_by_side_are_not_mixed() -> None:
    log = MemoryLog()
    async with frames_to(log) as frames:
        for one, two in zip("abc", "xyz", strict=True):
            speak(frames, one, "m1")
            speak(frames, two, "m2")
        happen(frames, "RunCompleted", "m2")
        speak(frames, "d", "m1")
        happen(frames, "RunCompleted", "m1")
        await frames.finish()

    assert [
        (msgspec.json.decode(frame.data)["run_id"], *said)
        for frame, said in zip(log.frames, log.said, strict=True)
    ] == [
        ("m1", "RunContent", "abc"),
        ("m2", "RunContent", "xyz"),
        ("m2", "RunCompleted", None),
        ("m1", "RunContent", "d"),
        ("m1", "RunCompleted", None),
    ]


async def test_much_text_is_said_before_the_window_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE_CHARS_MAX", 4)
    log = MemoryLog()
    async with frames_to(log) as frames:
        for text in ("ab", "cd", "e"):
            speak(frames, text)
        await until(lambda: log.frames)

    assert log.said == [("RunContent", "abcd")]


async def test_what_happens_while_a_batch_is_written_shares_the_next() -> None:
    log = MemoryLog()
    log.open.clear()
    async with frames_to(log) as frames:
        happen(frames, "A")
        await until(lambda: log.begun)
        for event in "BCD":
            happen(frames, event)
            await asyncio.sleep(0)
        assert log.begun == 1
        log.open.set()
        await frames.finish()

    assert [[frame.event for frame in batch.frames] for batch in log.batches] == [
        ["A"],
        ["B", "C", "D"],
    ]


async def test_a_batch_is_cut_where_a_message_ends_and_a_large_frame_goes_alone() -> None:
    log = MemoryLog()
    log.batch_bytes_max = 1024 + 1000
    async with frames_to(log) as frames:
        for size in (300, 300, 300, 5000, 1):
            happen(frames, "ToolCallCompleted", result="x" * size)
        await frames.finish()

    assert [len(batch.frames) for batch in log.batches] == [2, 1, 1, 1]
    assert [frame.event_index for frame in log.frames] == [0, 1, 2, 3, 4]


async def test_what_is_said_is_what_was_so_when_it_was_said() -> None:
    log, tool = MemoryLog(), {"result": "before"}
    async with frames_to(log) as frames:
        happen(frames, "ToolCallCompleted", tool=tool)
        tool["result"] = "after"
        await frames.finish()

    (frame,) = log.frames
    assert msgspec.json.decode(frame.data)["tool"] == {"result": "before"}
    assert frames.events[0]["tool"] == {"result": "before"}


async def test_what_json_cannot_carry_is_left_out_without_a_gap() -> None:
    log = MemoryLog()
    async with frames_to(log) as frames:
        happen(frames, "A")
        happen(frames, "B", value=object())
        happen(frames, "C")
        assert await frames.finish() == 2

    assert [(f.event_index, f.event) for f in log.frames] == [(0, "A"), (1, "C")]


@pytest.mark.parametrize(
    ("tail", "first"), [(None, 0), (0, 10_000), (9_999, 10_000), (10_000, 20_000)]
)
async def test_a_later_attempt_numbers_above_all_that_was_said(
    tail: int | None, first: int
) -> None:
    log = MemoryLog(tail)
    async with frames_to(log, is_first=False) as frames:
        happen(frames, "A")
        assert await frames.finish() == first + 1
    assert [frame.event_index for frame in log.frames] == [first]

    async with frames_to(MemoryLog(tail), is_first=False) as silent:
        assert await silent.finish() == first


async def test_a_bus_that_takes_no_frames_gets_no_more_and_the_run_goes_on() -> None:
    log = MemoryLog()
    async with frames_to(log) as frames:
        happen(frames, "A")
        await until(lambda: log.frames)
        log.refusal = BusUnavailable("away")
        happen(frames, "B")
        await until(lambda: log.begun == 2 and not frames._publishing)
        log.refusal = None
        happen(frames, "C")
        await frames.room()

        # B may have been stored with its answer lost, so its number is not given again.
        assert await frames.finish() == 2

    assert [frame.event for frame in log.frames] == ["A"]
    assert [event["event"] for event in frames.events] == ["A", "B", "C"]


async def test_what_waited_for_a_bus_that_was_given_up_is_not_said_later() -> None:
    log = MemoryLog()
    log.open.clear()
    async with frames_to(log) as frames:
        happen(frames, "A")
        await until(lambda: log.begun)
        happen(frames, "B")
        log.refusal = BusUnavailable("away")
        log.open.set()
        await until(lambda: not frames._publishing)
        log.refusal = None
        happen(frames, "C")
        await frames.finish()
    assert log.frames == []


async def test_a_bus_that_does_not_answer_is_given_up_after_the_patience() -> None:
    log = MemoryLog()
    log.open.clear()
    async with frames_to(log, patience_s=0.01) as frames:
        happen(frames, "A")
        async with asyncio.timeout(10):
            assert await frames.finish() == 1
    assert log.frames == []


async def test_an_unreadable_tail_is_given_up_too() -> None:
    log = MemoryLog()
    log.refusal = BusUnavailable("away")
    async with frames_to(log, is_first=False) as frames:
        happen(frames, "A")
        assert await frames.finish() == 0
    assert log.frames == []


async def test_a_runner_that_lost_its_run_says_nothing_more() -> None:
    log, prove = MemoryLog(), Proofs()
    async with frames_to(log, prove=prove) as frames:
        happen(frames, "A")
        await until(lambda: log.frames)
        prove.lost = True
        happen(frames, "B")
        await frames.finish()

    assert [frame.event for frame in log.frames] == ["A"]
    assert prove.count == 2


async def test_with_too_much_unwritten_the_next_step_waits() -> None:
    log = MemoryLog()
    log.open.clear()
    async with frames_to(log, buffer_bytes_max=100) as frames:
        await frames.room()
        happen(frames, "A")
        await until(lambda: log.begun)
        happen(frames, "B", result="x" * 200)
        waiting = asyncio.create_task(frames.room())
        await asyncio.sleep(0)
        assert not waiting.done()
        log.open.set()
        async with asyncio.timeout(10):
            await waiting


async def test_nobody_waits_for_a_bus_that_was_given_up() -> None:
    log = MemoryLog()
    log.open.clear()
    async with frames_to(log, buffer_bytes_max=100, patience_s=0.01) as frames:
        happen(frames, "A")
        happen(frames, "B", result="x" * 200)
        async with asyncio.timeout(10):
            await frames.room()


async def test_leaving_stops_what_is_on_its_way() -> None:
    log = MemoryLog()
    log.open.clear()
    async with frames_to(log, coalesce_s=0.01) as frames:
        happen(frames, "A")
        await until(lambda: log.begun)
        speak(frames, "x")
        publishing = frames._publishing
    assert publishing
    assert publishing.cancelled()
    log.open.set()
    await asyncio.sleep(0.03)
    assert log.frames == []


async def test_all_but_content_is_kept_for_later() -> None:
    async with frames_to(MemoryLog()) as frames:
        happen(frames, "TeamRunStarted")
        speak(frames, "Green", event="TeamRunContent")
        happen(frames, "TeamRunContentCompleted")
        await frames.finish()

    assert [event["event"] for event in frames.events] == [
        "TeamRunStarted",
        "TeamRunContentCompleted",
    ]


async def test_frames_nobody_reads_are_no_frames() -> None:
    async with UnreadFrames() as frames:
        frames.emit("A", {})
        await frames.room()
        assert await frames.finish() == 0
        assert frames.events is None
