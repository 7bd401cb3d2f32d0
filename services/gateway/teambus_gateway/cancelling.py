"""Cancelling a run: ordered on the bus, whoever has the run and whenever it is taken."""

import time

import structlog

from teambus.bus.cancels import REASON_CHARS_MAX, order_cancel
from teambus.bus.connection import Bus
from teambus.bus.errors import BusError
from teambus.contracts.control import CancelRun
from teambus.contracts.ids import TEXT_ID_LENGTH_MAX, RunId, TeamId, Tenant
from teambus_gateway.problems import Problem
from teambus_gateway.runs import SOURCE

log = structlog.get_logger(__name__)


class Cancelling:
    """Orders cancels. Whether there is such a run, and whether it has ended, does not matter."""

    def __init__(self, bus: Bus, *, retry_after_s: int) -> None:
        self._bus = bus
        self._retry_after_s = retry_after_s

    async def order(
        self, tenant: Tenant, team_id: TeamId, run_id: RunId, *, reason: str | None = None
    ) -> None:
        """Return once the order is stored. Raises `Problem`: 422, or 503 when it may not be."""
        if not 1 <= len(run_id) <= TEXT_ID_LENGTH_MAX:
            detail = f"run_id must have 1 to {TEXT_ID_LENGTH_MAX} characters"
            raise Problem(422, detail, "malformed_request")
        if len(reason or "") > REASON_CHARS_MAX:
            detail = f"reason is longer than {REASON_CHARS_MAX} characters"
            raise Problem(422, detail, "malformed_request")
        order = CancelRun(
            tenant=tenant,
            team_id=team_id,
            run_id=run_id,
            requested_at=time.time(),
            reason=reason,
        )
        try:
            await order_cancel(self._bus, order, source=SOURCE)
        except BusError as error:
            log.error("the bus did not take an order to cancel", error=str(error))
            raise Problem(
                503,
                "the bus did not take the order to cancel; send it again",
                "bus_unavailable",
                retry_after_s=self._retry_after_s,
                run_id=run_id,
            ) from error
