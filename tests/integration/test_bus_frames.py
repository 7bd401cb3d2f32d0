"""Reading frames: each once and in order, whatever is missed, repeated, late or too much."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from nats.aio.msg import Msg

from teambus.bus import reads
from teambus.bus.bodies import Bodies
from teambus.bus.connection import Bus
from teambus.bus.frame_stream import FeedLimits
from teambus.bus.frames import Feed, Feeds, ReaderTooSlow
from teambus.bus.topology import FRAMES
from teambus.bus.waiter import HearFrames, Listener, RunEnd, RunKey, Waiter
from teambus.contracts import subjects
from teambus.contracts.frames import ATTEMPT_STRIDE
from tests.integration.bus_parts import here, until
from tests.integration.frame_parts import Speaker, forget_frames

RUN = RunKey("default", "desk", "r")
PATIENT = FeedLimits(look_s=60)
HURRIED = FeedLimits(look_s=0.3)


class DeafWaiter(Waiter):
    """Loses batches on their way to its listeners while it is deaf."""

    deaf = False
    lost = 0

    @asynccontextmanager
    async def listening(
        self, run: RunKey, *, hear_frames: HearFrames | None = None
    ) -> AsyncIterator[Listener]:
        def hear(message: Msg) -> None:
            self.lost += self.deaf
            if hear_frames is not None and not self.deaf:
                hear_frames(message)

        async with super().listening(run, hear_frames=hear) as listener:
            yield listener


@dataclass
class Reader:
    feed: Feed
    waiter: DeafWaiter

    async def read(self, count: int) -> list[int]:
        """The numbers of the next `count` frames."""
        numbers: list[int] = []

        async def enough() -> bool:
            numbers.extend(frame.event_index for frame in await self.feed.next(0.2))
            return len(numbers) >= count

        await until(enough, otherwise=f"{count} frames never came")
        return numbers

    async def read_all(self) -> list[int]:
        numbers: list[int] = []

        async def is_over() -> bool:
            numbers.extend(frame.event_index for frame in await self.feed.next(0.2))
            return self.feed.over

        await until(is_over, otherwise="the end never came")
        return numbers

    async def until_lost(self, count: int) -> None:
        async def lost() -> bool:
            return self.waiter.lost >= count

        await until(lost)


@asynccontextmanager
async def reading(
    bus: Bus, *, run: RunKey = RUN, after: int = -1, limits: FeedLimits = PATIENT, **more: Any
) -> AsyncIterator[Reader]:
    bodies = Bodies(bus)
    waiter = DeafWaiter(bus, bodies)
    async with Feeds(bus, bodies, waiter, limits).reading(run, after=after, **more) as opened:
        feed, listener = opened
        await bus.barrier()
        feed.follow(listener, None)
        yield Reader(feed, waiter)


async def test_what_was_said_before_and_what_is_said_now_come_in_one_order(tmp_path: Path) -> None:
    async with here(tmp_path) as there, there.another() as bus:
        speaker = Speaker(there.bus, "r")
        await speaker.say(count=3)
        await speaker.say()
        async with reading(bus) as reader:
            assert await reader.read(4) == [0, 1, 2, 3]
            await speaker.say(count=2)
            assert await reader.read(2) == [4, 5]
            assert not reader.feed.over
            await speaker.say()
            await speaker.end()
            assert await reader.read_all() == [6]
            assert isinstance(reader.feed.end, RunEnd)
            assert (reader.feed.end.frames, reader.feed.last_index) == (7, 7)


async def test_a_reader_that_has_some_gets_the_rest(tmp_path: Path) -> None:
    async with here(tmp_path) as there:
        speaker = Speaker(there.bus, "r")
        await speaker.say(count=5)
        await speaker.say(count=5)
        await speaker.end()
        for after in (-1, 0, 3, 4, 8, 9, 99):
            async with reading(there.bus, after=after) as reader:
                assert await reader.read_all() == list(range(after + 1, 10))


async def test_an_end_that_overtakes_frames_waits_for_them(tmp_path: Path) -> None:
    async with here(tmp_path) as there, there.another() as bus:
        speaker = Speaker(there.bus, "r")
        async with reading(bus, is_new=True) as reader:
            reader.waiter.deaf = True
            for _ in range(3):
                await speaker.say(count=2)
            await speaker.end()
            assert await reader.read_all() == [0, 1, 2, 3, 4, 5]


async def test_a_batch_that_was_not_heard_is_read_when_the_next_one_comes(tmp_path: Path) -> None:
    async with here(tmp_path) as there, there.another() as bus:
        speaker = Speaker(there.bus, "r")
        async with reading(bus) as reader:
            await speaker.say()
            assert await reader.read(1) == [0]
            reader.waiter.deaf = True
            await speaker.say(count=2)
            await speaker.say(count=2)
            await reader.until_lost(2)
            reader.waiter.deaf = False
            await speaker.say()
            assert await reader.read(5) == [1, 2, 3, 4, 5]


async def test_a_batch_that_was_not_heard_is_read_although_nothing_follows(tmp_path: Path) -> None:
    async with here(tmp_path) as there, there.another() as bus:
        speaker = Speaker(there.bus, "r")
        async with reading(bus, limits=HURRIED, is_new=True) as reader:
            reader.waiter.deaf = True
            await speaker.say(count=2)
            await reader.until_lost(1)
            assert await reader.read(2) == [0, 1]


async def test_what_is_said_during_an_outage_is_read_after_it(tmp_path: Path) -> None:
    async with here(tmp_path) as there, there.linked() as (link, bus):
        speaker = Speaker(there.bus, "r")
        async with reading(bus) as reader:
            await speaker.say()
            assert await reader.read(1) == [0]
            link.deaf = True
            await speaker.say(count=2)
            assert await reader.feed.next(0.3) == []
            link.mend()
            assert await reader.read(2) == [1, 2]


async def test_frames_survive_the_death_of_the_server(tmp_path: Path) -> None:
    async with here(tmp_path) as there, there.another() as bus:
        speaker = Speaker(there.bus, "r")
        async with reading(bus) as reader:
            await speaker.say(count=2)
            assert await reader.read(2) == [0, 1]
            await there.nats.kill()
            await there.nats.restart()
            await speaker.say()
            await speaker.end()
            assert await reader.read_all() == [2]


async def test_what_an_attempt_says_after_another_took_over_is_dropped(tmp_path: Path) -> None:
    first = ATTEMPT_STRIDE - 2
    async with here(tmp_path) as there, there.another() as bus:
        speaker = Speaker(there.bus, "r", number=first)
        async with reading(bus, after=first - 1) as live:
            await speaker.say()
            late = [speaker.frame() for _ in range(9)]
            speaker.number = first + 1
            speaker.is_taken_over()
            await speaker.say(count=2)
            await speaker.put(late, attempt=1)
            await speaker.say()
            await speaker.end()
            expected = [first, ATTEMPT_STRIDE, ATTEMPT_STRIDE + 1, ATTEMPT_STRIDE + 2]
            assert await live.read_all() == expected
        async with reading(bus) as later:
            assert await later.read_all() == expected
        async with reading(bus, after=first) as resumed:
            assert await resumed.read_all() == expected[1:]


async def test_frames_stored_twice_are_given_once(tmp_path: Path) -> None:
    async with here(tmp_path, duplicate_window_s=0.1) as there:
        speaker = Speaker(there.bus, "r")
        await speaker.say(count=2)
        again = speaker.said[-2:]
        await asyncio.sleep(0.5)  # Longer than the stream remembers the ids of messages.
        await speaker.put(again)
        await speaker.say()
        await speaker.end()
        async with reading(there.bus) as reader:
            assert await reader.read_all() == [0, 1, 2]


async def test_another_teams_run_of_the_same_id_is_not_heard(tmp_path: Path) -> None:
    async with here(tmp_path) as there, there.another() as bus:
        mine, other = Speaker(there.bus, "r"), Speaker(there.bus, "r", team_id="other", number=7)
        async with reading(bus, limits=HURRIED) as reader:
            await other.say(count=3)
            await mine.say()
            await other.end()
            assert await reader.read(1) == [0]
            assert await reader.feed.next(0.7) == []
            assert not reader.feed.over
            await mine.end()
            assert await reader.read_all() == []


async def test_a_reader_that_does_not_read_is_told_and_costs_no_more_memory(
    tmp_path: Path,
) -> None:
    async with here(tmp_path) as there, there.another() as bus:
        for limits in (FeedLimits(unread_max=3), FeedLimits(unread_bytes_max=900)):
            speaker = Speaker(there.bus, f"r-{limits.unread_max}")
            run = RunKey("default", "desk", speaker.run_id)
            async with reading(bus, run=run, limits=limits) as slow, reading(bus, run=run) as quick:
                for reader in (slow, quick):
                    assert await reader.feed.next(0.1) == []
                for _ in range(12):
                    await speaker.say()
                assert await quick.read(12) == list(range(12))
                with pytest.raises(ReaderTooSlow):
                    await slow.feed.next(1)


async def test_a_reader_far_behind_is_not_too_slow_however_much_is_said(tmp_path: Path) -> None:
    async with here(tmp_path) as there, there.another() as bus:
        speaker = Speaker(there.bus, "r")
        for _ in range(30):
            await speaker.say()
        limits = FeedLimits(unread_max=2, page_max=4, look_s=60)
        async with reading(bus, limits=limits) as reader:
            numbers = await reader.read(4)
            for _ in range(10):
                await speaker.say()
            await speaker.end()
            numbers += await reader.read_all()
            assert numbers == list(range(40))


async def test_a_reader_that_stops_waiting_again_and_again_loses_nothing(tmp_path: Path) -> None:
    async with here(tmp_path) as there, there.another() as bus:
        speaker = Speaker(there.bus, "r")
        large = "x" * there.bus.message_bytes_max
        for number in range(3):
            await speaker.say(speaker.frame(content=large), speaker.frame(), speaker.frame())
            assert number * 3 + 2 == speaker.said[-1].event_index
        await speaker.end()
        numbers: list[int] = []
        async with reading(bus) as reader:
            wait_s = 0.0005
            while not reader.feed.over:
                numbers += [frame.event_index for frame in await reader.feed.next(wait_s)]
                wait_s *= 1.1
        assert numbers == list(range(9))


async def test_a_batch_that_cannot_be_read_stops_nobody(tmp_path: Path) -> None:
    async with here(tmp_path) as there:
        speaker = Speaker(there.bus, "r")
        await speaker.say()
        jetstream = there.bus.client.jetstream()
        subject = subjects.frames("default", "r")
        await jetstream.publish(subject, b"not a batch")
        await jetstream.publish(subject, b"", headers={"Teambus-Body": "r/gone"})
        await speaker.say()
        await speaker.end()
        async with reading(there.bus) as reader:
            assert await reader.read_all() == [0, 1]


async def test_somebody_who_speaks_in_place_of_the_stream_is_not_heard(tmp_path: Path) -> None:
    async with here(tmp_path) as there, there.another() as bus:
        speaker = Speaker(there.bus, "r")
        async with reading(bus) as reader:
            await there.bus.client.publish(subjects.live_frames("default", "r"), b"{}")
            await speaker.say()
            assert await reader.read(1) == [0]


async def test_whoever_waits_is_let_go_when_waiting_is_given_up(tmp_path: Path) -> None:
    async with here(tmp_path) as there:
        async with reading(there.bus) as reader:
            await Speaker(there.bus, "r").say()
            assert await reader.read(1) == [0]
            reader.waiter.give_up()
            assert await reader.feed.next(5) == []
            assert (reader.feed.over, reader.feed.given_up) == (True, True)


async def test_a_survey_says_what_there_is_and_what_is_gone(tmp_path: Path) -> None:
    async with here(tmp_path) as there:
        speaker = Speaker(there.bus, "r")
        bodies = Bodies(there.bus)
        feeds = Feeds(there.bus, bodies, Waiter(there.bus, bodies), FeedLimits(page_max=2))
        nothing = await feeds.survey(RUN, after=-1, end=None)
        assert (nothing.total, nothing.after, nothing.last_index) == (0, 0, -1)
        for _ in range(5):
            await speaker.say(count=2)
        speaker.is_taken_over()
        await speaker.say(count=2)
        said = await feeds.survey(RUN, after=3, end=None)
        assert (said.total, said.after, said.last_index) == (12, 8, ATTEMPT_STRIDE + 1)
        assert said.whole
        await forget_frames(there.bus, keep=3)
        assert not (await feeds.survey(RUN, after=4, end=None)).whole
        assert (await feeds.survey(RUN, after=5, end=None)).whole
        await forget_frames(there.bus, keep=1)
        assert (await feeds.survey(RUN, after=5, end=None)).whole  # An attempt tells it all again.


async def test_a_survey_knows_what_a_replica_does_not_have_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with here(tmp_path) as there:
        speaker = Speaker(there.bus, "r")
        for _ in range(5):
            last = await speaker.say(count=2)
        page = reads.page

        async def behind(*args: Any, **kwargs: Any) -> list[reads.Stored]:
            return [each for each in await page(*args, **kwargs) if each.seq < last - 1]

        monkeypatch.setattr(reads, "page", behind)
        bodies = Bodies(there.bus)
        feeds = Feeds(there.bus, bodies, Waiter(there.bus, bodies), FeedLimits())
        end = RunEnd("s", None, b"{}", b"{}", speaker.number)
        said = await feeds.survey(RUN, after=-1, end=end)
        assert (said.total, said.whole) == (10, True)


async def test_all_is_read_though_a_leader_answered_that_was_none_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with here(tmp_path) as there:
        speaker = Speaker(there.bus, "r")
        await speaker.say(count=2)
        old = await reads.last(there.bus, FRAMES, subjects.frames("default", "r"))
        await speaker.say(count=2)
        last, confirm = reads.last, reads.confirm

        async def outdated(*args: Any, **kwargs: Any) -> reads.Stored | None:
            return old

        async def confirmed(*args: Any) -> None:
            await confirm(*args)
            monkeypatch.setattr(reads, "last", last)

        monkeypatch.setattr(reads, "last", outdated)
        monkeypatch.setattr(reads, "confirm", confirmed)
        limits = FeedLimits(look_s=60, page_max=1)
        async with reading(there.bus, limits=limits) as reader:
            reader.feed.has_ended(RunEnd("s", None, b"{}", b"{}", speaker.number))
            assert await reader.read_all() == speaker.numbers
