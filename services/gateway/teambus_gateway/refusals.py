"""Requests the queue did not take: remembered for a while, to look before more are noted.

A submission that may come again is noted as accepted before it is asked for. Were each of a flood
noted and then refused, the notes would fill the events, which every run needs to end.
"""

import time

from teambus.bus.events import Events
from teambus.bus.requests import Requests
from teambus.contracts.ids import TeamId, Tenant
from teambus_gateway.submission import Submission

REMEMBERED_MAX = 10_000


class Refusals:
    """Whose requests were refused within the last `remember_s`."""

    def __init__(self, requests: Requests, events: Events, *, remember_s: float) -> None:
        self._requests = requests
        self._events = events
        self._remember_s = remember_s
        self._until: dict[tuple[Tenant, TeamId], float] = {}

    def note(self, asked: Submission) -> None:
        key = asked.tenant, asked.team_id
        self._until.pop(key, None)
        self._until[key] = time.monotonic() + self._remember_s
        if len(self._until) > REMEMBERED_MAX:
            del self._until[next(iter(self._until))]

    async def look(self, asked: Submission) -> None:
        """Raise `QuotaExceeded` or `StreamFull` for a new submission that would be refused again.

        One that was noted before, and may have been asked for, is let through.
        """
        if self._until.get((asked.tenant, asked.team_id), 0) <= time.monotonic():
            return
        if await self._events.accepted(asked.tenant, asked.team_id, asked.request.run_id) is None:
            await self._requests.check_room(asked.tenant, asked.team_id, asked.request)
