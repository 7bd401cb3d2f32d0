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
import structlog

from teambus.bus import reads
from teambus.bus.connection import Bus
from teambus.bus.errors import BusError, StreamFull
from teambus.bus.publish import Publication, publish
from teambus.bus.topology import object_store_stream
from teambus.contracts import headers as names
from teambus.contracts.ids import token
from teambus.contracts.media import BODIES_BUCKET

log = structlog.get_logger(__name__)

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
    """Puts large bodies aside and fetches them back; files, in a bucket of their own."""

    def __init__(
        self, bus: Bus, bucket: str = BODIES_BUCKET, *, body_bytes_max: int = 64 * 1024 * 1024
    ) -> None:
        self._bus = bus
        self._bucket = bucket
        self._stream = object_store_stream(bucket)
        self._body_bytes_max = body_bytes_max

    def kept_in(self, bucket: str) -> "Bodies":
        """Those of another bucket, as a reference names it."""
        if bucket == self._bucket:
            return self
        return Bodies(self._bus, bucket, body_bytes_max=self._body_bytes_max)

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
        subject = self._chunks_subject(nuid)
        try:
            for index, chunk in enumerate(chunks):
                await publish(self._bus, Publication(subject, bytes(chunk), f"{nuid}-{index}"))
        except StreamFull:
            await self._purge(subject)
            raise
        entry = BodyEntry(
            name=name,
            bucket=self._bucket,
            nuid=nuid,
            size=len(data),
            chunks=len(chunks),
            digest=_digest(sha256),
            mtime=datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            options={"max_chunk_size": CHUNK_BYTES},
        )
        encoded = msgspec.json.encode(entry)
        rollup = {"Nats-Rollup": "sub"}
        meta = Publication(self._entry_subject(name), encoded, nuid, headers=rollup)
        await publish(self._bus, meta)

    async def forget(self, name: str) -> None:
        """Make room again: what is stored under a name is wanted by nobody. Harmless when there
        is none; not done when the bus is away, for then it goes with its age.
        """
        try:
            entry = await self.find(name)
        except BusError as error:
            log.warning("a body nobody wants stays stored", name=name, why=str(error))
            return
        if entry is not None:
            await self._purge(self._entry_subject(name))
            await self._purge(self._chunks_subject(entry.nuid))

    async def find(self, name: str) -> BodyEntry | None:
        """What is stored under a name."""
        stored = await reads.last(self._bus, self._stream, self._entry_subject(name))
        if stored is None:
            return None
        try:
            entry = _entries.decode(stored.data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BodyMissing(f"the entry of the body {name!r} is damaged: {error}") from error
        if entry.deleted:
            return None
        return msgspec.structs.replace(entry, seq=stored.seq, bucket=self._bucket)

    async def read(self, entry: BodyEntry) -> bytes:
        """The bytes of what was found. Raises `BodyMissing`."""
        if entry.size > self._body_bytes_max:
            raise BodyMissing(
                f"the body {entry.name!r} is larger than {self._body_bytes_max} bytes"
            )
        chunks = reads.history(
            self._bus,
            self._stream,
            self._chunks_subject(entry.nuid),
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

    async def _purge(self, subject: str) -> None:
        body = msgspec.json.encode({"filter": subject})
        try:
            await reads.call(self._bus, f"$JS.API.STREAM.PURGE.{self._stream}", body, patience_s=0)
        except BusError as error:
            log.warning("a body nobody wants stays stored", subject=subject, why=str(error))

    def _chunks_subject(self, nuid: str) -> str:
        return f"$O.{self._bucket}.C.{nuid}"

    def _entry_subject(self, name: str) -> str:
        return f"$O.{self._bucket}.M.{base64.urlsafe_b64encode(name.encode()).decode()}"


def _digest(sha256: bytes) -> str:
    return "SHA-256=" + base64.urlsafe_b64encode(sha256).decode()
