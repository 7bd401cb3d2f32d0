"""Streams that fill up: said once when one does, with what to change, and once when it is over."""

from dataclasses import dataclass, field

import structlog

from teambus.bus import room
from teambus.bus.connection import Bus
from teambus.domain.room import Filling, filling_up

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class RoomWatch:
    """Looks at every stream; `share_max` is how full one may be before somebody should know."""

    bus: Bus
    share_max: float
    seen: list[Filling] = field(default_factory=list)
    _filling: frozenset[str] = frozenset()

    async def look(self) -> None:
        self.seen = await room.fillings(self.bus)
        before = self._filling
        self._filling = filling_up(self.seen, before, share_max=self.share_max)
        for each in self.seen:
            if each.stream in self._filling - before:
                _warn(each)
            elif each.stream in before - self._filling:
                log.info("a stream has room again", stream=each.stream)


def _warn(filling: Filling) -> None:
    log.warning(
        "a stream fills up; full, it takes no more",
        stream=filling.stream,
        full_percent=round(100 * filling.share),
        held_bytes=filling.held_bytes,
        bytes_max=filling.bytes_max,
        raise_and_provision=room.ROOM_SETTINGS[filling.stream],
    )
