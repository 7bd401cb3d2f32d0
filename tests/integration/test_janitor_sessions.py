"""Sessions that a vanished run holds are freed though nobody waits; late work is told of once."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from teambus.app.describe import describe
from teambus.bus import topology
from teambus.bus.leases import read_lease
from teambus.bus.provision import provision
from teambus.contracts.catalogue import HookDescription
from teambus.contracts.output import RunStatus, TeamRunOutput
from teambus.contracts.run import RunCompleted
from teambus.contracts.session import SessionClaim
from tests.integration.janitor_parts import another, claimed, janitor, said, swept, times
from tests.integration.run_parts import ACK_WAIT_S, DESK, Runs, runs_in, until

ORPHAN_AFTER_S = 0.5  # as QUICK has it


@pytest.fixture
async def runs(tmp_path: Path) -> AsyncIterator[Runs]:
    async with runs_in(tmp_path) as made:
        yield made


def claim(run_id: str, seq: int) -> SessionClaim:
    return SessionClaim(run_id=run_id, team_id=DESK, request_seq=seq)


async def ended(runs: Runs, run_id: str) -> RunCompleted:
    output = TeamRunOutput(
        run_id=run_id,
        team_id=DESK,
        session_id=run_id,
        status=RunStatus.COMPLETED,
        created_at=1,
        content_type="str",
        member_responses=[],
    )
    event = RunCompleted(
        event_id=f"default:{DESK}:{run_id}:completed",
        tenant="default",
        team_id=DESK,
        run_id=run_id,
        session_id=run_id,
        output=output,
        completed_at=1.0,
    )
    await runs.events.complete(event)
    return event


async def test_a_holder_that_ended_is_cleared_though_nobody_waits(runs: Runs) -> None:
    sweeper = await janitor(runs)
    await claimed(runs, sweeper, "s-1", claim("gone", 999))
    event = await ended(runs, "gone")

    async def free() -> bool:
        await sweeper.sweep()
        return await runs.is_free("s-1")

    await until(free, 20, "s-1 is held")
    assert await runs.events.completed("default", DESK, "gone") == event


async def test_a_holder_whose_request_is_gone_is_ended_first(runs: Runs) -> None:
    sweeper = await janitor(runs)
    await claimed(runs, sweeper, "s-1", claim("orphan", 999))

    async def free() -> bool:
        await sweeper.sweep()
        return await runs.is_free("s-1")

    await until(free, 20, "s-1 is held")
    assert (await runs.end("orphan")).code == "orphaned"


async def test_one_look_is_not_enough_to_call_a_run_gone(runs: Runs) -> None:
    sweeper = await janitor(runs, orphan_after_s=600.0)
    await claimed(runs, sweeper, "s-1", claim("orphan", 999))
    sweeper.orphans.orphan_after_s = 0
    await swept(sweeper, 1)
    assert not await runs.is_free("s-1")
    assert await runs.events.completed("default", DESK, "orphan") is None


async def test_a_holder_whose_request_is_in_the_queue_keeps_its_session(runs: Runs) -> None:
    sweeper = await janitor(runs, unserved_s=600.0)
    seq = await runs.submit("r-1", session_id="s-1")
    await claimed(runs, sweeper, "s-1", claim("r-1", seq))
    await swept(sweeper, 4 * ORPHAN_AFTER_S)
    assert not await runs.is_free("s-1")


async def test_a_sweep_looks_at_so_many_and_the_next_goes_on_from_there(runs: Runs) -> None:
    sweeper = await janitor(runs, janitor_looks_max=2, orphan_after_s=0.0, unserved_s=600.0)
    for number in range(4):
        seq = await runs.submit(f"r-{number}")
        await claimed(runs, sweeper, f"s-{number}", claim(f"r-{number}", seq))
    await claimed(runs, sweeper, "s-late", claim("over", 999))
    await ended(runs, "over")
    for _ in range(2):
        await sweeper.sweep()
        assert not await runs.is_free("s-late")
    await sweeper.sweep()
    assert await runs.is_free("s-late")
    for number in range(4):
        assert not await runs.is_free(f"s-{number}")


async def test_a_session_record_that_cannot_be_read_stops_no_sweep(runs: Runs) -> None:
    sweeper = await janitor(runs)
    await runs.bus.client.jetstream().publish("teambus.v1.session.default.junk", b"{")
    await claimed(runs, sweeper, "s-1", claim("orphan", 999))

    async def free() -> bool:
        await sweeper.sweep()
        return await runs.is_free("s-1")

    await until(free, 20, "s-1 is held")


async def test_late_work_is_told_of_once_by_name_and_its_end_too(runs: Runs) -> None:
    app = describe(runs.app)
    hook = HookDescription(name="note", app=app.id, function="note", teams=[DESK])
    hooked = msgspec.structs.replace(app, hooks=[hook])
    await provision(runs.bus, hooked, topology.TopologySettings(ack_wait_s=ACK_WAIT_S))
    sweeper = await janitor(runs, unserved_s=600.0, lag_messages_max=2)
    with said() as entries:
        for number in range(3):
            await runs.submit(f"r-{number}")
            await ended(runs, f"e-{number}")
        await swept(sweeper, 0.5)
        late = [each for each in entries if each["event"] == "work waits too long"]
        assert {each["consumer"]: each["pending"] for each in late} == {"pool_news": 3, "note": 3}
        assert len(late) == 2
        assert all(waiting.oldest_s > 0 for waiting in sweeper.lag.seen)
        await runs.model.rules([{"match": "", "reply": "Done."}])
        async with runs.runner():
            await runs.drained()
            await sweeper.sweep()
        assert times(entries, "work no longer waits too long") == 1


async def test_the_age_of_waiting_work_is_an_alarm_too(runs: Runs) -> None:
    sweeper = await janitor(runs, unserved_s=600.0, lag_age_max_s=0.2)
    await runs.submit("r-1")
    with said() as entries:

        async def told() -> bool:
            await sweeper.sweep()
            return times(entries, "work waits too long") == 1

        await until(told, 20, "nothing was said")


async def test_the_lease_says_who_is_the_janitor(runs: Runs) -> None:
    first = await janitor(runs)
    assert (await read_lease(runs.bus, "janitor")).record.term == 1
    await another(runs, first)
    assert (await read_lease(runs.bus, "janitor")).record.term == 2
