"""When what is stored takes so much of its room that somebody should see to it."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

OVER_SHARE = 0.9
"""What was said to fill up is said to be well again only below this share of the threshold."""


@dataclass(frozen=True, slots=True)
class Filling:
    """How much of a stream's room is taken. `refuses`: full, it takes no more; else its oldest
    messages go, and being full is how it is meant to be.
    """

    stream: str
    held_bytes: int
    bytes_max: int
    refuses: bool

    @property
    def share(self) -> float:
        return self.held_bytes / self.bytes_max if self.bytes_max > 0 else 0


def filling_up(
    seen: Iterable[Filling], before: Collection[str], *, share_max: float
) -> frozenset[str]:
    """The streams that somebody should see to, given those of which it was said before."""
    return frozenset(
        each.stream
        for each in seen
        if each.refuses and each.share >= share_max * (OVER_SHARE if each.stream in before else 1)
    )
