"""When waiting work is late."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LagLimits:
    """How old and how much waiting work may be before somebody should look."""

    age_max_s: float = 60
    messages_max: int = 1000


def is_late(pending: int, oldest_s: float, limits: LagLimits) -> bool:
    return pending > 0 and (oldest_s > limits.age_max_s or pending > limits.messages_max)
