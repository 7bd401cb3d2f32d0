"""Whose turn it is when work of several tenants waits for hands: who has the fewest of them."""

from bisect import bisect_left, insort
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from teambus.contracts.ids import Tenant

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Waiting(Generic[T]):
    """A piece of work in its tenant's line; `seq` is the sequence of its request."""

    tenant: Tenant
    seq: int
    work: T


class Turns(Generic[T]):
    """A line for each tenant, in the order of the requests whenever they came."""

    def __init__(self) -> None:
        self._lines: dict[Tenant, list[int]] = {}
        self._waiting: dict[int, Waiting[T]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def tenants(self) -> set[Tenant]:
        return set(self._lines)

    def all(self) -> list[Waiting[T]]:
        """Everything that waits, the oldest request first."""
        return [self._waiting[seq] for seq in sorted(self._waiting)]

    def add(self, tenant: Tenant, seq: int, work: T) -> None:
        assert seq not in self._waiting, seq
        self._waiting[seq] = Waiting(tenant, seq, work)
        insort(self._lines.setdefault(tenant, []), seq)

    def get(self, seq: int) -> T | None:
        found = self._waiting.get(seq)
        return None if found is None else found.work

    def drop(self, seq: int) -> Waiting[T] | None:
        """Let it wait no longer, if it does."""
        found = self._waiting.pop(seq, None)
        if found is not None:
            line = self._lines[found.tenant]
            del line[bisect_left(line, seq)]
            if not line:
                del self._lines[found.tenant]
        return found

    def next(self, in_hand: Callable[[Tenant], int]) -> Waiting[T] | None:
        """The oldest of the tenant with the least in hand; of equals, of the one whose last turn
        is longest ago. None when nothing waits.
        """
        if not self._lines:
            return None
        # `min` takes the first of equals, so whoever has had a turn goes behind the others.
        tenant = min(self._lines, key=in_hand)
        self._lines[tenant] = line = self._lines.pop(tenant)
        return self.drop(line[0])

    def oldest(self, count: int) -> list[Waiting[T]]:
        """The oldest of the longest line, `count` at most."""
        line = max(self._lines.values(), key=len, default=[])
        return [self._waiting[seq] for seq in line[:count]]
