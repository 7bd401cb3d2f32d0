"""How far a durable consumer has come."""

from dataclasses import dataclass

from teambus.bus import server_api
from teambus.bus.connection import Bus


@dataclass(frozen=True, slots=True)
class Progress:
    """`settled_seq`: of what a consumer is for, nothing up to this sequence is left to deliver.
    `unsettled` waits or is in hand.
    """

    settled_seq: int
    unsettled: int


async def progress(bus: Bus, stream: str, name: str) -> Progress:
    """Raises `BusRefused` when there is no such consumer."""
    seen = await server_api.ask(bus, f"CONSUMER.INFO.{stream}.{name}")
    unsettled = seen["num_pending"] + seen["num_ack_pending"]
    return Progress(seen["ack_floor"]["stream_seq"], unsettled)
