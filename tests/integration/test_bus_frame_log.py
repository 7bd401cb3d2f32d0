"""Writing frames on a real nats-server."""

from pathlib import Path

import msgspec
import pytest

from teambus.bus import topology
from teambus.bus.bodies import Bodies
from teambus.bus.errors import BusUnavailable
from teambus.bus.frame_log import FrameLog
from teambus.contracts import headers as names
from teambus.contracts import subjects
from teambus.contracts.frames import Frame, FrameBatch
from tests.integration.bus_parts import Here, disconnected, here


def batch(*indexes: int, attempt: int = 7, run_id: str = "r", text: str = "x") -> FrameBatch:
    data = msgspec.Raw(msgspec.json.encode({"content": text}))
    frames = [Frame(event_index=index, event="RunContent", data=data) for index in indexes]
    return FrameBatch(
        tenant="default", team_id="desk", run_id=run_id, attempt=attempt, frames=frames
    )


def log_of(place: Here) -> FrameLog:
    return FrameLog(place.bus, Bodies(place.bus), "test")


async def test_a_repeated_batch_is_stored_once_and_the_tail_is_its_last_frame(
    tmp_path: Path,
) -> None:
    async with here(tmp_path) as place:
        log = log_of(place)
        assert await log.tail("default", "r", patience_s=10) is None
        for each in (batch(0, 1), batch(0, 1), batch(2), batch(0, run_id="s")):
            await log.publish(each, patience_s=10)

        assert len(await place.stored(topology.FRAMES, subjects.frames("default", "r"))) == 2
        assert await log.tail("default", "r", patience_s=10) == 2
        await log.publish(batch(10_000, attempt=8), patience_s=10)
        assert await log.tail("default", "r", patience_s=10) == 10_000


async def test_the_tail_may_be_larger_than_a_message(tmp_path: Path) -> None:
    async with here(tmp_path) as place:
        log = log_of(place)
        await log.publish(batch(4, text="x" * 2_000_000), patience_s=10)

        (stored,) = await place.stored(topology.FRAMES, subjects.frames("default", "r"))
        assert names.BODY in stored.headers
        assert stored.headers["ce-type"] == "dev.teambus.run.frames.v1"
        assert await log.tail("default", "r", patience_s=10) == 4


async def test_a_bus_that_is_away_is_waited_for_no_longer_than_told(tmp_path: Path) -> None:
    async with here(tmp_path) as place:
        await place.nats.kill()
        await disconnected(place.bus)
        with pytest.raises(BusUnavailable):
            await log_of(place).publish(batch(0), patience_s=0.2)
        with pytest.raises(BusUnavailable):
            await log_of(place).tail("default", "r", patience_s=0.2)
