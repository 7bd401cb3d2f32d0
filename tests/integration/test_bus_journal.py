"""The journal: grouped, fenced, its own success known, and patient where work was paid for."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from teambus.bus import journal as journal_module
from teambus.bus import topology
from teambus.bus.bodies import Bodies
from teambus.bus.errors import BusUnavailable
from teambus.bus.journal import Fenced, Tail, read_entries, read_tail
from teambus.bus.publish import Ack, publish
from teambus.bus.pull import Inbox
from teambus.bus.reads import call
from teambus.contracts import subjects
from teambus.contracts.journal import JournalEntry, Record, ToolReturned
from teambus.contracts.message import decode
from tests.integration.bus_parts import POOL, Here, here, journal_of, step, until

ALL = "teambus.v1.journal.*.*.*"


async def records(place: Here, run_id: str = "r", *, entries_max: int = 1000) -> list[Record]:
    subject = subjects.journal("default", run_id)
    tail = await read_tail(place.bus, subject)
    read = await read_entries(place.bus, Bodies(place.bus), subject, tail, entries_max=entries_max)
    assert read.unreadable is None
    return [record for entry in read.entries for record in entry.records]


def paths(found: list[Record]) -> list[str]:
    return [record.path for record in found if isinstance(record, ToolReturned)]


async def entries(place: Here) -> int:
    return len(await place.stored(topology.JOURNAL, ALL))


async def test_branches_side_by_side_share_their_appends(tmp_path: Path) -> None:
    async with here(tmp_path) as place:
        journal = await journal_of(place.bus, "r")

        async def branch(name: int) -> None:
            for number in range(5):
                await journal.append(step(f"{name}/{number}"))

        await asyncio.gather(*(branch(name) for name in range(8)))
        written = paths(await records(place))
        assert sorted(written) == sorted(f"{b}/{n}" for b in range(8) for n in range(5))
        for name in range(8):
            own = [path for path in written if path.startswith(f"{name}/")]
            assert own == [f"{name}/{number}" for number in range(5)]
        assert await entries(place) <= 6


async def test_the_last_taker_fences_every_earlier_one(tmp_path: Path) -> None:
    async with here(tmp_path) as place:
        zombie = await journal_of(place.bus, "r")
        await zombie.append(step("zombie"))
        taker = await journal_of(place.bus, "r")
        await taker.append(step("taker"))
        with pytest.raises(Fenced):
            await zombie.append(step("late"))
        assert not zombie.ours
        with pytest.raises(Fenced):
            zombie.add(step("later"))
        with pytest.raises(Fenced):
            await zombie.settled()
        with pytest.raises(Fenced):
            await zombie.prove(60)
        assert paths(await records(place)) == ["zombie", "taker"]


async def test_two_who_take_at_once_are_decided_by_the_bus(tmp_path: Path) -> None:
    async with here(tmp_path) as place:
        takers = [await journal_of(place.bus, "r") for _ in range(5)]
        said = await asyncio.gather(
            *(taker.append(step(str(n))) for n, taker in enumerate(takers)), return_exceptions=True
        )
        assert sorted(type(one).__name__ for one in said) == ["Fenced"] * 4 + ["NoneType"]
        assert await entries(place) == 1


async def test_a_stale_proof_is_refused_once_another_took_the_run(tmp_path: Path) -> None:
    async with here(tmp_path) as place:
        zombie = await journal_of(place.bus, "r")
        await zombie.append(step("zombie"))
        await (await journal_of(place.bus, "r")).append(step("taker"))
        await zombie.prove(60)
        with pytest.raises(Fenced):
            await zombie.prove(0)
        assert not zombie.ours


async def test_a_holder_proves_its_hold_as_often_as_it_likes(tmp_path: Path) -> None:
    async with here(tmp_path) as place:
        journal = await journal_of(place.bus, "r")
        for number in range(20):
            journal.add(step(str(number)))
            await journal.prove(0)
        await journal.settled()
        assert len(await records(place)) == 20


async def test_an_append_whose_answer_was_lost_is_its_own_and_not_a_loss(tmp_path: Path) -> None:
    async with here(tmp_path) as place, place.linked() as (link, bus):
        journal = await journal_of(bus, "r")
        await journal.append(step("one"))
        link.deaf = True
        appending = asyncio.create_task(journal.append(step("two")))

        async def stored() -> bool:
            return await entries(place) == 2

        await until(stored)
        link.mend()
        await appending
        await journal.append(step("three"))
        assert paths(await records(place)) == ["one", "two", "three"]


async def test_a_hold_is_proven_while_an_append_waits_for_its_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = asyncio.Event()

    async def publish_and_hear_late(*what: Any, **how: Any) -> Ack:
        ack = await publish(*what, **how)
        await heard.wait()
        return ack

    monkeypatch.setattr(journal_module, "publish", publish_and_hear_late)
    async with here(tmp_path) as place:
        journal = await journal_of(place.bus, "r")
        journal.add(step("one"))
        await until(lambda: entries(place))
        await journal.prove(0)
        heard.set()
        await journal.settled()


async def test_paid_work_outlasts_an_outage_longer_than_a_publish_does(tmp_path: Path) -> None:
    async with here(tmp_path) as place, place.another(publish_patience_s=0.1) as bus:
        journal = await journal_of(bus, "r")
        await place.nats.kill()
        journal.add(step("paid"))
        await asyncio.sleep(1)
        await place.nats.start()
        await journal.settled()
        assert paths(await records(place)) == ["paid"]


async def test_a_journal_gives_up_when_the_bus_stays_away(tmp_path: Path) -> None:
    async with here(tmp_path) as place:
        journal = await journal_of(place.bus, "r", patience_s=0.3)
        await place.nats.kill()
        with pytest.raises(BusUnavailable):
            await journal.append(step("one"))
        assert not journal.ours


async def test_a_full_stream_is_waited_out_and_no_new_work_is_taken(tmp_path: Path) -> None:
    async with here(tmp_path, journal_bytes_max=16 * 1024) as place:
        other = await journal_of(place.bus, "other")
        await other.append(step("filling", "x" * 12 * 1024))
        journal = await journal_of(place.bus, "r")
        journal.add(step("paid", "y" * 8 * 1024))

        async def full() -> bool:
            return place.bus.full

        await until(full)
        await journal.prove(0)
        async with Inbox(place.bus, topology.REQUESTS, POOL) as inbox:
            await place.submit(1)
            assert await inbox.fetch(1, asyncio.Event()) == []
        purge = b'{"filter": "teambus.v1.journal.default.other.0"}'
        await call(place.bus, f"$JS.API.STREAM.PURGE.{topology.JOURNAL}", purge)
        await journal.settled()
        assert len(await records(place)) == 1


async def test_a_closed_journal_stops_trying(tmp_path: Path) -> None:
    async with here(tmp_path) as place:
        journal = await journal_of(place.bus, "r")
        await place.nats.kill()
        journal.add(step("one"))
        await journal.close()
        await place.nats.start()
        taker = await journal_of(place.bus, "r")
        await taker.append(step("taker"))
        assert paths(await records(place)) == ["taker"]


@pytest.mark.parametrize("size", [880 * 1024, 2 * 1024 * 1024])
async def test_a_large_record_comes_back_as_it_was(tmp_path: Path, size: int) -> None:
    async with here(tmp_path) as place:
        run_id = "any id: ä/.*>"
        journal = await journal_of(place.bus, run_id)
        await journal.append(step("large", "z" * size))
        (record,) = await records(place, run_id)
        assert record == step("large", "z" * size)


async def test_records_together_too_large_for_an_entry_are_in_several_in_their_order(
    tmp_path: Path,
) -> None:
    names = [str(number) for number in range(10)]
    async with here(tmp_path) as place:
        journal = await journal_of(place.bus, "r", entry_bytes_max=1500)
        for name in names:
            journal.add(step(name, "z" * (3000 if name == "4" else 300)))
        await journal.settled()
        entries = await place.stored(topology.JOURNAL, subjects.journal("default", "r"))
        written = [decode(JournalEntry, entry.data) for entry in entries]
        assert [path for entry in written for path in paths(entry.records)] == names
        assert max(len(each.data) for each in entries if b"zzz" * 500 not in each.data) <= 1500
        assert 3 <= len(written) < 10
        await journal.append(step("after"))
        assert len(await records(place, "r")) == 11


async def test_a_journal_too_long_to_read_still_shows_its_last_entry(tmp_path: Path) -> None:
    async with here(tmp_path) as place:
        journal = await journal_of(place.bus, "r")
        for number in range(5):
            await journal.append(step(str(number)))
        subject = subjects.journal("default", "r")
        tail = await read_tail(place.bus, subject)
        read = await read_entries(place.bus, Bodies(place.bus), subject, tail, entries_max=3)
        assert read.unreadable == "more than 3 entries"
        assert [paths(entry.records) for entry in read.entries] == [["0"], ["1"], ["2"], ["4"]]


async def test_an_entry_whose_body_is_gone_is_told_and_the_rest_is_read(tmp_path: Path) -> None:
    async with here(tmp_path) as place:
        journal = await journal_of(place.bus, "r")
        await journal.append(step("large", "z" * 2 * 1024 * 1024))
        await journal.append(step("small"))
        await call(place.bus, f"$JS.API.STREAM.PURGE.{topology.BODIES}", b"")
        subject = subjects.journal("default", "r")
        tail = await read_tail(place.bus, subject)
        read = await read_entries(place.bus, Bodies(place.bus), subject, tail, entries_max=9)
        assert "no longer stored" in (read.unreadable or "")
        assert len(read.entries) == 1


async def test_a_proof_that_was_slow_to_come_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one that a stopped process finds on its doorstep when it wakes."""
    read_now, asleep_s = journal_module.read_tail, [0.0, 3600.0]

    class Clock:
        now = 0.0

        def monotonic(self) -> float:
            return self.now

    async def read(*what: Any, **how: Any) -> Tail:
        tail = await read_now(*what, **how)
        if slept_s := asleep_s.pop():
            clock.now += slept_s
            await (await journal_of(place.bus, "r")).append(step("theirs"))
        return tail

    async with here(tmp_path) as place:
        mine = await journal_of(place.bus, "r")
        await mine.append(step("mine"))
        clock = Clock()
        clock.now = 1e9
        monkeypatch.setattr(journal_module, "time", clock)
        monkeypatch.setattr(journal_module, "read_tail", read)
        with pytest.raises(Fenced):
            await mine.prove(60)
        assert asleep_s == []
