"""How much room the streams have left."""

import asyncio

import msgspec

from teambus.bus import reads, topology
from teambus.bus.connection import Bus
from teambus.bus.errors import BusRefused
from teambus.bus.publish import ApiError
from teambus.domain.room import Filling


class _Config(msgspec.Struct, frozen=True):
    max_bytes: int = -1
    discard: str = "old"


class _State(msgspec.Struct, frozen=True):
    bytes: int = 0


class _Info(msgspec.Struct, frozen=True):
    config: _Config = _Config()
    state: _State = _State()
    error: ApiError | None = None


_info = msgspec.json.Decoder(_Info)


async def fillings(bus: Bus) -> list[Filling]:
    """Of every stream, as its leader knows it."""
    return list(await asyncio.gather(*(_filling(bus, name) for name in topology.ROOM_SETTINGS)))


async def _filling(bus: Bus, name: str) -> Filling:
    reply = await reads.call(bus, f"$JS.API.STREAM.INFO.{name}", b"")
    found = _info.decode(reply.data)
    if found.error is not None:
        raise BusRefused(f"{name}: {found.error.description}", found.error.err_code)
    refuses = found.config.discard == "new"
    return Filling(name, found.state.bytes, found.config.max_bytes, refuses)
