"""The databases behind the gateway: which there are, and questions to whoever has one of them."""

from dataclasses import dataclass
from typing import TypeVar

import msgspec
import structlog

from teambus.bus.api import NobodyAnswers, Reply, ask
from teambus.bus.bodies import Bodies
from teambus.bus.connection import Bus
from teambus.bus.errors import BusError
from teambus.contracts import subjects
from teambus.contracts.ids import Tenant, token
from teambus.contracts.sessions_api import VERBS, SessionsQuestion, Verb
from teambus_gateway.catalogue import Catalogue, Description
from teambus_gateway.problems import Problem

log = structlog.get_logger(__name__)

A = TypeVar("A")


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a client said of where its session is."""

    db_id: str | None = None
    table: str | None = None


class Databases:
    """Asks the team-runners that serve a database. Raises `Problem` for what cannot be answered."""

    def __init__(
        self, bus: Bus, catalogue: Catalogue, *, store_timeout_s: float, retry_after_s: int
    ) -> None:
        self._bus = bus
        self._bodies = Bodies(bus)
        self._catalogue = catalogue
        self._store_timeout_s = store_timeout_s
        self._retry_after_s = retry_after_s

    def of_component(self, component_id: str | None) -> str | None:
        """The database of a team or agent, None when there is no such."""
        component = component_id and self._catalogue.known_component(component_id)
        return component.db_id if component else None

    async def one(self, chosen: Chosen) -> str:
        """The database that is meant where one has to be."""
        found = await self.any_of(chosen)
        if len(found) > 1:
            detail = "The db_id query parameter is required when using multiple databases"
            raise Problem(400, detail)
        return found[0]

    async def any_of(self, chosen: Chosen) -> list[str]:
        """The databases in which a session may be that is known by its id."""
        tables = await self._tables()
        if chosen.db_id is None:
            if chosen.table is not None:
                detail = "The db_id query parameter is required when passing a table"
                raise Problem(400, detail)
            if not tables:
                raise Problem(400, "No database is configured on this AgentOS")
            return sorted(tables)
        if chosen.db_id not in tables:
            raise Problem(404, f"No database found with id '{chosen.db_id}'")
        if chosen.table not in (None, *tables[chosen.db_id]):
            detail = f"No database with id '{chosen.db_id}' has table '{chosen.table}'"
            raise Problem(404, detail)
        return [chosen.db_id]

    async def first(
        self, tenant: Tenant, db_ids: list[str], question: SessionsQuestion[A]
    ) -> A | None:
        """The answer of the first database that has the session, None when none has it."""
        for db_id in db_ids:
            if (answer := await self.ask(tenant, db_id, question)) is not None:
                return answer
        return None

    async def ask(self, tenant: Tenant, db_id: str, question: SessionsQuestion[A]) -> A | None:
        """The answer, None when the database does not have the session."""
        verb = VERBS[type(question)]
        subject = subjects.api(tenant, f"db.{token(db_id)}.{verb.name}")
        try:
            answer = await self._ask(subject, msgspec.json.encode(question))
        except NobodyAnswers as error:
            detail = f"no team-runner serves the database '{db_id}' now; try again later"
            raise self._away(detail, "database_unserved") from error
        except BusError as error:
            log.warning("a database did not answer", db_id=db_id, verb=verb.name, error=str(error))
            raise self._unanswered(db_id, verb) from error
        return msgspec.json.decode(answer, type=verb.answer) if answer else None

    async def _ask(self, subject: str, question: bytes) -> bytes:
        data, headers = await self._bodies.fit(question, owner="gateway")
        reply = await ask(self._bus, subject, data, wait_s=self._store_timeout_s, headers=headers)
        if reply.error_code is not None:
            raise self._refused(reply)
        return await self._bodies.load(reply.data, reply.headers)

    def _refused(self, reply: Reply) -> Problem:
        log.warning("a database refused", code=reply.error_code, detail=reply.error_detail)
        if reply.error_code == "413":
            return Problem(413, reply.error_detail, "session_too_large")
        if reply.error_code in ("400", "422"):
            return Problem(422, reply.error_detail, "malformed_request")
        return self._away(reply.error_detail or "the database cannot answer", "store_unavailable")

    def _unanswered(self, db_id: str, verb: Verb) -> Problem:
        if not verb.writes:
            detail = f"the database '{db_id}' did not answer in time; try again later"
            return self._away(detail, "store_unavailable")
        detail = (
            f"the database '{db_id}' did not answer in time, so whether it was changed is unknown; "
            "look, or ask for the same again"
        )
        return self._away(detail, "outcome_unknown")

    def _away(self, detail: str, code: str) -> Problem:
        return Problem(503, detail, code, retry_after_s=self._retry_after_s)

    async def _tables(self) -> dict[str, set[str]]:
        """The session tables of each database."""
        if self._catalogue.apps is None:
            await self._catalogue.refresh()
        if self._catalogue.apps is None:
            raise self._away("the teams are not known yet; try again later", "catalogue_unread")
        found: dict[str, set[str]] = {}
        components: list[Description] = [*self._catalogue.teams, *self._catalogue.agents]
        for component in components:
            if component.db_id is not None:
                table = component.session_table
                found.setdefault(component.db_id, set()).update([table] if table else [])
        return found
