"""When to try again after a failure, and when to give up."""

from dataclasses import dataclass
from typing import TypeAlias

JITTER = 0.25
"""The share of a wait that chance may take off: what failed together must not return together."""


@dataclass(frozen=True, slots=True)
class RetryIn:
    """Try again, not before `delay_s` seconds from now."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Trying again cannot help, or was done often enough."""

    reason: str


Verdict: TypeAlias = RetryIn | GiveUp


@dataclass(frozen=True, slots=True)
class RetrySchedule:
    """`attempts_max` attempts, the first one included; waits double from `backoff_s` on."""

    attempts_max: int
    backoff_s: float
    backoff_max_s: float = 600

    def after(
        self, attempt: int, *, draw: float, permanent: bool = False, asked_s: float = 0
    ) -> Verdict:
        """What follows when attempt number `attempt` failed. `draw` is chance, from 0 up to 1.

        Chance only shortens a wait, so the sum of the waits stays within what was announced. Who
        refused may have asked for a longer one, `asked_s`; it is never longer than the longest.
        """
        assert attempt >= 1, attempt
        if permanent:
            return GiveUp("permanent")
        if attempt >= self.attempts_max:
            return GiveUp(f"gave up after {attempt} attempt{'s' if attempt > 1 else ''}")
        wait_s = self._wait_s(attempt) * (1 - JITTER * draw)
        return RetryIn(max(wait_s, min(asked_s, self.backoff_max_s)))

    def _wait_s(self, attempt: int) -> float:
        # Bounded before the power, which is too large for a float after a thousand attempts.
        doublings = min(attempt - 1, 64)
        return min(self.backoff_s * 2.0**doublings, self.backoff_max_s)
