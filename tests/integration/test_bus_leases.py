"""A lease on a real bus: one holder at a time, another soon after it is gone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from teambus.bus.leases import Candidacy, read_lease
from teambus.bus.publish import Publication, publish
from teambus.contracts import subjects
from tests.integration.bus_parts import Here, connected, here, until

LEASE_S = 0.6


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Here]:
    async with here(tmp_path) as made:
        yield made


class Impatient(Candidacy):
    """Gives up a write long before its lease runs out."""

    @property
    def _patience_s(self) -> float:
        return 0.1


def candidate(place: Here, holder: str, *, lease_s: float = LEASE_S) -> Candidacy:
    return Candidacy(place.bus, "janitor", holder, lease_s=lease_s)


@asynccontextmanager
async def standing(*candidates: Candidacy) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(each.stand()) for each in candidates]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def taken(candidacy: Candidacy) -> None:
    async with asyncio.timeout(20):
        await candidacy.taken.wait()


async def holder(place: Here) -> str | None:
    return (await read_lease(place.bus, "janitor")).record.holder


async def test_one_of_many_has_it_and_keeps_it(place: Here) -> None:
    many = [candidate(place, f"c{n}") for n in range(4)]
    async with standing(*many):
        await until(lambda: holder(place))
        first = await holder(place)
        for _ in range(20):
            await asyncio.sleep(LEASE_S / 6)
            assert sum(each.held for each in many) <= 1
        assert await holder(place) == first


async def test_another_has_it_soon_after_its_holder_died(place: Here) -> None:
    dead, heir = candidate(place, "dead"), candidate(place, "heir")
    async with standing(dead):
        await taken(dead)
        dead.notes = {"left": "behind"}
        await until(lambda: _noted(place))
    async with standing(heir):
        await taken(heir)
    assert heir.notes == {"left": "behind"}
    found = (await read_lease(place.bus, "janitor")).record
    assert (found.holder, found.term) == ("heir", 2)


async def _noted(place: Here) -> dict[str, Any]:
    return (await read_lease(place.bus, "janitor")).record.notes


async def test_a_lease_is_not_taken_while_it_is_renewed(place: Here) -> None:
    # The rival's own lease is short: what counts is what the holder wrote into the record.
    slow, quick = candidate(place, "slow", lease_s=3), candidate(place, "quick", lease_s=0.1)
    async with standing(slow):
        await taken(slow)
        async with standing(quick):
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await quick.taken.wait()
            assert not quick.taken.is_set()


async def test_a_lease_given_up_is_free_at_once(place: Here) -> None:
    leaving, heir = candidate(place, "leaving", lease_s=600), candidate(place, "heir")
    async with standing(leaving):
        await taken(leaving)
    await leaving.resign()
    assert not leaving.held
    async with standing(heir):
        await taken(heir)


async def test_a_holder_that_slept_past_its_lease_does_not_hold_it(place: Here) -> None:
    slept, heir = candidate(place, "slept"), candidate(place, "heir")
    async with standing(slept):
        await taken(slept)
    # It is not run any more, as if stopped.
    async with standing(heir):
        await taken(heir)
        assert not slept.held
        async with standing(slept):
            await asyncio.sleep(LEASE_S)
            assert heir.held
            assert not slept.held


async def test_a_record_that_nobody_can_read_is_taken_over(place: Here) -> None:
    await publish(place.bus, Publication(subjects.lease("janitor"), b"{", "junk"))
    async with standing(mine := candidate(place, "mine")):
        await taken(mine)


async def test_a_write_of_unknown_outcome_is_found_to_be_its_own(place: Here) -> None:
    async with place.linked() as (link, bus):
        mine = Impatient(bus, "janitor", "mine", lease_s=600)
        await mine._try_turn()
        written = await read_lease(place.bus, "janitor")
        link.deaf = True
        await mine._try_turn()
        link.mend()
        assert (await read_lease(place.bus, "janitor")).seq > written.seq
        await connected(bus)

        async def held() -> bool:
            await mine._try_turn()
            return mine.held

        await until(held)
