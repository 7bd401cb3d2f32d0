"""What is looked at every so often, and what is kept of it."""

import asyncio

from teambus.runtime.watch import Watch


class Ground:
    """Says what is to be seen, and when it was looked at."""

    def __init__(self, *seen: str | Exception | None) -> None:
        self.seen = list(seen)
        self.looks = asyncio.Semaphore(0)
        self.gate = asyncio.Event()
        self.gate.set()

    async def look(self) -> str | None:
        await self.gate.wait()
        self.looks.release()
        now = self.seen.pop(0) if len(self.seen) > 1 else self.seen[0]
        if isinstance(now, Exception):
            raise now
        return now

    async def looked(self, times: int) -> None:
        async with asyncio.timeout(30):
            for _ in range(times):
                await self.looks.acquire()


async def test_it_is_known_at_once_and_follows_what_is_seen() -> None:
    ground = Ground("gone", None)
    watch = Watch("ground", ground.look, look_s=0.01)
    assert watch.reason == "not looked at yet"
    async with watch.looking():
        assert watch.reason == "gone"
        await ground.looked(3)
        assert watch.reason is None


async def test_what_cannot_be_seen_leaves_what_was_known() -> None:
    ground = Ground("gone", OSError("no light"))
    watch = Watch("ground", ground.look, look_s=0.01)
    async with watch.looking():
        await ground.looked(4)
        assert watch.reason == "gone"


async def test_a_look_that_takes_long_holds_up_no_start() -> None:
    ground = Ground(None)
    ground.gate.clear()
    watch = Watch("ground", ground.look, look_s=0.01)
    async with asyncio.timeout(30), watch.looking():
        assert watch.reason == "not looked at yet"
        ground.gate.set()
        await ground.looked(2)
        assert watch.reason is None
