"""What a streamed run leaves on the bus for its readers, whatever happens to it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from teambus.bus import reads, topology
from teambus.bus.bodies import Bodies
from teambus.bus.frame_log import FrameLog
from teambus.contracts import headers as names
from teambus.contracts import subjects
from teambus.contracts.frames import ATTEMPT_STRIDE, Frame, FrameBatch
from teambus.contracts.message import decode
from teambus.domain.frames import last_frame
from tests.integration.run_parts import Faults, Runs, runs_in, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

LAST_ANSWER = {"match": "", "has_tool_results": True, "reply": "Green tea."}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Runs]:
    async with runs_in(tmp_path_factory.mktemp("runs")) as runs:
        yield runs


@pytest_asyncio.fixture(loop_scope="module")
async def runs(shared: Runs) -> AsyncIterator[Runs]:
    await shared.model.reset()
    yield shared
    await shared.drained()


async def batches_of(runs: Runs, run_id: str) -> list[FrameBatch]:
    bodies = Bodies(runs.bus)
    return [
        decode(FrameBatch, await bodies.load(each.data, each.headers))
        for each in await runs.stored(topology.FRAMES, subjects.frames("default", run_id))
    ]


async def frames_of(runs: Runs, run_id: str) -> list[Frame]:
    return [frame for batch in await batches_of(runs, run_id) for frame in batch.frames]


def data_of(frame: Frame) -> dict[str, Any]:
    data: dict[str, Any] = msgspec.json.decode(frame.data)
    assert data["event"] == frame.event
    assert "event_index" not in data
    return data


def text_of(frames: list[Frame], run_id: str) -> str:
    data = [data_of(frame) for frame in frames if frame.event.endswith("RunContent")]
    return "".join(each["content"] for each in data if each["run_id"] == run_id)


async def attempts_of(runs: Runs, run_id: str) -> list[int]:
    stored = await runs.stored(topology.JOURNAL, subjects.journal("default", run_id))
    return [each.seq for each in stored if b'"record":"attempt"' in each.data]


async def test_a_streamed_run_says_all_it_does_in_order(runs: Runs) -> None:
    async with runs.runner():
        await runs.submit("told", stream=True)
        end = await runs.end("told")
    frames = await frames_of(runs, "told")

    assert [frame.event_index for frame in frames] == list(range(len(frames)))
    assert end.frames == len(frames)
    assert {batch.attempt for batch in await batches_of(runs, "told")} == {
        *(await attempts_of(runs, "told"))
    }
    assert frames[0].event == "TeamRunStarted"
    assert frames[-1].event == "TeamRunContentCompleted"
    assert text_of(frames, "told") == end.output.content
    for member in end.output.member_responses:
        assert text_of(frames, member.run_id) == member.content
        own = [data_of(f) for f in frames if data_of(f)["run_id"] == member.run_id]
        assert {each["parent_run_id"] for each in own} == {"told"}
        assert [each["event"] for each in own if each["event"] != "RunContent"] == [
            "RunStarted",
            "ModelRequestStarted",
            "ModelRequestCompleted",
            "RunContentCompleted",
            "RunCompleted",
        ]


async def test_the_last_word_is_the_completed_events_alone(runs: Runs) -> None:
    async with runs.runner():
        await runs.submit("last", stream=True)
        end = await runs.end("last")
    frames = await frames_of(runs, "last")

    assert "TeamRunCompleted" not in {frame.event for frame in frames}
    last = last_frame(end)
    assert (last.event_index, last.event) == (len(frames), "TeamRunCompleted")
    boundaries = [data_of(f) for f in frames if not f.event.endswith("RunContent")]
    assert end.output.events is not None
    assert end.output.events[:-1] == boundaries
    told = data_of(last)
    del told["member_responses"]
    assert end.output.events[-1] == told


async def test_a_run_that_is_not_streamed_says_nothing_and_its_model_neither(runs: Runs) -> None:
    async with runs.runner():
        await runs.submit("quiet")
        quiet = await runs.end("quiet")
        await runs.submit("loud", stream=True)
        loud = await runs.end("loud")

    assert await batches_of(runs, "quiet") == []
    assert (quiet.frames, quiet.output.events) == (0, None)
    assert quiet.output.metrics is not None
    assert quiet.output.metrics.time_to_first_token is None
    assert loud.output.metrics is not None
    assert loud.output.metrics.time_to_first_token is not None
    assert str(quiet.output.content).replace("quiet", "loud") == loud.output.content


async def test_every_piece_is_a_frame_of_its_own_when_none_are_gathered(runs: Runs) -> None:
    await runs.model.rules([LAST_ANSWER])
    async with runs.runner(frames_coalesce_s=0):
        await runs.submit("pieces", stream=True)
        await runs.end("pieces")

    data = [data_of(frame) for frame in await frames_of(runs, "pieces")]
    leader = [each["content"] for each in data if each["event"] == "TeamRunContent"]
    assert leader == ["", "Green", " tea."]


async def test_all_frames_are_durable_before_the_end_is_said(runs: Runs) -> None:
    faults = Faults(["before the event"])
    async with runs.runner(faults):
        await runs.submit("flushed", stream=True)

        async def died() -> bool:
            return bool(faults.met)

        await until(died, 20, "not reached")
        frames = await frames_of(runs, "flushed")
        past = await runs.past("flushed")
        assert past.ended is not None
        assert past.ended.completed.frames == len(frames) > 0
        end = await runs.end("flushed")
    assert end.frames == len(frames)
    assert await frames_of(runs, "flushed") == frames


async def test_a_taken_over_run_begins_anew_above_all_that_was_said(runs: Runs) -> None:
    await runs.model.rules([{**LAST_ANSWER, "chunk_delay_ms": 60_000, "times": 1}, LAST_ANSWER])
    async with runs.runner():
        await runs.submit("taken", stream=True, session_id="s-taken")
        await runs.model.wait_for_calls(4, timeout_s=20)

        async def heard_of_the_last_answer() -> bool:
            events = [frame.event for frame in await frames_of(runs, "taken")]
            return events.count("TeamRunContent") == 1

        await until(heard_of_the_last_answer, 20, "nothing was heard")
        before = await frames_of(runs, "taken")
        await runs.dies("taken", 1, stream=True, session_id="s-taken")
        calls = await runs.model.wait_for_ended(4, timeout_s=20)
        assert [call.outcome for call in calls][-1] == "client gone"
        end = await runs.end("taken")

    first, _, third = await attempts_of(runs, "taken")
    batches = await batches_of(runs, "taken")
    assert [batch.attempt for batch in batches] == sorted(batch.attempt for batch in batches)
    assert {batch.attempt for batch in batches} == {first, third}
    newer = [frame for batch in batches if batch.attempt == third for frame in batch.frames]
    assert [f.event_index for f in before] == list(range(len(before)))
    indexes = range(ATTEMPT_STRIDE, ATTEMPT_STRIDE + len(newer))
    assert [frame.event_index for frame in newer] == list(indexes)
    assert end.frames == indexes[-1] + 1
    assert newer[0].event == "TeamRunStarted"
    assert text_of(newer, "taken") == "Green tea."
    for member in end.output.member_responses:
        assert text_of(newer, member.run_id) == member.content
    assert len(await runs.model.calls()) == 5


async def test_a_run_given_back_while_it_streams_goes_on_elsewhere(runs: Runs) -> None:
    await runs.model.rules([{**LAST_ANSWER, "chunk_delay_ms": 60_000, "times": 1}, LAST_ANSWER])
    async with runs.runner(drain_s=0.0):
        await runs.submit("given", stream=True)
        await runs.model.wait_for_calls(4, timeout_s=20)
    async with runs.runner():
        end = await runs.end("given")

    assert end.output.status == "COMPLETED"
    batches = await batches_of(runs, "given")
    assert batches[-1].frames[-1].event_index == end.frames - 1 > ATTEMPT_STRIDE
    assert (await runs.past("given")).attempts == 0


async def test_an_answer_that_breaks_off_is_announced_and_asked_for_again(runs: Runs) -> None:
    await runs.model.rules(
        [
            {**LAST_ANSWER, "reply": "a b c d e f", "drop_midway": True, "times": 1},
            {**LAST_ANSWER, "chunk_delay_ms": 1},
        ]
    )
    async with runs.runner(frames_coalesce_s=0):
        await runs.submit("broken", stream=True)
        end = await runs.end("broken")

    assert end.output.content == "Green tea."
    events = [frame.event for frame in await frames_of(runs, "broken")]
    assert events.count("TeamModelRequestStarted") == 3
    assert events.count("TeamModelRequestCompleted") == 2


async def test_a_model_that_keeps_failing_ends_the_stream_with_an_error(runs: Runs) -> None:
    await runs.model.rules([{**LAST_ANSWER, "drop_midway": True}])
    async with runs.runner():
        await runs.submit("failing", stream=True)
        end = await runs.end("failing")

    frames = await frames_of(runs, "failing")
    assert "TeamRunError" not in {frame.event for frame in frames}
    last = data_of(last_frame(end))
    assert (last["event"], last["error_type"]) == ("TeamRunError", "model_provider_error")
    assert end.frames == len(frames)
    assert end.output.events is not None
    assert end.output.events[-1] == last


async def test_a_run_that_never_began_ends_its_stream_above_what_was_said(runs: Runs) -> None:
    log = FrameLog(runs.bus, Bodies(runs.bus), "test")
    frame = Frame(event_index=3, event="TeamRunStarted", data=msgspec.Raw(b"{}"))
    earlier = FrameBatch(tenant="default", team_id="desk", run_id="dead", attempt=1, frames=[frame])
    await log.publish(earlier, patience_s=10)
    await runs.dies("dead", 5, stream=True)
    async with runs.runner():
        await runs.submit("dead", stream=True)
        end = await runs.end("dead")

    assert (end.code, end.frames) == ("attempts_used_up", ATTEMPT_STRIDE)
    assert end.output.events is not None
    assert [event["event"] for event in end.output.events] == ["TeamRunError"]


async def test_a_frame_larger_than_a_message_is_carried_by_reference(runs: Runs) -> None:
    text = "x" * 2_000_000
    await runs.model.rules([{**LAST_ANSWER, "reply": text}])
    async with runs.runner():
        await runs.submit("large", stream=True)
        end = await runs.end("large")

    stored = await runs.stored(topology.FRAMES, subjects.frames("default", "large"))
    assert [each for each in stored if names.BODY in each.headers]
    frames = await frames_of(runs, "large")
    assert text_of(frames, "large") == text == end.output.content
    assert [frame.event_index for frame in frames] == list(range(end.frames))


async def test_a_run_that_cannot_be_stored_does_not_say_it_was_completed(runs: Runs) -> None:
    await runs.model.rules([{"match": "", "reply": "Precious.", "hold": "lost"}])
    faults = Faults()
    async with runs.runner(faults, store_give_up_s=0.3):
        await runs.submit("lost", stream=True)
        await runs.model.wait_for_calls(1, timeout_s=20)
        faults.database_away = True
        await runs.model.release("lost")
        end = await runs.end("lost")

    assert last_frame(end).event == "TeamRunError"
    assert end.output.events is not None
    assert [each["event"] for each in end.output.events].count("TeamRunError") == 1
    assert "TeamRunCompleted" not in {each["event"] for each in end.output.events}


@pytest.mark.parametrize("room", [None, 2])
async def test_a_run_does_not_stop_because_nobody_can_read_it(
    tmp_path: Path, room: int | None
) -> None:
    async with runs_in(tmp_path) as runs:
        await make_room(runs, room)
        async with runs.runner(frames_patience_s=0.3):
            await runs.submit("unread", stream=True)
            end = await runs.end("unread")

        assert end.output.status == "COMPLETED"
        assert end.output.events is not None
        assert end.output.events[-1]["event"] == "TeamRunCompleted"
        if room is not None:
            frames = await frames_of(runs, "unread")
            assert len(await batches_of(runs, "unread")) == room
            assert end.frames >= len(frames)


async def make_room(runs: Runs, messages: int | None) -> None:
    """No stream of frames at all, or one that takes so many messages and then refuses."""
    await reads.call(runs.bus, f"$JS.API.STREAM.DELETE.{topology.FRAMES}", b"")
    if messages is None:
        return
    document = {
        "name": topology.FRAMES,
        "subjects": [f"{subjects.ROOT}.frame.*.*"],
        "retention": "limits",
        "discard": "new",
        "max_msgs": messages,
        "storage": "memory",
    }
    create = f"$JS.API.STREAM.CREATE.{topology.FRAMES}"
    reply = await reads.call(runs.bus, create, msgspec.json.encode(document))
    assert b'"error"' not in reply.data
