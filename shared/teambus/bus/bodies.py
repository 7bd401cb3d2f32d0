"""Bodies too large for a message: kept in a NATS object store, named by a header.

Written in the layout of the standard object store, so any NATS client can read one by name.
Chunks are read one by one: the client's own reader needs a push consumer.
"""

import base64
import hashlib
import uuid
from datetime import UTC, datetime
from typing import Any

import msgspec

from teambus.bus import reads
from teambus.bus.connection import Bus
from teambus.bus.errors import BusError
from teambus.bus.publish import Publication, publish
from teambus.bus.topology import BODIES
from teambus.contracts import headers as names
from teambus.contracts.ids import token
from teambus.contracts.media import BODIES_BUCKET

CHUNK_BYTES = 128 * 1024


class BodyMissing(BusError):
    """a body in the store of large bodies is gone or damaged"""


class BodyTooLarge(BusError):
    """more than the store of large bodies takes"""


class BodyEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the store knows of a body, in the words of the standard object store."""

    name: str
    nuid: str
    size: int
    digest: str
    bucket: str = ""
    chunks: int = 0
    mtime: str = ""
    options: dict[str, Any] | None = None
    deleted: bool = False
    seq: int = 0


_entries = msgspec.json.Decoder(BodyEntry)


class Bodies:
    """Puts large bodies aside and fetches them back."""

    def __init__(self, bus: Bus, *, body_bytes_max: int = 64 * 1024 * 1024) -> None:
        self._bus = bus
        self._body_bytes_max = body_bytes_max

    async def fit(self, data: bytes, *, owner: str) -> tuple[bytes, dict[str, str]]:
        """A body small enough to publish and the headers to go with it; `owner` is its run."""
        if len(data) <= self._bus.message_bytes_max:
            return data, {}
        if len(data) > self._body_bytes_max:
            raise BodyTooLarge(f"a body of {len(data)} bytes; at most {self._body_bytes_max}")
        sha256 = hashlib.sha256(data)
        name = f"{token(owner)}/{sha256.hexdigest()}"
        await self.put(name, data, sha256.digest())
        return b"", {names.BODY: name}

    async def load(self, data: bytes, headers: dict[str, str]) -> bytes:
        """The body a message stands for: its own data, or the one its header names."""
        name = headers.get(names.BODY)
        return data if name is None else await self._get(name)

    async def put(self, name: str, data: bytes | memoryview, sha256: bytes) -> None:
        """Store a body under a name made from its content, unless it is there already.

        Chunks first, then the entry that makes them visible: a cut leaves nothing half-seen.
        """
        if await self.find(name) is not None:
            return
        nuid = uuid.uuid4().hex[:22]
        chunks = [data[i : i + CHUNK_BYTES] for i in range(0, len(data), CHUNK_BYTES)]
        for index, chunk in enumerate(chunks):
            subject = f"$O.{BODIES_BUCKET}.C.{nuid}"
            await publish(self._bus, Publication(subject, bytes(chunk), f"{nuid}-{index}"))
        entry = BodyEntry(
            name=name,
            bucket=BODIES_BUCKET,
            nuid=nuid,
            size=len(data),
            chunks=len(chunks),
            digest=_digest(sha256),
            mtime=datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            options={"max_chunk_size": CHUNK_BYTES},
        )
        encoded = msgspec.json.encode(entry)
        meta = Publication(_meta_subject(name), encoded, nuid, headers={"Nats-Rollup": "sub"})
        await publish(self._bus, meta)

    async def find(self, name: str) -> BodyEntry | None:
        """What is stored under a name."""
        stored = await reads.last(self._bus, BODIES, _meta_subject(name))
        if stored is None:
            return None
        try:
            entry = _entries.decode(stored.data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BodyMissing(f"the entry of the body {name!r} is damaged: {error}") from error
        return None if entry.deleted else msgspec.structs.replace(entry, seq=stored.seq)

    async def read(self, entry: BodyEntry) -> bytes:
        """The bytes of what was found. Raises `BodyMissing`."""
        if entry.size > self._body_bytes_max:
            raise BodyMissing(
                f"the body {entry.name!r} is larger than {self._body_bytes_max} bytes"
            )
        chunks = reads.history(
            self._bus,
            BODIES,
            f"$O.{BODIES_BUCKET}.C.{entry.nuid}",
            until=entry.seq,
            messages_max=entry.chunks + 1,
        )
        data = b"".join([chunk.data async for chunk in chunks])
        if _digest(hashlib.sha256(data).digest()) != entry.digest:
            raise BodyMissing(f"the body {entry.name!r} is damaged")
        return data

    async def _get(self, name: str) -> bytes:
        entry = await self.find(name)
        if entry is None:
            raise BodyMissing(f"the body {name!r} is no longer stored")
        return await self.read(entry)


def _meta_subject(name: str) -> str:
    return f"$O.{BODIES_BUCKET}.M.{base64.urlsafe_b64encode(name.encode()).decode()}"


def _digest(sha256: bytes) -> str:
    return "SHA-256=" + base64.urlsafe_b64encode(sha256).decode()
