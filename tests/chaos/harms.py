"""Who is being harmed, so that nobody is harmed by two at once, and all the harm that was done."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

AWAY_SHARE = 0.3


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that went wrong, and from when to when."""

    what: str
    whom: str
    at: float
    until: float


@dataclass
class Harms:
    """`kills` are processes ended by SIGKILL; `harmed` are the names of those who suffer now."""

    chance: random.Random
    happened: list[Fault] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)
    harmed: set[str] = field(default_factory=set)

    @contextmanager
    def done(self, what: str, whom: str) -> Iterator[None]:
        """Keeps others from the victim meanwhile, and writes down what happened."""
        self.harmed.add(whom)
        at = time.time()
        try:
            yield
        finally:
            self.harmed.discard(whom)
            self.happened.append(Fault(what, whom, at, time.time()))

    async def away(self, seconds_max: float) -> None:
        """Mostly it is back at once."""
        if self.chance.random() < AWAY_SHARE:
            await asyncio.sleep(self.chance.uniform(0, seconds_max))
