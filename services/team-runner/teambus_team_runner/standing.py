"""Whether what a team-runner stands on is as it should be: the bus, its streams, the databases."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from teambus.bus import topology
from teambus.bus.connection import Bus
from teambus.bus.provision import Consumer, mismatch
from teambus.runtime.management import Readiness
from teambus.runtime.watch import Watch
from teambus_team_runner.databases import Databases
from teambus_team_runner.settings import Settings

STREAMS = tuple(each["name"] for each in topology.streams(topology.TopologySettings()))


@dataclass(frozen=True, slots=True)
class Ground:
    """What is looked at."""

    bus: Bus
    pool: Consumer
    databases: Databases
    stop: asyncio.Event


@asynccontextmanager
async def told_of(readiness: Readiness, ground: Ground, settings: Settings) -> AsyncIterator[None]:
    """Have it told by `/readyz` while the block runs."""
    bus, stop = ground.bus, ground.stop
    look = partial(mismatch, bus, STREAMS, [(ground.pool.stream, ground.pool.name)])
    streams = Watch("topology", look, look_s=settings.topology_look_s)
    database = Watch("database", ground.databases.unreachable, look_s=settings.store_look_s)
    async with streams.looking(), database.looking():
        readiness.checks = {
            "bus": lambda: None if bus.connected else "not connected to the bus",
            "topology": lambda: streams.reason,
            "database": lambda: database.reason,
            "permissions": lambda: bus.violation,
            "draining": lambda: "draining" if stop.is_set() else None,
        }
        yield
