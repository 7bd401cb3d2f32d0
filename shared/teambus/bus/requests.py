"""Submitting run requests."""

from dataclasses import dataclass

import msgspec

from teambus.bus import reads
from teambus.bus.bodies import Bodies
from teambus.bus.connection import Bus
from teambus.bus.errors import BusRefused
from teambus.bus.publish import ApiError, Publication, publish
from teambus.bus.topology import REQUESTS
from teambus.contracts import headers as names
from teambus.contracts import subjects
from teambus.contracts.ids import TeamId, Tenant, token
from teambus.contracts.message import encode
from teambus.contracts.run import RunRequest, request_digest


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
        data, headers = await self.bodies.fit(encode(request), owner=token(request.run_id))
        headers |= names.cloud_event(token(request.run_id), "run.requested.v1", self.source)
        headers[names.RUN_ID] = token(request.run_id)
        if new:
            headers[names.NEW] = new
        message = Publication(
            subjects.request(tenant, team_id),
            data,
            f"{tenant}:{team_id}:{token(request.run_id)}:{request_digest(request)[:16]}",
            headers=headers,
        )
        return (await publish(self.bus, message)).seq

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
