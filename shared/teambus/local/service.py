"""A service that is kept running: started again when it dies, replaced when the app changes."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

from teambus.local.child import Child, launch
from teambus.local.errors import Refused
from teambus.local.plan import ServiceSpec
from teambus.local.settings import ServeSettings

log = structlog.get_logger(__name__)

REFUSED = 2


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every service shares. `hurry` ends all waiting for an orderly end."""

    settings: ServeSettings
    watch_fd: int
    hurry: asyncio.Event
    say: Callable[[str], None]
    changed: Callable[[], None]


class Service:
    """Once in `keep()`, there is one process of it, or soon will be."""

    def __init__(self, spec: ServiceSpec, around: Surroundings) -> None:
        self.name = spec.name
        self.ready = asyncio.Event()
        self._spec = spec
        self._around = around
        self._replace = asyncio.Event()
        self._child: Child | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        self._ends = 0
        self._last_code: int | None = None

    async def keep(self) -> None:
        """Until cancelled. Raises `Refused` when it says that only the user can help."""
        backoff = Backoff(self._around.settings)
        while True:
            self._replace.clear()
            started_at = time.monotonic()
            self._child = await launch(self._spec, self._around.watch_fd)
            self._child.on_report = self._around.changed
            self._around.changed()
            if not await self._replaced(self._child):
                await self._after_end(self._child, backoff, time.monotonic() - started_at)

    def replace(self) -> None:
        """Start a new one with the changed app; the old one takes nothing more and finishes."""
        self._replace.set()

    async def stop(self) -> None:
        leaving = [*self._leaving]
        if self._child is not None:
            leaving.append(asyncio.create_task(self._leave(self._child)))
        await asyncio.gather(*leaving)

    def status(self) -> dict[str, Any]:
        child = self._child
        return {
            "name": self.name,
            "pid": child.pid if child and child.code is None else None,
            "ready": self.ready.is_set(),
            "management_port": child.facts.get("management_port") if child else None,
            "ended": self._ends,
            "last_code": self._last_code,
        }

    def trouble(self) -> str:
        """What is known about why it is not ready."""
        if not self._ends:
            return "it is still starting"
        return f"it ended {self._ends} times, last with code {self._last_code}"

    async def _replaced(self, child: Child) -> bool:
        """Stay with the child until it ends (False) or is to be replaced (True)."""
        ended = asyncio.ensure_future(child.ended())
        replace = asyncio.ensure_future(self._replace.wait())
        ready = asyncio.create_task(self._note_ready(child))
        try:
            await asyncio.wait({ended, replace}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in (ended, replace, ready):
                each.cancel()
        self.ready.clear()
        if child.code is None:
            self._let_go(child)
            return True
        return False

    async def _note_ready(self, child: Child) -> None:
        await child.ready.wait()
        self.ready.set()
        self._around.changed()

    async def _after_end(self, child: Child, backoff: "Backoff", lasted_s: float) -> None:
        self._ends, self._last_code = self._ends + 1, child.code
        self._around.changed()
        if child.code == REFUSED:
            await self._after_refusal(child)
            return
        wait_s = backoff.after(lasted_s)
        log.error("ended unasked", service=self.name, code=child.code, again_in_s=wait_s)
        await asyncio.sleep(wait_s)

    async def _after_refusal(self, child: Child) -> None:
        reason = child.error or f"{self.name} refused to start; it says why above"
        if not self._around.settings.reload:
            raise Refused(reason)
        self._around.say(f"{reason}\nwaiting for the next change")
        await self._replace.wait()

    def _let_go(self, child: Child) -> None:
        leaving = asyncio.create_task(self._leave(child))
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)

    async def _leave(self, child: Child) -> None:
        within_s = self._spec.drain_s + self._around.settings.kill_after_s
        await child.stop(within_s=within_s, hurry=self._around.hurry)


class Backoff:
    """Longer waits for what dies again and again; one that lasted starts from the shortest."""

    def __init__(self, settings: ServeSettings) -> None:
        self._settings = settings
        self._wait_s = settings.restart_min_s

    def after(self, lasted_s: float) -> float:
        if lasted_s >= self._settings.steady_s:
            self._wait_s = self._settings.restart_min_s
        wait_s, self._wait_s = self._wait_s, min(self._wait_s * 2, self._settings.restart_max_s)
        return wait_s
