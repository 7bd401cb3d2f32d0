"""Who asks: all that an endpoint knows of its client. It is set once, by whoever let it in."""

from dataclasses import dataclass
from typing import cast

from starlette.requests import Request

from teambus.contracts.ids import SessionId, Tenant
from teambus_gateway.access.scopes import ALL, Grants

CALLER = "teambus.caller"
"""Where a request's scope has its caller."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Nothing a client says elsewhere in its request changes any of this.

    `session_id` is the only session it may run in. `is_confined`: it has only what is its own.
    """

    tenant: Tenant
    user_id: str | None = None
    grants: Grants = ALL
    session_id: SessionId | None = None
    is_confined: bool = False

    @property
    def confined_to(self) -> str | None:
        """The one user whose runs and sessions it has; None: those of the whole tenant."""
        return self.user_id if self.is_confined else None

    def asks_as(self, user_id: str | None) -> str | None:
        """Whose what it makes will be, when it says `user_id`."""
        return user_id if self.user_id is None else self.user_id

    def looks_for(self, user_id: str | None) -> str | None:
        """Whose things it is shown, when it asks for those of `user_id`."""
        return self.confined_to or user_id


def caller_of(request: Request) -> Caller:
    """Fails for a request that nobody has let in."""
    return cast(Caller, request.scope[CALLER])
