"""How much room the streams have left."""

import asyncio

from teambus.bus import survey, topology
from teambus.bus.connection import Bus
from teambus.bus.survey import StreamSeen
from teambus.domain.room import Filling

ROOM_SETTINGS = {
    topology.REQUESTS: "TOPOLOGY_REQUESTS_BYTES_MAX",
    topology.EVENTS: "TOPOLOGY_EVENTS_BYTES_MAX",
    topology.JOURNAL: "TOPOLOGY_JOURNAL_BYTES_MAX",
    topology.FRAMES: "TOPOLOGY_FRAMES_BYTES_MAX",
    topology.CONTROL: "TOPOLOGY_SMALL_BYTES_MAX",
    topology.SESSIONS: "TOPOLOGY_SMALL_BYTES_MAX",
    topology.HOOKS: "TOPOLOGY_SMALL_BYTES_MAX",
    topology.DEAD: "TOPOLOGY_SMALL_BYTES_MAX",
    topology.LEASES: "TOPOLOGY_SMALL_BYTES_MAX",
    topology.REDRIVE: "TOPOLOGY_REDRIVE_BYTES_MAX",
    topology.CATALOGUE: "TOPOLOGY_SMALL_BYTES_MAX",
    topology.BODIES: "TOPOLOGY_BODIES_BYTES_MAX",
    topology.FILES: "TOPOLOGY_FILES_BYTES_MAX",
}
"""Every stream, and the setting that says how much it may hold."""


async def fillings(bus: Bus) -> list[Filling]:
    """Of every stream that is there, as its leader knows it."""
    seen = await asyncio.gather(*(survey.stream(bus, name) for name in ROOM_SETTINGS))
    found = zip(ROOM_SETTINGS, seen, strict=True)
    return [filling(name, each) for name, each in found if each is not None]


def filling(name: str, seen: StreamSeen) -> Filling:
    refuses = seen.config.get("discard") == "new"
    return Filling(name, seen.state.bytes, int(seen.config.get("max_bytes", -1)), refuses)
