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
from teambus.bus.topology import BODIES, BODIES_BUCKET
from teambus.contracts import headers as names
from teambus.contracts.ids import token

CHUNK_BYTES = 128 * 1024


class BodyMissing(BusError):
    """a body in the store of large bodies is gone or damaged"""


class BodyTooLarge(BusError):
    """more than the store of large bodies takes"""


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
        name = f"{token(owner)}/{hashlib.sha256(data).hexdigest()}"
        if await reads.last(self._bus, BODIES, _meta_subject(name)) is None:
            await self._put(name, data)
        return b"", {names.BODY: name}

    async def load(self, data: bytes, headers: dict[str, str]) -> bytes:
        """The body a message stands for: its own data, or the one its header names."""
        name = headers.get(names.BODY)
        return data if name is None else await self._get(name)

    async def _put(self, name: str, data: bytes) -> None:
        """Chunks first, then the entry that makes them visible: a cut leaves nothing half-seen."""
        nuid = uuid.uuid4().hex[:22]
        chunks = [data[i : i + CHUNK_BYTES] for i in range(0, len(data), CHUNK_BYTES)]
        for index, chunk in enumerate(chunks):
            subject = f"$O.{BODIES_BUCKET}.C.{nuid}"
            await publish(self._bus, Publication(subject, chunk, f"{nuid}-{index}"))
        entry = msgspec.json.encode(_entry(name, nuid, data, len(chunks)))
        meta = Publication(_meta_subject(name), entry, nuid, headers={"Nats-Rollup": "sub"})
        await publish(self._bus, meta)

    async def _get(self, name: str) -> bytes:
        entry = await reads.last(self._bus, BODIES, _meta_subject(name))
        if entry is None:
            raise BodyMissing(f"the body {name!r} is no longer stored")
        info: dict[str, Any] = msgspec.json.decode(entry.data)
        if info["size"] > self._body_bytes_max:
            raise BodyMissing(f"the body {name!r} is larger than {self._body_bytes_max} bytes")
        chunks = reads.history(
            self._bus,
            BODIES,
            f"$O.{BODIES_BUCKET}.C.{info['nuid']}",
            until=entry.seq,
            messages_max=info["chunks"] + 1,
        )
        data = b"".join([chunk.data async for chunk in chunks])
        if _digest(data) != info["digest"]:
            raise BodyMissing(f"the body {name!r} is damaged")
        return data


def _meta_subject(name: str) -> str:
    return f"$O.{BODIES_BUCKET}.M.{base64.urlsafe_b64encode(name.encode()).decode()}"


def _digest(data: bytes) -> str:
    return "SHA-256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode()


def _entry(name: str, nuid: str, data: bytes, chunks: int) -> dict[str, Any]:
    return {
        "name": name,
        "bucket": BODIES_BUCKET,
        "nuid": nuid,
        "size": len(data),
        "chunks": chunks,
        "digest": _digest(data),
        "mtime": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        "options": {"max_chunk_size": CHUNK_BYTES},
    }
