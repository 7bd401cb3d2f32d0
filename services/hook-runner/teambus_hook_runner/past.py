"""How a delivery stood before now: what was recorded of it, and what follows from that."""

import time

import msgspec

from teambus.contracts.hook import DeadLetter, HookFailure, HookOutcome
from teambus_hook_runner.parcel import Parcel

SOON_S = 0.05
"""A retry this much too early is in time: clocks differ."""


class Past(msgspec.Struct, frozen=True):
    """`seq` is where the outcome is written; the next one goes on top of that, or nowhere.

    `overtaken`: the event was redriven since, so this delivery is nobody's business any more.
    `old_letter`: the letter that was redriven is still there. `suspect`: the call may end its
    process.
    """

    outcome: HookOutcome | None = None
    seq: int = 0
    letter: DeadLetter | None = None
    overtaken: bool = False
    old_letter: bool = False
    suspect: bool = False

    @classmethod
    def of(
        cls, parcel: Parcel, outcome: HookOutcome | None, seq: int, letter: DeadLetter | None
    ) -> "Past":
        """What of all that is recorded is about this generation of the delivery."""
        now = parcel.addressed.generation
        newest = max(outcome.generation if outcome else 0, letter.generation if letter else 0)
        return cls(
            outcome if outcome is not None and outcome.generation == now else None,
            seq,
            letter if letter is not None and letter.generation == now else None,
            overtaken=newest > now,
            old_letter=letter is not None and letter.generation < now,
            suspect=parcel.suspect,
        )

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
        if self.failures:
            return self.failures[-1].code == "crashed"
        return self.suspect

    def wait_s(self, wait_s_max: float) -> float:
        """What is left of the wait before the next attempt, when the bus delivered early.

        It does when a hook-runner died between recording a failure and giving the delivery back.
        """
        if self.outcome is None or self.outcome.retry_at is None:
            return 0
        left_s = min(self.outcome.retry_at - time.time(), wait_s_max)
        return left_s if left_s > SOON_S else 0
