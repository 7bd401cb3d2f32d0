"""What processes leave: memory that grows, and children that nobody ended."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.chaos.house import House
from tests.chaos.report import Row
from tests.support.supervised import all_gone, below, until

LOOK_S = 2.0
GROWTH_MIB_MAX = 150
GONE_S = 10
MIB = 1024 * 1024


class Memory:
    """How much memory each process had when it was first seen and when it was last."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._first: dict[tuple[str, int], int] = {}
        self._last: dict[tuple[str, int], int] = {}

    @contextmanager
    def watched(self) -> Iterator[None]:
        watching = asyncio.create_task(self._watch(), name="watch memory")
        try:
            yield
        finally:
            watching.cancel()
            self._look()

    async def children(self) -> set[int]:
        """Every process of the house that runs now."""
        running = [service.pid for service in self._house.services if service.running]
        found = [await asyncio.to_thread(below, pid) for pid in running]
        return set(running).union(*found) | {node.pid for node in self._house.nodes if node.pid}

    def row(self) -> Row:
        """Of those that lived to the end."""
        alive = {(s.name, s.pid) for s in self._house.services} | self._nodes()
        told, grown = [], []
        for key in sorted(alive & self._first.keys()):
            first, last = self._first[key] // MIB, self._last[key] // MIB
            told.append(f"{key[0]} {first}→{last}")
            if last - first > GROWTH_MIB_MAX:
                grown.append(f"{key[0]} grew from {first} to {last} MiB")
        return Row("memory of the living, MiB", ", ".join(told), grown)

    async def _watch(self) -> None:
        while True:
            self._look()
            await asyncio.sleep(LOOK_S)

    def _look(self) -> None:
        places = {(s.name, s.pid) for s in self._house.services if s.running} | self._nodes()
        for key in places:
            with suppress(OSError):
                self._last[key] = resident(key[1])
                self._first.setdefault(key, self._last[key])

    def _nodes(self) -> set[tuple[str, int]]:
        return {(node.name, node.pid) for node in self._house.nodes if node.pid}


def resident(pid: int) -> int:
    """Bytes of memory in use."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


async def orphans(pids: set[int]) -> Row:
    """After the house is empty, none of its processes may run."""
    left: list[str] = []
    try:
        await until(lambda: all_gone(pids), GONE_S, "processes outlived the house")
    except AssertionError as error:
        left.append(str(error))
    return Row("orphan processes", f"{len(pids)} ended", left)
