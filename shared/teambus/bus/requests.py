"""Submitting run requests."""

from dataclasses import dataclass

import msgspec

from teambus.bus import reads
from teambus.bus.bodies import Bodies
from teambus.bus.connection import Bus
from teambus.bus.errors import BusRefused, QuotaExceeded, StreamFull
from teambus.bus.publish import OVER_A_LIMIT, QUOTA_TEXT, ApiError, Publication, publish
from teambus.bus.topology import REQUESTS
from teambus.bus.tracing import carried
from teambus.contracts import headers as names
from teambus.contracts import subjects
from teambus.contracts.ids import TeamId, Tenant, token
from teambus.contracts.message import decode, encode
from teambus.contracts.run import RunRequest, request_digest

HEADERS_BYTES = 2048
"""What the headers of a request and its place in the stream take, generously."""


class _Config(msgspec.Struct, frozen=True):
    max_msgs_per_subject: int = -1
    max_bytes: int = -1


class _State(msgspec.Struct, frozen=True):
    bytes: int = 0
    subjects: dict[str, int] | None = None


class _Info(msgspec.Struct, frozen=True):
    config: _Config = _Config()
    state: _State = _State()
    error: ApiError | None = None


_info = msgspec.json.Decoder(_Info)


class _Removed(msgspec.Struct, frozen=True):
    error: ApiError | None = None


@dataclass(frozen=True, slots=True)
class Requests:
    """The queue of run requests, from the asking side."""

    bus: Bus
    bodies: Bodies
    source: str

    async def submit(
        self, tenant: Tenant, team_id: TeamId, request: RunRequest, *, new: str = ""
    ) -> int:
        """Publish a run request and return its sequence. Doing it again starts nothing new.

        `new` names which ids were made for it, in the words of the header.

        Another request with the same run id is not the same message: its runner will refuse it.

        Raises `QuotaExceeded`, `StreamFull` or, the outcome unknown, `BusUnavailable`.
        """
        run = token(request.run_id)
        data, headers = await self.bodies.fit(encode(request), owner=run)
        headers |= names.cloud_event(run, "run.requested.v1", self.source)
        headers |= carried()
        headers[names.RUN_ID] = run
        if new:
            headers[names.NEW] = new
        message = Publication(
            subjects.request(tenant, team_id),
            data,
            f"{tenant}:{team_id}:{run}:{request_digest(request)[:16]}",
            headers=headers,
        )
        return (await publish(self.bus, message)).seq

    async def check_room(self, tenant: Tenant, team_id: TeamId, request: RunRequest) -> None:
        """Raise what `submit` would, by what the queue's leader says now, and publish nothing."""
        subject = subjects.request(tenant, team_id)
        asked = msgspec.json.encode({"subjects_filter": subject})
        reply = await reads.call(self.bus, f"$JS.API.STREAM.INFO.{REQUESTS}", asked)
        answer = _info.decode(reply.data)
        if answer.error is not None:
            raise BusRefused(f"{REQUESTS}: {answer.error.description}", answer.error.err_code)
        if (answer.state.subjects or {}).get(subject, 0) >= answer.config.max_msgs_per_subject > 0:
            raise QuotaExceeded(f"{QUOTA_TEXT} exceeded", OVER_A_LIMIT)
        size = min(len(encode(request)), self.bus.message_bytes_max) + HEADERS_BYTES
        if answer.state.bytes + size > answer.config.max_bytes > 0:
            raise StreamFull("maximum bytes exceeded", OVER_A_LIMIT)

    async def stored(self, seq: int) -> RunRequest | None:
        """The request with this sequence, if it is still in the queue."""
        found = await reads.at(self.bus, REQUESTS, seq)
        if found is None:
            return None
        return decode(RunRequest, await self.bodies.load(found.data, found.headers))

    async def is_stored(self, seq: int) -> bool:
        """Whether the request with this sequence is still in the queue, by its leader."""
        return await reads.at(self.bus, REQUESTS, seq) is not None

    async def remove(self, seq: int) -> None:
        """Take a request out of the queue, whoever has it in hand. Harmless when repeated."""
        body = msgspec.json.encode({"seq": seq, "no_erase": True})
        reply = await reads.call(self.bus, f"$JS.API.STREAM.MSG.DELETE.{REQUESTS}", body)
        error = msgspec.json.decode(reply.data, type=_Removed).error
        if error is not None and await self.is_stored(seq):
            raise BusRefused(f"{REQUESTS}: {error.description}", error.err_code)
