"""The session record: who holds a session and who waits for it."""

import msgspec

from teambus.contracts.ids import RunId, SessionId, TeamId, Tenant
from teambus.contracts.message import Message


class SessionClaim(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One run's claim on a session. Claims are served in the order of `request_seq`."""

    run_id: RunId
    team_id: TeamId
    request_seq: int
    leg: int = 0


class SessionRecord(Message, frozen=True, kw_only=True, tag="session.record.v1"):
    """The last word on who holds a session.

    `fence` rises with each opening; a database write carries it and is refused when it is old.
    """

    tenant: Tenant
    session_id: SessionId
    fence: int = 0
    holder: SessionClaim | None = None
    waiting: list[SessionClaim] = []
