"""How the queue of run requests stands, for a runner that has no hand free."""

from dataclasses import dataclass

import msgspec

from teambus.bus import reads
from teambus.bus.connection import Bus
from teambus.bus.errors import BusRefused
from teambus.bus.publish import ApiError
from teambus.bus.pull import Delivery
from teambus.bus.topology import REQUESTS
from teambus.contracts.ids import TeamId, Tenant
from teambus.contracts.subjects import RequestSubject, request


class _Consumer(msgspec.Struct, frozen=True):
    num_pending: int = 0
    num_waiting: int = 0
    error: ApiError | None = None


class _State(msgspec.Struct, frozen=True):
    subjects: dict[str, int] | None = None


class _Stream(msgspec.Struct, frozen=True):
    state: _State | None = None
    error: ApiError | None = None


_consumer = msgspec.json.Decoder(_Consumer)
_stream = msgspec.json.Decoder(_Stream)
_EVERY_SUBJECT = msgspec.json.encode({"subjects_filter": request("*", "*", "*")})


@dataclass(frozen=True, slots=True)
class Standing:
    """`undelivered`: requests that nobody has been given yet; `pulls`: of runners that would take
    one at once.
    """

    undelivered: int
    pulls: int


@dataclass(frozen=True, slots=True)
class Backlog:
    """The queue as one pool sees it."""

    bus: Bus
    consumer: str
    teams: frozenset[TeamId]

    async def standing(self) -> Standing:
        reply = await reads.call(
            self.bus, f"$JS.API.CONSUMER.INFO.{REQUESTS}.{self.consumer}", b"", patience_s=0
        )
        answer = _consumer.decode(reply.data)
        _check(self.consumer, answer.error)
        return Standing(answer.num_pending, answer.num_waiting)

    async def tenants(self) -> set[Tenant]:
        """Whose requests are stored, in somebody's hand or not. Of very many subjects the server
        tells the first hundred thousand.
        """
        reply = await reads.call(
            self.bus, f"$JS.API.STREAM.INFO.{REQUESTS}", _EVERY_SUBJECT, patience_s=0
        )
        answer = _stream.decode(reply.data)
        _check(REQUESTS, answer.error)
        subjects = (answer.state and answer.state.subjects) or {}
        found = map(RequestSubject.parse, subjects)
        return {each.tenant for each in found if each.team_id in self.teams}

    async def load(self, delivery: Delivery) -> bool:
        """Give a delivery its body and headers back; False when its request is gone."""
        stored = await reads.at(self.bus, REQUESTS, delivery.seq)
        if stored is None:
            return False
        delivery.data, delivery.headers = stored.data, stored.headers
        return True


def _check(name: str, error: ApiError | None) -> None:
    if error is not None:
        raise BusRefused(f"{name}: {error.description}", error.err_code)
