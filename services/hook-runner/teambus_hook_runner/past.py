"""How a delivery stood before now: what was recorded of it, and what follows from that."""

import time
from dataclasses import dataclass

from teambus.contracts.hook import DeadLetter, HookFailure, HookOutcome

SOON_S = 0.05
"""A retry this much too early is in time: clocks differ."""


@dataclass(frozen=True, slots=True)
class Past:
    """`seq` is where the outcome is written; the next one goes on top of that, or nowhere."""

    outcome: HookOutcome | None = None
    seq: int = 0
    letter: DeadLetter | None = None

    @property
    def is_delivered(self) -> bool:
        return self.outcome is not None and self.outcome.state == "delivered"

    @property
    def is_dead(self) -> bool:
        """The letter counts before the outcome says so: it is written first."""
        return self.letter is not None or (
            self.outcome is not None and self.outcome.state == "dead"
        )

    @property
    def attempts(self) -> int:
        """Failed attempts so far. Deliveries that left no record are none."""
        noted = 0 if self.outcome is None else self.outcome.attempt
        return max(noted, 0 if self.letter is None else self.letter.attempts)

    @property
    def failures(self) -> list[HookFailure]:
        """The letter knows the last one, which only its outcome would repeat."""
        if self.letter is not None:
            return self.letter.failures
        return [] if self.outcome is None else self.outcome.failures

    @property
    def was_crash(self) -> bool:
        return bool(self.failures) and self.failures[-1].code == "crashed"

    def wait_s(self, wait_s_max: float) -> float:
        """What is left of the wait before the next attempt, when the bus delivered early.

        It does when a hook-runner died between recording a failure and giving the delivery back.
        """
        if self.outcome is None or self.outcome.retry_at is None:
            return 0
        left_s = min(self.outcome.retry_at - time.time(), wait_s_max)
        return left_s if left_s > SOON_S else 0
