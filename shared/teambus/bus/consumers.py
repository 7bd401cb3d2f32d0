"""How far a durable consumer has come."""

from dataclasses import dataclass

import msgspec

from teambus.bus import reads
from teambus.bus.connection import Bus
from teambus.bus.errors import BusRefused
from teambus.bus.publish import ApiError


@dataclass(frozen=True, slots=True)
class Progress:
    """`settled_seq`: of what a consumer is for, nothing up to this sequence is left to deliver.
    `unsettled` waits or is in hand.
    """

    settled_seq: int
    unsettled: int


class _Floor(msgspec.Struct, frozen=True):
    stream_seq: int = 0


class _Info(msgspec.Struct, frozen=True):
    ack_floor: _Floor = _Floor()
    num_pending: int = 0
    num_ack_pending: int = 0
    error: ApiError | None = None


_info = msgspec.json.Decoder(_Info)


async def progress(bus: Bus, stream: str, name: str) -> Progress:
    """Raises `BusRefused` when there is no such consumer."""
    reply = await reads.call(bus, f"$JS.API.CONSUMER.INFO.{stream}.{name}", b"")
    info = _info.decode(reply.data)
    if info.error is not None:
        raise BusRefused(f"consumer {name}: {info.error.description}", info.error.err_code)
    return Progress(info.ack_floor.stream_seq, info.num_pending + info.num_ack_pending)
