"""Sessions, for hooks that ask for one: from whichever team-runner has the database."""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from teambus.bus.api import NobodyAnswers, ask
from teambus.bus.bodies import Bodies
from teambus.bus.connection import Bus
from teambus.bus.errors import BusError
from teambus.contracts import subjects
from teambus.contracts.ids import TeamId, token
from teambus.contracts.run import RunCompleted
from teambus.contracts.stored_api import SessionQuery


class SessionUnavailable(Exception):
    """the session could not be had now; it may be later"""


@dataclass(frozen=True, slots=True)
class SessionSource:
    """`db_of` is the database of each team and agent. Without one no sessions are kept."""

    bus: Bus
    bodies: Bodies
    db_of: Mapping[TeamId, str | None]
    timeout_s: float

    async def session(self, event: RunCompleted) -> bytes | None:
        """The session of a run as JSON, None when none are kept."""
        db_id = self.db_of.get(event.team_id)
        if db_id is None:
            return None
        subject = subjects.api(event.tenant, f"db.{token(db_id)}.session")
        question = msgspec.json.encode(SessionQuery(event.session_id))
        try:
            reply = await ask(self.bus, subject, question, wait_s=self.timeout_s)
            found = await self.bodies.load(reply.data, reply.headers)
        except NobodyAnswers as error:
            raise SessionUnavailable(f"no team-runner serves the database {db_id!r}") from error
        except BusError as error:
            raise SessionUnavailable(str(error)) from error
        if reply.error_code is not None:
            raise SessionUnavailable(f"the team-runner says {reply.error_code}")
        if not found:
            raise SessionUnavailable(f"the database {db_id!r} has no session {event.session_id!r}")
        return found
