"""The past delivered to one hook again: all that it wants, no other hook, once for each replay."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from teambus.bus import reads
from teambus.bus.bodies import Bodies
from teambus.bus.hook_replay import HookReplay, Pace, Stretch
from teambus.bus.provision import provision
from teambus.bus.topology import REDRIVE, TopologySettings
from teambus.contracts.hook import DeadLetter, HookOutcome, delivery_id
from teambus.contracts.output import RunStatus
from tests.integration.hook_parts import TENANT, Ground, completed, ground

FAST = Pace(per_second_max=1000, pending_max=1000)


@pytest.fixture
async def on(tmp_path: Path) -> AsyncIterator[Ground]:
    async with ground(tmp_path) as made:
        yield made


def replay(on: Ground, id_: str = "p1", hook: str = "first") -> HookReplay:
    return HookReplay(on.bus, Bodies(on.bus), on.hook(hook), id_=id_, source="test")


def stretch(**changes: Any) -> Stretch:
    given: dict[str, Any] = {
        "tenant": TENANT,
        "teams": ["desk"],
        "since": 0.0,
        "until": time.time() + 60,
    }
    return Stretch(**(given | changes))


async def made(on: Ground, id_: str = "p1", hook: str = "first", **changes: Any) -> dict[str, str]:
    """What a replay said of each run."""
    told = replay(on, id_, hook).make(stretch(**changes), FAST)
    return {run: said async for run, said in told}


async def redriven(on: Ground) -> int:
    return (await reads.bounds(on.bus, REDRIVE)).last_seq


async def recorded(on: Ground, run: str, state: Any, **changes: Any) -> None:
    outcome = HookOutcome(
        delivery_id=delivery_id(TENANT, "first", run),
        tenant=TENANT,
        team_id="desk",
        run_id=run,
        hook="first",
        state=state,
        **{"attempt": 1, "at": 1, **changes},
    )
    assert await on.events.note_outcome(outcome)


async def test_a_replay_tells_its_hook_of_every_run_again_and_no_other_hook(on: Ground) -> None:
    await on.started()
    for n in range(3):
        await on.complete(f"r{n}")
    await on.settled("first", "second", "plain")
    assert await made(on) == {"r0": "replay", "r1": "replay", "r2": "replay"}
    await on.settled("first", "second", "plain")
    for n in range(3):
        done = await on.outcome("first", f"r{n}")
        assert done is not None
        assert (done.state, done.generation, done.replay) == ("delivered", 1, "p1")
        assert len(on.story(hook="first", run=f"r{n}")) == 2
        assert len(on.story(hook="second", run=f"r{n}")) == 1
    assert len({line["id"] for line in on.story(hook="first", run="r0")}) == 1


async def test_a_replay_that_was_killed_is_gone_on_with_and_asks_for_nothing_twice(
    on: Ground,
) -> None:
    for n in range(4):
        await on.complete(f"r{n}")
        await recorded(on, f"r{n}", "delivered")
    killed = replay(on).make(stretch(), FAST)
    assert [await anext(killed) for _ in range(2)] == [("r0", "replay"), ("r1", "replay")]
    await killed.aclose()  # type: ignore[attr-defined]  # it is a generator
    assert await made(on) == {"r0": "asked", "r1": "asked", "r2": "replay", "r3": "replay"}
    assert await redriven(on) == 4
    await on.started()
    await on.settled("first")
    assert set((await made(on)).values()) == {"asked"}
    assert set((await made(on, "another")).values()) == {"replay"}


async def test_what_is_still_being_delivered_is_left_out(on: Ground) -> None:
    for run in ("waits", "retries", "redriven", "delivered", "dead"):
        await on.complete(run)
    await recorded(on, "retries", "failed", retry_at=time.time() + 60)
    await recorded(on, "redriven", "redriven", generation=1)
    await recorded(on, "delivered", "delivered")
    await recorded(on, "dead", "dead")
    assert await made(on) == {
        "waits": "under way",
        "retries": "under way",
        "redriven": "under way",
        "delivered": "replay",
        "dead": "replay",
    }


async def test_a_hook_that_is_new_hears_of_the_past(on: Ground) -> None:
    await on.complete("r1")
    late = msgspec.structs.replace(on.hook("first"), name="late")
    app = msgspec.structs.replace(on.app, hooks=[*on.app.hooks, late])
    await provision(on.bus, app, TopologySettings())
    on.app = app
    await on.complete("r2")
    assert await made(on, hook="late") == {"r1": "replay", "r2": "under way"}


async def test_the_letter_of_what_is_replayed_goes(on: Ground) -> None:
    await on.complete("r1")
    await recorded(on, "r1", "dead")
    letter = DeadLetter(
        id=delivery_id(TENANT, "first", "r1"),
        about="hook",
        name="first",
        tenant=TENANT,
        reason="x",
        died_at=1,
    )
    await on.events.bury(letter)
    assert await made(on) == {"r1": "replay"}
    assert await on.letter("first", "r1") is None


async def test_only_what_the_hook_wants_of_those_teams_and_that_time_is_replayed(
    on: Ground,
) -> None:
    ended_at = time.time()
    for n in range(3):
        event = msgspec.structs.replace(completed(f"r{n}", content="{}"), completed_at=ended_at + n)
        await on.events.complete(event)
        await recorded(on, f"r{n}", "delivered")
    await on.events.complete(completed("failed", status=RunStatus.ERROR))
    await on.events.complete(completed("night", team="night"))
    found = replay(on).look(stretch(since=ended_at + 1, until=ended_at + 2))
    assert [run async for run, _ in found] == ["r1"]
    assert [run async for run, _ in replay(on).look(stretch(teams=["night"]))] == []
    assert len([run async for run, _ in replay(on).look(stretch(teams=["desk", "night"]))]) == 3
    assert await redriven(on) == 0, "looking changes nothing"
    assert [run async for run, _ in replay(on).look(stretch(since=time.time() + 900))] == []


async def test_a_replay_keeps_to_its_pace(on: Ground) -> None:
    for n in range(4):
        await on.complete(f"r{n}")
        await recorded(on, f"r{n}", "delivered")
    began = time.monotonic()
    async for _ in replay(on).make(stretch(), Pace(per_second_max=10, pending_max=1000)):
        pass
    assert time.monotonic() - began >= 0.3


async def test_a_replay_waits_while_too_much_is_asked_for_and_not_delivered(on: Ground) -> None:
    for n in range(2):
        await on.complete(f"r{n}")
        await recorded(on, f"r{n}", "delivered")
    await made(on, "before", since=0.0)
    await on.complete("last")
    await recorded(on, "last", "delivered")

    async def patient() -> None:
        async for _ in replay(on).make(stretch(), Pace(per_second_max=1000, pending_max=2)):
            pass

    waiting = asyncio.create_task(patient())
    done, _ = await asyncio.wait({waiting}, timeout=1)
    assert not done
    assert await redriven(on) == 2
    await on.started()
    await asyncio.wait_for(waiting, 30)
    await on.stands_in("first", "last", "delivered", 1)
