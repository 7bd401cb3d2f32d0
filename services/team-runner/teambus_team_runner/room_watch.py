"""Streams that fill up: said once when one does, with what to change, and once when it is over."""

from dataclasses import dataclass

import structlog
from prometheus_client import Gauge

from teambus.bus import room
from teambus.bus.connection import Bus
from teambus.bus.topology import ROOM_SETTINGS
from teambus.domain.room import Filling, filling_up

log = structlog.get_logger(__name__)

BYTES = Gauge("teambus_stream_bytes", "What a stream holds", ["stream"])
BYTES_MAX = Gauge("teambus_stream_bytes_max", "What it may hold", ["stream"])


@dataclass(slots=True)
class RoomWatch:
    """Looks at every stream; `share_max` is how full one may be before somebody should know."""

    bus: Bus
    share_max: float
    filling: frozenset[str] = frozenset()

    async def look(self) -> None:
        seen = await room.fillings(self.bus)
        for each in seen:
            BYTES.labels(each.stream).set(each.held_bytes)
            BYTES_MAX.labels(each.stream).set(each.bytes_max)
        before = self.filling
        self.filling = filling_up(seen, before, share_max=self.share_max)
        for each in seen:
            if each.stream in self.filling - before:
                _warn(each)
            elif each.stream in before - self.filling:
                log.info("a stream has room again", stream=each.stream)


def show_nothing() -> None:
    """Take the figures back: another process looks from now on."""
    BYTES.clear()
    BYTES_MAX.clear()


def _warn(filling: Filling) -> None:
    log.warning(
        "a stream fills up; full, it takes no more",
        stream=filling.stream,
        full_percent=round(100 * filling.share),
        held_bytes=filling.held_bytes,
        bytes_max=filling.bytes_max,
        raise_and_provision=ROOM_SETTINGS[filling.stream],
    )
