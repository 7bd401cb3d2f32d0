"""Orders to cancel, on a real bus: every runner knows them all, whatever was away meanwhile."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from nats.aio.msg import Msg

from teambus.bus import reads, topology
from teambus.bus.cancels import REASON_CHARS_MAX, CancelWatch, WatchLimits, order_cancel
from teambus.bus.connection import Bus
from teambus.bus.errors import BusUnavailable
from teambus.bus.provision import provision
from teambus.bus.publish import Publication, publish
from teambus.contracts import subjects
from teambus.contracts.control import CancelRun
from tests.integration.bus_parts import APP, Here, disconnected, here, until

NEVER_S = 3600.0


@dataclass
class Told:
    """What one runner's watch told of each run."""

    watch: CancelWatch
    reasons: dict[str, str | None] = field(default_factory=dict)

    def listen(self, run_id: str, team: str = "desk") -> None:
        def tell(reason: str | None) -> None:
            self.reasons[run_id] = reason

        self.watch.listen("default", team, run_id, tell)

    async def of(self, run_id: str) -> None:
        async def told() -> bool:
            return run_id in self.reasons

        await until(told, otherwise=f"{run_id} was not told of; {self.reasons}")

    async def check(self, run_id: str, team: str = "desk") -> bool:
        await self.watch.check("default", team, run_id)
        return run_id in self.reasons


class DeafWatch(CancelWatch):
    """Every signal is lost on its way to it."""

    async def _hear(self, message: Msg) -> None:
        del message


@asynccontextmanager
async def watching(bus: Bus, **limits: Any) -> AsyncIterator[Told]:
    watch = CancelWatch(bus, WatchLimits(**{"look_s": NEVER_S, **limits}))
    async with watch.following():
        yield Told(watch)


async def order(bus: Bus, run_id: str, *, team: str = "desk", reason: str | None = None) -> None:
    cancel = CancelRun(
        tenant="default",
        team_id=team,
        run_id=run_id,
        requested_at=time.time(),
        reason=reason,
    )
    await order_cancel(bus, cancel, source="test")


async def test_an_order_given_before_the_watch_began_is_known_at_once(tmp_path: Path) -> None:
    async with here(tmp_path) as place:
        await order(place.bus, "r-1", reason="too slow")
        async with watching(place.bus) as told:
            told.listen("r-1")
            assert told.reasons == {"r-1": "too slow"}


async def test_an_order_is_heard_as_it_is_given_and_only_by_who_listens(tmp_path: Path) -> None:
    async with here(tmp_path) as place, place.another() as other:
        async with watching(place.bus) as told, watching(other) as also:
            told.listen("r-1")
            also.listen("r-1")
            told.listen("r-2")
            await order(place.bus, "r-1")
            await asyncio.gather(told.of("r-1"), also.of("r-1"))
            told.watch.ignore("default", "desk", "r-2")
            await order(other, "r-2")
            await order(other, "r-3")
            told.listen("r-3")
            await told.of("r-3")
    assert set(told.reasons) == {"r-1", "r-3"}


async def test_an_order_to_another_teams_run_of_the_same_id_replaces_none(tmp_path: Path) -> None:
    async with here(tmp_path) as place:
        await order(place.bus, "r-1", team="desk")
        await order(place.bus, "r-1", team="night")
        async with watching(place.bus) as told:
            told.listen("r-1", team="other")
            assert told.reasons == {}
            told.listen("r-1", team="desk")
            assert told.reasons == {"r-1": None}


async def test_an_order_that_was_not_heard_is_found(tmp_path: Path) -> None:
    async with here(tmp_path) as place:
        watch = DeafWatch(place.bus, WatchLimits(look_s=0.05))
        async with watch.following():
            told = Told(watch)
            told.listen("r-1")
            await order(place.bus, "r-1")
            await told.of("r-1")


@pytest.mark.parametrize("restarted", [False, True], ids=["cut off", "bus restarted"])
async def test_an_order_given_while_the_watch_heard_nothing_is_known_before_work_goes_on(
    tmp_path: Path, restarted: bool
) -> None:
    async with here(tmp_path) as place, place.linked() as (link, bus), watching(bus) as told:
        told.listen("r-1")
        link.deaf = True
        await order(place.bus, "r-1")
        if restarted:
            await place.nats.kill()
            await place.nats.start()
        link.mend()

        async def noticed() -> bool:
            return not told.watch._current.is_set() or told.watch._outages > 0

        await until(noticed)
        assert await told.check("r-1")


async def test_a_watch_that_cannot_read_says_so_in_time(tmp_path: Path) -> None:
    async with here(tmp_path) as place, place.another(publish_patience_s=0.2) as bus:
        async with watching(bus) as told:
            await place.nats.kill()
            await disconnected(bus)
            told.watch._on_reconnect()
            with pytest.raises(BusUnavailable, match="could not be read"):
                await told.check("r-1")


async def test_a_run_costs_no_look_at_the_bus_while_the_memory_holds_all(tmp_path: Path) -> None:
    looks: list[Msg] = []

    async def note(message: Msg) -> None:
        looks.append(message)

    async with here(tmp_path) as place, place.another() as bus, watching(place.bus) as told:
        await bus.client.subscribe(f"$JS.API.STREAM.MSG.GET.{topology.CONTROL}", cb=note)
        await bus.barrier()
        assert not await told.check("unknown")
        told.listen("r-1")
        await order(place.bus, "r-1")
        await told.of("r-1")
        assert not await told.check("unknown")
        await place.bus.barrier()
        await bus.barrier()
        assert looks == []


async def test_orders_beyond_the_memory_are_still_found(tmp_path: Path) -> None:
    async with here(tmp_path) as place:
        async with watching(place.bus, orders_max=3) as told:
            for number in range(6):
                await order(place.bus, f"r-{number}")
            told.listen("r-5")
            await told.of("r-5")
            assert len(told.watch._orders) == 3
            told.listen("r-0")
            assert "r-0" not in told.reasons
            assert await told.check("r-0")
            told.listen("never")
            assert not await told.check("never")


async def test_more_orders_than_the_memory_holds_at_the_start_are_still_found(
    tmp_path: Path,
) -> None:
    async with here(tmp_path) as place:
        for number in range(6):
            await order(place.bus, f"r-{number}")
        async with watching(place.bus, orders_max=3) as told:
            assert len(told.watch._orders) == 3
            told.listen("r-0")
            assert await told.check("r-0")


async def test_what_the_bus_has_let_go_by_age_is_forgotten(tmp_path: Path) -> None:
    async with here(tmp_path, retention_s=1, duplicate_window_s=1) as place:
        async with watching(place.bus, look_s=0.1) as told:
            await order(place.bus, "r-1")

            async def known() -> bool:
                return bool(told.watch._orders)

            async def forgotten() -> bool:
                return not told.watch._orders

            await until(known)
            await until(forgotten)
            await order(place.bus, "r-2")
            told.listen("r-2")
            await told.of("r-2")


async def test_a_bus_set_up_anew_is_read_anew(tmp_path: Path) -> None:
    async with here(tmp_path) as place:
        for number in range(3):
            await order(place.bus, f"r-{number}")
        watch = DeafWatch(place.bus, WatchLimits(look_s=0.1))
        async with watch.following():
            told = Told(watch)
            await deleted(place)
            await provision(place.bus, APP, topology.TopologySettings())
            told.listen("r-9")
            await order(place.bus, "r-9")
            await told.of("r-9")
            told.listen("r-0")
            assert not await told.check("r-0")


async def deleted(place: Here) -> None:
    await reads.call(place.bus, f"$JS.API.STREAM.DELETE.{topology.CONTROL}", b"")


async def test_an_order_that_cannot_be_read_stops_nothing(tmp_path: Path) -> None:
    async with here(tmp_path) as place:
        subject = subjects.control("default", "desk", "r-0")
        await publish(place.bus, Publication(subject, b"{", "broken"))
        async with watching(place.bus) as told:
            told.listen("r-0")
            told.listen("r-1")
            await publish(place.bus, Publication(subject, b"", "empty"))
            await order(place.bus, "r-1", reason="x" * (REASON_CHARS_MAX + 1))
            await told.of("r-1")
    assert told.reasons == {"r-1": "x" * REASON_CHARS_MAX}
