"""How much room the streams have left."""

import asyncio

from teambus.bus import survey
from teambus.bus.connection import Bus
from teambus.bus.survey import StreamSeen
from teambus.bus.topology import ROOM_SETTINGS
from teambus.domain.room import Filling


async def fillings(bus: Bus) -> list[Filling]:
    """Of every stream, as its leader knows it."""
    seen = await asyncio.gather(*(survey.stream(bus, name) for name in ROOM_SETTINGS))
    return [filling(name, each) for name, each in zip(ROOM_SETTINGS, seen, strict=True)]


def filling(name: str, seen: StreamSeen) -> Filling:
    refuses = seen.config.get("discard") == "new"
    return Filling(name, seen.state.bytes, int(seen.config.get("max_bytes", -1)), refuses)
