"""Writing the frames of a run, and where they ended."""

from dataclasses import dataclass

from teambus.bus import reads
from teambus.bus.bodies import Bodies
from teambus.bus.connection import Bus
from teambus.bus.publish import Publication, publish
from teambus.bus.topology import FRAMES
from teambus.contracts import headers as names
from teambus.contracts import subjects
from teambus.contracts.frames import FrameBatch
from teambus.contracts.ids import RunId, Tenant
from teambus.contracts.message import decode, encode


@dataclass(frozen=True, slots=True)
class FrameLog:
    """The writing end of the stream of frames. Raises `BusError`."""

    bus: Bus
    bodies: Bodies
    source: str

    @property
    def batch_bytes_max(self) -> int:
        """A batch above this is carried all the same, but read in two steps."""
        return self.bus.message_bytes_max

    async def publish(self, batch: FrameBatch, *, patience_s: float) -> None:
        """Return once it is durable. Repeated with the same first frame it is stored once."""
        msg_id = names.plain(f"{batch.run_id}:{batch.attempt}:{batch.frames[0].event_index}")
        data, headers = await self.bodies.fit(encode(batch), owner=batch.run_id)
        headers |= names.cloud_event(msg_id, str(FrameBatch.__struct_config__.tag), self.source)
        subject = subjects.frames(batch.tenant, batch.run_id)
        message = Publication(subject, data, msg_id, headers=headers)
        await publish(self.bus, message, patience_s=patience_s)

    async def tail(self, tenant: Tenant, run_id: RunId, *, patience_s: float) -> int | None:
        """The number of the last frame; None without any. Raises `MalformedMessage`, too.

        A leader of old would have numbers given out twice, so it must be confirmed.
        """
        await reads.confirm(self.bus, FRAMES, patience_s=patience_s)
        subject = subjects.frames(tenant, run_id)
        stored = await reads.last(self.bus, FRAMES, subject, patience_s=patience_s)
        if stored is None:
            return None
        batch = decode(FrameBatch, await self.bodies.load(stored.data, stored.headers))
        return batch.frames[-1].event_index
