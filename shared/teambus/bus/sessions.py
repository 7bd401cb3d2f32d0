"""Session records: read and replaced by compare-and-set."""

from dataclasses import dataclass

from teambus.bus import reads
from teambus.bus.connection import Bus
from teambus.bus.errors import WrongLastSequence
from teambus.bus.publish import Publication, publish
from teambus.bus.topology import SESSIONS
from teambus.contracts import subjects
from teambus.contracts.ids import SessionId, Tenant, new_id
from teambus.contracts.message import decode, encode
from teambus.contracts.session import SessionRecord


@dataclass(frozen=True, slots=True)
class Seen:
    """A session record and where it stood when it was read (0 = never written)."""

    record: SessionRecord
    seq: int


def unwritten(tenant: Tenant, session_id: SessionId) -> Seen:
    """The record of a session that no run has opened."""
    return Seen(SessionRecord(tenant=tenant, session_id=session_id), 0)


@dataclass(frozen=True, slots=True)
class Sessions:
    """The session records on the bus."""

    bus: Bus

    async def read(self, tenant: Tenant, session_id: SessionId) -> Seen:
        stored = await reads.last(self.bus, SESSIONS, subjects.session(tenant, session_id))
        if stored is None:
            return unwritten(tenant, session_id)
        return Seen(decode(SessionRecord, stored.data), stored.seq)

    async def replace(self, seen: Seen, record: SessionRecord) -> Seen | None:
        """Write `record` if nobody wrote since `seen`; None means read again and decide anew."""
        subject = subjects.session(record.tenant, record.session_id)
        nonce = new_id()
        try:
            message = Publication(subject, encode(record), nonce, after=seen.seq)
            return Seen(record, (await publish(self.bus, message)).seq)
        except WrongLastSequence:
            tail = await reads.last(self.bus, SESSIONS, subject)
            mine = tail is not None and tail.headers.get("Nats-Msg-Id") == nonce
            return Seen(record, tail.seq) if tail is not None and mine else None
