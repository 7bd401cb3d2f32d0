"""The janitor's round by itself: taken, kept over outages and mistakes, left when told to stop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from teambus.bus.connection import connect
from teambus.bus.leases import read_lease
from teambus_team_runner.janitor.composition import janitor_of
from teambus_team_runner.janitor.janitor import Janitor
from teambus_team_runner.settings import Settings
from tests.integration.janitor_parts import said, times
from tests.integration.run_parts import QUICK, Runs, bus_settings, runs_in, until

NOBODY = "nobody"
WAIT_S = 30
BRISK: dict[str, Any] = {
    **QUICK,
    "janitor_lease_s": 1.5,
    "janitor_sweep_s": 0.1,
    "unserved_s": 0.5,
    "publish_patience_s": 10.0,
}


@pytest.fixture
async def runs(tmp_path: Path) -> AsyncIterator[Runs]:
    async with runs_in(tmp_path) as made:
        yield made


@asynccontextmanager
async def on_duty(runs: Runs, **changes: Any) -> AsyncIterator[tuple[Janitor, asyncio.Event]]:
    """One on a connection of its own, as in a runner."""
    stop = asyncio.Event()
    async with connect(bus_settings(runs.nats.url)) as bus:
        made = janitor_of(bus, Settings((runs.nats.url,), "unused", **{**BRISK, **changes}))
        async with made.on_duty(stop):
            yield made, stop


async def taken(janitor: Janitor) -> None:
    async with asyncio.timeout(WAIT_S):
        await janitor.candidacy.taken.wait()


async def holder(runs: Runs) -> str | None:
    return (await read_lease(runs.bus, "janitor")).record.holder


async def test_it_goes_on_after_the_bus_was_away(runs: Runs) -> None:
    async with on_duty(runs) as (janitor, _):
        await taken(janitor)
        await runs.nats.kill()

        async def is_lost() -> bool:
            return not janitor.candidacy.taken.is_set()

        await until(is_lost, WAIT_S, "it thinks it has the lease")
        assert not janitor.candidacy.held
        await runs.nats.start()
        await taken(janitor)
        await runs.submit("r-1", team=NOBODY)
        assert (await runs.end("r-1", team=NOBODY, wait_s=WAIT_S)).code == "unserved"


async def test_a_mistake_in_one_part_stops_neither_the_others_nor_the_next_sweep(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    with said() as entries:
        async with on_duty(runs) as (janitor, _):

            async def fail() -> None:
                raise ValueError("a mistake")

            monkeypatch.setattr(type(janitor.lag), "look", lambda _: fail())
            await taken(janitor)
            await runs.submit("r-1", team=NOBODY)
            assert (await runs.end("r-1", team=NOBODY, wait_s=WAIT_S)).code == "unserved"
    assert times(entries, "the janitor failed") >= 1


async def test_told_to_stop_it_leaves_the_lease_before_its_runner_has_drained(runs: Runs) -> None:
    async with on_duty(runs, janitor_lease_s=600.0) as (first, stop):
        await taken(first)
        stop.set()

        async def is_free() -> bool:
            return await holder(runs) is None

        await until(is_free, WAIT_S, "it kept the lease")
        async with on_duty(runs) as (second, _):
            await taken(second)


async def test_a_runner_that_ends_right_after_it_is_told_to_leaves_the_lease(runs: Runs) -> None:
    async with on_duty(runs, janitor_lease_s=600.0) as (first, stop):
        await taken(first)
        stop.set()
        for _ in range(2):
            await asyncio.sleep(0)
    assert await holder(runs) is None


async def test_a_runner_that_fails_leaves_the_lease_too(runs: Runs) -> None:
    with pytest.raises(ValueError, match="the runner failed"):
        async with on_duty(runs, janitor_lease_s=600.0) as (first, _):
            await taken(first)
            raise ValueError("the runner failed")
    assert await holder(runs) is None
