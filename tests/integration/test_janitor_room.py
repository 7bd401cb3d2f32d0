"""A stream that fills up is told of before it is full, once, and when it is over."""

from pathlib import Path
from typing import Any

from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from teambus.bus import room, topology
from teambus.bus.publish import Publication, publish
from teambus.bus.reads import call
from teambus.contracts import subjects
from teambus_team_runner.janitor import metrics
from teambus_team_runner.janitor.room import RoomWatch
from tests.integration.bus_parts import Here, here
from tests.integration.janitor_parts import janitor, said, times
from tests.integration.run_parts import runs_in

KIB = 1024
DEAD = {"stream": topology.DEAD}


async def fill(place: Here, count: int, *, begin: int = 0) -> None:
    """As many KiB of dead letters."""
    for number in range(begin, begin + count):
        subject = subjects.dead("default", "hook", "note", str(number))
        await publish(place.bus, Publication(subject, b"x" * 900, f"letter-{number}"))


async def seen(watch: RoomWatch) -> list[dict[str, Any]]:
    with capture_logs() as logs:
        await watch.look()
    return [dict(line) for line in logs]


async def test_a_stream_that_fills_up_is_told_of_once_and_when_it_is_over(tmp_path: Path) -> None:
    async with here(tmp_path, small_bytes_max=100 * KIB) as place:
        watch = RoomWatch(place.bus, 0.7)
        await fill(place, 40)
        assert await seen(watch) == []
        await fill(place, 40, begin=40)
        [warning] = await seen(watch)
        assert (warning["log_level"], warning["stream"]) == ("warning", topology.DEAD)
        assert 70 <= warning["full_percent"] < 100
        assert warning["raise_and_provision"] == "TOPOLOGY_SMALL_BYTES_MAX"
        assert await seen(watch) == []
        await call(place.bus, f"$JS.API.STREAM.PURGE.{topology.DEAD}", b"")
        [over] = await seen(watch)
        assert (over["event"], over["stream"]) == ("a stream has room again", topology.DEAD)


async def test_the_janitor_looks_in_each_sweep_and_shows_the_figures(tmp_path: Path) -> None:
    async with runs_in(tmp_path) as runs:
        on_duty = await janitor(runs, room_percent_max=0)
        with said() as entries:
            await on_duty.sweep()
            await on_duty.sweep()
        refusing = len(room.ROOM_SETTINGS) - 1  # Of frames the oldest go.
        assert times(entries, "a stream fills up; full, it takes no more") == refusing
        held = REGISTRY.get_sample_value("teambus_stream_bytes_max", DEAD)
        assert held == topology.TopologySettings().small_bytes_max
        metrics.show_nothing()
        assert REGISTRY.get_sample_value("teambus_stream_bytes_max", DEAD) is None
