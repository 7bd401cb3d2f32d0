"""How often a tenant may ask this gateway: a bucket of tokens each, filled at a steady rate."""

import math
import time
from collections.abc import Callable

from teambus.contracts.ids import Tenant
from teambus_gateway.problems import Problem

TENANTS_MAX = 10_000


class Rates:
    """Lets `burst` requests of a tenant in at once, then `per_s` each second."""

    def __init__(
        self, per_s: float, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_s = per_s
        self._burst = burst
        self._clock = clock
        self._full_at: dict[Tenant, float] = {}
        """When each bucket will be full again, the last used last."""

    def take(self, tenant: Tenant) -> None:
        """Raises `Problem` 429, which takes nothing."""
        now = self._clock()
        full_at = max(self._full_at.pop(tenant, now), now) + 1 / self._per_s
        over_s = full_at - now - self._burst / self._per_s
        if over_s > 1e-9:
            self._full_at[tenant] = full_at - 1 / self._per_s
            raise _refusal(over_s)
        self._full_at[tenant] = full_at
        if len(self._full_at) > TENANTS_MAX:
            # Whoever has been away for longest: his bucket is the likeliest to be full again.
            del self._full_at[next(iter(self._full_at))]


def _refusal(wait_s: float) -> Problem:
    detail = "too many requests of this tenant; try again later"
    return Problem(429, detail, "rate_limited", retry_after_s=max(1, math.ceil(wait_s)))
