"""How the queue of run requests stands, for a runner that has no hand free."""

from dataclasses import dataclass

from teambus.bus import reads, server_api
from teambus.bus.connection import Bus
from teambus.bus.pull import Delivery
from teambus.bus.topology import REQUESTS
from teambus.contracts.ids import TeamId, Tenant
from teambus.contracts.subjects import RequestSubject, request

EVERY_SUBJECT = {"subjects_filter": request("*", "*", "*")}


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
        verb = f"CONSUMER.INFO.{REQUESTS}.{self.consumer}"
        seen = await server_api.ask(self.bus, verb, patience_s=0)
        return Standing(seen["num_pending"], seen.get("num_waiting", 0))

    async def tenants(self) -> set[Tenant]:
        """Whose requests are stored, in somebody's hand or not. Of very many subjects the server
        tells the first hundred thousand.
        """
        verb = f"STREAM.INFO.{REQUESTS}"
        seen = await server_api.ask(self.bus, verb, EVERY_SUBJECT, patience_s=0)
        found = map(RequestSubject.parse, seen["state"].get("subjects") or {})
        return {each.tenant for each in found if each.team_id in self.teams}

    async def load(self, delivery: Delivery) -> bool:
        """Give a delivery its body and headers back; False when its request is gone."""
        stored = await reads.at(self.bus, REQUESTS, delivery.seq)
        if stored is None:
            return False
        delivery.data, delivery.headers = stored.data, stored.headers
        return True
