"""Looking every so often whether what a service stands on is as it should be."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import structlog

log = structlog.get_logger(__name__)

FIRST_S = 2
"""How long a start waits for the first look."""


class Watch:
    """`reason` is why something is not as it should be, None when it is, as last seen. `look` finds
    out; raising, it leaves what was known as it was.
    """

    def __init__(
        self, what: str, look: Callable[[], Awaitable[str | None]], *, look_s: float
    ) -> None:
        self.reason: str | None = "not looked at yet"
        self._what = what
        self._look = look
        self._look_s = look_s
        self._looked = asyncio.Event()

    @asynccontextmanager
    async def looking(self) -> AsyncIterator[None]:
        """Look now and every `look_s` while the block runs."""
        task = asyncio.create_task(self._go_on(), name=f"watch of the {self._what}")
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(FIRST_S):
                    await self._looked.wait()
            yield
        finally:
            task.cancel()

    async def _go_on(self) -> None:
        while True:
            await self._see()
            self._looked.set()
            await asyncio.sleep(self._look_s)

    async def _see(self) -> None:
        try:
            seen = await self._look()
        except Exception as error:  # noqa: BLE001 - it says nothing about what was to be seen
            log.warning("could not look", at=self._what, why=str(error))
            return
        if seen != self.reason and seen is not None:
            log.error("not as it should be", what=self._what, why=seen)
        self.reason = seen
