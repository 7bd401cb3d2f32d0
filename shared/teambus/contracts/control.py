"""Orders to whoever has a run, now or later."""

from teambus.contracts.ids import RunId, TeamId, Tenant
from teambus.contracts.message import Message


class CancelRun(Message, frozen=True, kw_only=True, tag="run.cancel.v1"):
    """A run is not wanted any more.

    It stays on the bus, so that a run not yet taken is cancelled by whoever takes it. A run that
    has ended is not changed by it.
    """

    tenant: Tenant
    team_id: TeamId
    run_id: RunId
    requested_at: float
    reason: str | None = None
