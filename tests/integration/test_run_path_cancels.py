"""A cancelled run ends once, CANCELLED, wherever it is and whatever happens beside it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from teambus.bus import topology
from teambus.contracts import subjects
from teambus.contracts.frames import Frame, FrameBatch
from teambus.contracts.journal import AttemptReleased, AttemptStarted, RunEnded
from teambus.contracts.message import decode
from teambus.contracts.output import RunStatus, TeamRunOutput
from teambus.contracts.run import RunCompleted
from teambus.domain.frames import last_frame
from teambus_team_runner.sessions import SessionStore, StoreSettings, open_store
from tests.integration.bus_parts import connected, disconnected, journal_of
from tests.integration.run_parts import DESK, Faults, Runs, runs_in, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

WRITER_WAITS = {"match": "You are Writer", "hold": "writer"}
ALL_WAIT = {"match": "", "hold": "all"}
WRITER_SPEAKS = b'"content":"word'
ONE_ANSWER = {"match": "", "reply": "Done."}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Runs]:
    async with runs_in(tmp_path_factory.mktemp("runs")) as runs:
        yield runs


@pytest_asyncio.fixture(loop_scope="module")
async def runs(shared: Runs) -> AsyncIterator[Runs]:
    await shared.model.reset()
    yield shared
    await shared.drained()


@asynccontextmanager
async def database(runs: Runs) -> AsyncIterator[SessionStore]:
    db = runs.app.teams[0].db
    assert db is not None
    store = await open_store(db, StoreSettings())
    try:
        yield store
    finally:
        await store.close()


async def row(runs: Runs, end: RunCompleted) -> TeamRunOutput | None:
    async with database(runs) as store:
        return await store.run("default", end.session_id, end.run_id)


def state(end: RunCompleted) -> tuple[str, str | None, str | None]:
    return end.output.status, end.output.cancellation_stage, end.code


async def all_calls_over(runs: Runs, count: int) -> list[str | None]:
    calls = await runs.model.wait_for_ended(count, timeout_s=20)
    assert len(calls) == count
    return [each.outcome for each in calls]


async def ended_once(runs: Runs, run_id: str) -> None:
    """One end in the journal, and nothing paid after it; one completed event."""
    records = [each for entry in await runs.journal(run_id) for each in entry.records]
    ends = [each for each in records if isinstance(each, RunEnded)]
    assert len(ends) == 1
    after = records[records.index(ends[0]) + 1 :]
    assert [each for each in after if not isinstance(each, AttemptReleased)] == []
    event = await runs.stored(topology.EVENTS, subjects.event("default", DESK, run_id, "completed"))
    assert len(event) == 1
    assert decode(RunCompleted, event[0].data) == ends[0].completed


async def test_a_run_cancelled_before_it_exists_never_starts(runs: Runs) -> None:
    await runs.cancel("early", reason="not needed")
    async with runs.runner():
        await runs.submit("early", session_id="s-early", user_id="ann")
        end = await runs.end("early")
        await runs.free("s-early")
    assert state(end) == ("CANCELLED", "PENDING", None)
    assert (end.output.content, end.stored) == ("not needed", True)
    assert await row(runs, end) == end.output
    assert await runs.model.calls() == []
    await ended_once(runs, "early")


async def test_orders_heard_just_before_the_run_is_taken_are_in_time(runs: Runs) -> None:
    async with runs.runner(), runs.runner():
        for number in range(50):
            await runs.cancel(f"fast-{number}")
            await runs.submit(f"fast-{number}")
        for number in range(50):
            end = await runs.end(f"fast-{number}")
            assert state(end) == ("CANCELLED", "PENDING", None)
    assert await runs.model.calls() == []


async def test_an_order_beyond_the_runners_memory_is_in_time(runs: Runs) -> None:
    for number in range(3):
        await runs.cancel(f"old-{number}")
    async with runs.runner(cancels_max=1):
        await runs.submit("old-0")
        assert state(await runs.end("old-0")) == ("CANCELLED", "PENDING", None)
    assert await runs.model.calls() == []


async def test_a_run_under_way_is_cut_with_its_calls_and_keeps_what_it_has(runs: Runs) -> None:
    await runs.model.rules([WRITER_WAITS])
    async with runs.runner():
        await runs.submit("cut", session_id="s-cut")
        await runs.model.wait_for_calls(3, timeout_s=20)
        await until(partial(answered, runs, "cut", 2), 20, "the answers were not journaled")
        await runs.cancel("cut")
        end = await runs.end("cut")
        outcomes = await all_calls_over(runs, 3)
        await runs.free("s-cut")
    assert state(end) == ("CANCELLED", "EXECUTING", None)
    assert end.output.content == "Run cut was cancelled"
    assert sorted(map(str, outcomes)) == ["answered", "answered", "client gone"]
    members = {each.agent_id: each for each in end.output.member_responses}
    assert members["researcher"].status == "COMPLETED"
    assert members["researcher"].content
    assert (members["writer"].status, members["writer"].content) == (
        "CANCELLED",
        "Run cut was cancelled",
    )
    roles = [message.role for message in end.output.messages or []]
    assert roles == ["system", "user", "assistant", "tool"]
    assert await row(runs, end) == end.output
    await ended_once(runs, "cut")


async def test_a_cancelled_run_is_no_history_and_its_session_goes_on(runs: Runs) -> None:
    await runs.model.rules([{"match": "question one", "hold": "one"}, ONE_ANSWER])
    async with runs.runner():
        await runs.submit("one", session_id="s-on")
        await runs.model.wait_for_calls(1, timeout_s=20)
        await runs.submit("two", session_id="s-on", add_history_to_context=True)
        await runs.waiting("s-on", 1)
        await runs.cancel("one")
        assert (await runs.end("one")).output.status == "CANCELLED"
        end = await runs.end("two")
    assert end.output.status == "COMPLETED"
    assert "question one" not in str(end.output.messages)


async def test_a_waiting_run_leaves_the_line_at_once_and_without_a_hand(runs: Runs) -> None:
    await runs.model.rules([{"match": "question holder", "hold": "holder"}, ONE_ANSWER])
    async with runs.runner(hands=2, session_look_s=30.0):
        await runs.submit("holder", session_id="s-line")
        await runs.model.wait_for_calls(1, timeout_s=20)
        for name in ("second", "third"):
            await runs.submit(name, session_id="s-line")
        await runs.waiting("s-line", 2)
        await runs.model.rules([{"match": "", "hold": "holder"}])
        await runs.submit("elsewhere")
        await runs.model.wait_for_calls(2, timeout_s=20)
        await runs.cancel("second", reason="changed my mind")
        end = await runs.end("second")
        before = await runs.session("s-line")
        await runs.model.rules([ONE_ANSWER])
        await runs.model.release("holder")
        holder, third = await runs.end("holder"), await runs.end("third")
        await runs.end("elsewhere")
    assert state(end) == ("CANCELLED", "PENDING", None)
    assert end.output.content == "changed my mind"
    assert before.holder is not None
    assert before.holder.run_id == "holder"
    assert await row(runs, end) == end.output
    assert (holder.output.status, third.output.status) == ("COMPLETED", "COMPLETED")
    assert not [each for each in await runs.model.calls() if "second" in each.last_content]
    await ended_once(runs, "second")
    async with database(runs) as store:
        session = await store.session("default", "s-line", runs_max=10)
    assert session is not None
    assert sorted(each.run_id for each in session.runs) == ["holder", "second", "third"]
    assert session.runs[-1].run_id == "third"


async def test_a_waiting_run_is_not_stored_in_another_users_session(runs: Runs) -> None:
    await runs.model.rules([ONE_ANSWER])
    async with runs.runner():
        await runs.submit("anns", session_id="s-ann", user_id="ann")
        await runs.end("anns")
        await runs.model.rules([{"match": "", "hold": "ann"}])
        await runs.submit("anns-too", session_id="s-ann", user_id="ann")
        await runs.model.wait_for_calls(2, timeout_s=20)
        await runs.submit("bobs", session_id="s-ann", user_id="bob")
        await runs.waiting("s-ann", 1)
        await runs.cancel("bobs")
        end = await runs.end("bobs")
        await runs.cancel("anns-too")
        await runs.end("anns-too")
    assert state(end) == ("CANCELLED", "PENDING", None)
    assert not end.stored
    assert await row(runs, end) is None


async def test_a_run_taken_in_another_users_free_session_is_cancelled_unstored(runs: Runs) -> None:
    await runs.model.rules([ONE_ANSWER])
    async with runs.runner():
        await runs.submit("carls", session_id="s-carl", user_id="carl")
        await runs.end("carls")
        await runs.cancel("dans")
        await runs.submit("dans", session_id="s-carl", user_id="dan")
        end = await runs.end("dans")
    assert (state(end), end.stored) == (("CANCELLED", "PENDING", None), False)
    assert await row(runs, end) is None


@pytest.mark.parametrize(
    "place", ["before the row", "before the event", "before the close", "before the ack"]
)
@pytest.mark.parametrize("where", ["running", "waiting"])
async def test_a_death_after_a_cancelled_end_is_made_good(
    runs: Runs, place: str, where: str
) -> None:
    name = f"{where}-{place.replace(' ', '-')}"
    faults = Faults()
    await runs.model.rules([ALL_WAIT])
    async with runs.runner(faults):
        if where == "waiting":
            await runs.submit(f"first-{name}", session_id=f"s-{name}")
            await runs.model.wait_for_calls(1, timeout_s=20)
        await runs.submit(name, session_id=f"s-{name}")
        if where == "waiting":
            await runs.waiting(f"s-{name}", 1)
        else:
            await runs.model.wait_for_calls(1, timeout_s=20)
        faults.planned.append(place)
        await runs.cancel(name)
        end = await runs.end(name)
        await until(met(faults), 10, "it did not die")
        if where == "waiting":
            await runs.cancel(f"first-{name}")
        await runs.free(f"s-{name}")
        await runs.drained()
    assert end.output.status == "CANCELLED"
    assert await row(runs, end) == end.output
    await ended_once(runs, name)
    assert len(await runs.model.calls()) == 1


def met(faults: Faults) -> Any:
    async def has() -> bool:
        return bool(faults.met)

    return has


async def test_an_order_after_the_end_is_decided_changes_nothing(runs: Runs) -> None:
    faults = Faults(["before the row", "before the event"])
    async with runs.runner(faults):
        await runs.submit("decided", session_id="s-decided")
        await until(met(faults), 20, "it did not die")
        await runs.cancel("decided")
        end = await runs.end("decided")
        await runs.free("s-decided")
        await runs.cancel("decided")
        await runs.submit("decided", session_id="s-decided")
        await runs.drained()
    assert end.output.status == "COMPLETED"
    await ended_once(runs, "decided")
    assert await runs.end("decided") == end


async def test_an_order_that_meets_a_drain_holds(runs: Runs) -> None:
    for number in range(8):
        name = f"drain-{number}"
        await runs.model.reset()
        await runs.model.rules([WRITER_WAITS])
        async with runs.runner(drain_s=0.0):
            await runs.submit(name, session_id=f"s-{name}")
            await runs.model.wait_for_calls(3, timeout_s=20)
            await runs.model.wait_for_ended(2, timeout_s=20)
            await until(partial(answered, runs, name, 2), 20, "the answers were not journaled")
            ordering = asyncio.create_task(runs.cancel(name))
            await asyncio.sleep(number * 0.0005)
        await ordering
        async with runs.runner():
            end = await runs.end(name)
            # The last runner may have ended it without having settled its message.
            await runs.drained()
        assert state(end) == ("CANCELLED", "EXECUTING", None)
        assert {each.status for each in end.output.member_responses} == {"COMPLETED", "CANCELLED"}
        assert len(await runs.model.calls()) == 3
        await ended_once(runs, name)


async def answered(runs: Runs, run_id: str, count: int) -> bool:
    return len((await runs.past(run_id)).answers) >= count


async def test_the_next_runner_ends_what_the_last_one_could_not(runs: Runs) -> None:
    await runs.model.rules([WRITER_WAITS])
    async with runs.runner(drain_s=0.0):
        await runs.submit("left", session_id="s-left")
        await runs.model.wait_for_calls(3, timeout_s=20)
        await until(partial(answered, runs, "left", 2), 20, "the answers were not journaled")
    await runs.cancel("left")
    await runs.nats.kill()
    await runs.nats.start()
    await connected(runs.bus)
    async with runs.runner():
        end = await runs.end("left")
    assert state(end) == ("CANCELLED", "EXECUTING", None)
    members = {each.agent_id: each.status for each in end.output.member_responses}
    assert members == {"researcher": RunStatus.COMPLETED, "writer": RunStatus.CANCELLED}
    assert len(await runs.model.calls()) == 3
    await ended_once(runs, "left")


async def test_an_order_given_after_the_bus_was_restarted_under_a_run_holds(runs: Runs) -> None:
    await runs.model.rules([ALL_WAIT])
    async with runs.runner():
        await runs.submit("restart", session_id="s-restart")
        await runs.model.wait_for_calls(1, timeout_s=20)
        await runs.nats.kill()
        await disconnected(runs.bus)
        await runs.nats.start()
        await connected(runs.bus)
        await runs.cancel("restart")
        end = await runs.end("restart")
        await all_calls_over(runs, 1)
        await runs.drained()
    assert end.output.status == "CANCELLED"
    await ended_once(runs, "restart")


async def test_a_runner_that_lost_the_run_writes_no_cancelled_end(runs: Runs) -> None:
    await runs.model.rules([ALL_WAIT])
    async with runs.runner():
        await runs.submit("lost", session_id="s-lost")
        await runs.model.wait_for_calls(1, timeout_s=20)
        first = (await runs.past("lost")).first
        assert first is not None
        theirs = await journal_of(runs.bus, "lost")
        await theirs.append(
            AttemptStarted(
                runner="another",
                request_seq=first.request_seq,
                team_id=first.team_id,
                request_digest=first.request_digest,
                at=first.at,
            )
        )
        await runs.cancel("lost")
        end = await runs.end("lost")
    assert end.output.status == "CANCELLED"
    entries = await runs.journal("lost")
    assert entries[-1].attempt not in (entries[0].attempt, theirs.attempt)
    assert [entry.attempt for entry in entries[:2]] == [entries[0].attempt, theirs.attempt]
    await ended_once(runs, "lost")


async def test_a_run_that_kills_its_runners_is_cancelled_rather_than_given_up(runs: Runs) -> None:
    for deaths in (2, 5):
        name = f"killer-{deaths}"
        await runs.dies(name, deaths)
        await runs.cancel(name)
        async with runs.runner():
            await runs.submit(name)
            end = await runs.end(name)
        assert state(end) == ("CANCELLED", "PENDING", None)
    assert await runs.letters(DESK) == []
    assert await runs.model.calls() == []


async def test_a_cancelled_run_waits_for_its_database(runs: Runs) -> None:
    faults = Faults(database_away=True)
    await runs.cancel("patient")
    async with runs.runner(faults):
        await runs.submit("patient")

        async def was_put_off() -> bool:
            return await runs.entries("patient") >= 2

        await until(was_put_off, 20, "it was not put off")
        faults.database_away = False
        end = await runs.end("patient")
    assert (state(end), end.stored) == (("CANCELLED", "PENDING", None), True)
    assert await row(runs, end) == end.output


async def test_a_cancelled_run_whose_database_stays_away_is_cancelled_unstored(runs: Runs) -> None:
    await runs.cancel("forsaken")
    async with runs.runner(Faults(database_away=True), store_give_up_s=0.5):
        await runs.submit("forsaken")
        end = await runs.end("forsaken")
    assert (state(end), end.stored) == (("CANCELLED", "PENDING", None), False)


async def test_an_order_to_another_teams_run_cancels_nothing(runs: Runs) -> None:
    await runs.model.rules([ONE_ANSWER])
    await runs.cancel("ours", team="night")
    async with runs.runner():
        await runs.submit("ours")
        assert (await runs.end("ours")).output.status == "COMPLETED"


async def frames_of(runs: Runs, run_id: str) -> list[Frame]:
    stored = await runs.stored(topology.FRAMES, subjects.frames("default", run_id))
    return [frame for each in stored for frame in decode(FrameBatch, each.data).frames]


async def test_readers_of_a_cancelled_run_hear_the_members_ends_and_one_of_the_run(
    runs: Runs,
) -> None:
    words = {"match": "You are Writer", "reply": "word " * 200, "chunk_delay_ms": 100}
    await runs.model.rules([words])

    async def writer_speaks() -> bool:
        frames = await frames_of(runs, "read")
        heard = [
            each
            for each in frames
            if each.event == "RunContent" and WRITER_SPEAKS in bytes(each.data)
        ]
        return bool(heard) and any(each.event == "RunCompleted" for each in frames)

    async with runs.runner():
        await runs.submit("read", session_id="s-read", stream=True)
        await until(writer_speaks, 20, "the writer was not heard")
        await runs.cancel("read", reason="enough")
        end = await runs.end("read")
        await runs.drained()
    frames = await frames_of(runs, "read")
    events = [frame.event for frame in frames]
    assert [events.count(name) for name in ("RunCancelled", "TeamRunCancelled")] == [1, 0]
    assert "TeamRunCompleted" not in events
    assert events.count("RunCompleted") == 1, "the researcher's"
    assert end.frames == frames[-1].event_index + 1
    writer = end.output.member_responses[-1]
    assert writer.status == "CANCELLED"
    assert str(writer.content).startswith("word")
    last = last_frame(end)
    data = msgspec.json.decode(last.data)
    assert (last.event, last.event_index, data["reason"]) == (
        "TeamRunCancelled",
        end.frames,
        "enough",
    )
    assert end.output.events is not None
    kept = [each["event"] for each in end.output.events]
    assert kept[-1] == "TeamRunCancelled"
    assert kept.count("TeamRunCancelled") == 1


async def test_a_run_cancelled_before_it_began_has_a_last_word_for_its_readers(runs: Runs) -> None:
    await runs.cancel("unread", reason="enough")
    async with runs.runner():
        await runs.submit("unread", stream=True)
        end = await runs.end("unread")
    assert await frames_of(runs, "unread") == []
    data = msgspec.json.decode(last_frame(end).data)
    assert (data["event"], data["reason"], end.frames) == ("TeamRunCancelled", "enough", 0)
    assert "content" not in data


async def test_a_cancelled_end_that_cannot_be_stored_stays_cancelled(runs: Runs) -> None:
    await runs.model.rules([ALL_WAIT])
    faults = Faults()
    async with runs.runner(faults, store_give_up_s=0.5):
        await runs.submit("unstored")
        await runs.model.wait_for_calls(1, timeout_s=20)
        faults.database_away = True
        await runs.cancel("unstored")
        end = await runs.end("unstored")
    assert (state(end), end.stored) == (("CANCELLED", "EXECUTING", None), False)
