"""Keeping a hook process alive for some hooks, and making calls in whichever process lives."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from teambus.contracts.catalogue import HookDescription
from teambus.contracts.ids import HookName
from teambus_hook_runner.asked import Answer, Asked, Interrupted, Limits, Unavailable
from teambus_hook_runner.process import HookProcess
from teambus_hook_runner.spawning import Load
from teambus_hook_runner.wire import Raised, Returned

log = structlog.get_logger(__name__)

INTERRUPTIONS_SHARED_MAX = 2
INTERRUPTIONS_MAX = 6


@dataclass(frozen=True, slots=True)
class Restarts:
    """How long to wait before a process that could not start is started again."""

    backoff_s: float
    backoff_max_s: float

    def after(self, failures: int) -> float:
        return float(min(self.backoff_s * 2 ** min(failures - 1, 30), self.backoff_max_s))


class Keeper:
    """One process after the other for the same hooks. `run` keeps it, `call` uses it.

    A call that may have ended a process before is made in a process of its own, one at a time for
    each hook: there it can hurt nobody, and when it is lost, it is known why.
    """

    def __init__(
        self, load: Load, hooks: Iterable[HookDescription], limits: Limits, restarts: Restarts
    ) -> None:
        self.reason: str | None = "starting"
        self._load = load
        self._limits = limits
        self._restarts = restarts
        self._hooks = {hook.name: hook for hook in hooks}
        self._slots = sum(hook.concurrency_max for hook in self._hooks.values())
        self._alone = {name: asyncio.Lock() for name in self._hooks}
        self._living: set[HookProcess] = set()
        self._process: HookProcess | None = None
        self._failures = 0
        self._closed = False
        self._changed = asyncio.Event()

    @property
    def is_ready(self) -> bool:
        return self._process is not None

    @property
    def retry_s(self) -> float:
        """When to bring back what could not be called."""
        return self._restarts.after(max(1, self._failures))

    async def run(self) -> None:
        """Start a process, and another whenever it is lost; until cancelled or closed."""
        while not self._closed:
            await self._live_once()

    async def ready(self, stop: asyncio.Event) -> bool:
        """Wait until there is a process; False once `stop` is set."""
        stopping = asyncio.ensure_future(stop.wait())
        try:
            while self._process is None and not stop.is_set():
                changing = asyncio.ensure_future(self._changed.wait())
                await asyncio.wait({stopping, changing}, return_when=asyncio.FIRST_COMPLETED)
                changing.cancel()
        finally:
            stopping.cancel()
        return not stop.is_set()

    async def call(self, asked: Asked, *, suspect: bool) -> Returned | Raised:
        """Call the hook; again, uncounted, when another call took the process with it.

        Raises `Unavailable`. Whatever way it ends, the call no longer runs then.
        """
        for interruptions in range(INTERRUPTIONS_MAX):
            alone = suspect or interruptions >= INTERRUPTIONS_SHARED_MAX
            answer = await (self._call_alone(asked) if alone else self._call_shared(asked))
            if not isinstance(answer, Interrupted):
                return answer
        return Raised(0, "crashed", f"its process was lost {INTERRUPTIONS_MAX} times under it")

    async def close(self) -> None:
        """End all processes at once. What they had in hand, and all later, is `Unavailable`."""
        self._closed = True
        self._announce()
        await asyncio.gather(*(process.kill() for process in self._living))

    async def _live_once(self) -> None:
        try:
            async with self._started(list(self._hooks), self._slots) as process:
                await self._live(process)
        except Unavailable as error:
            await self._rest(str(error))

    async def _live(self, process: HookProcess) -> None:
        self._failures, self.reason, self._process = 0, None, process
        self._announce()
        log.info("hook process ready", hooks=list(self._hooks), pid=process.pid)
        try:
            await process.ended.wait()
        finally:
            self._process, self.reason = None, "the hook process is restarting"

    async def _rest(self, reason: str) -> None:
        self._failures += 1
        self.reason = f"no hook process: {reason}"
        log.error(
            "hook process cannot start",
            hooks=list(self._hooks),
            reason=reason,
            retry_in_s=self.retry_s,
        )
        self._announce()
        await asyncio.sleep(self.retry_s)

    @asynccontextmanager
    async def _started(self, hooks: list[HookName], slots: int) -> AsyncIterator[HookProcess]:
        if self._closed:
            raise Unavailable("the hook-runner is stopping")
        process = await HookProcess.start(self._load, hooks, slots, self._limits)
        self._living.add(process)
        try:
            yield process
        finally:
            await process.stop()
            self._living.discard(process)

    async def _call_shared(self, asked: Asked) -> Answer:
        return await self._call(await self._current(), asked)

    async def _call_alone(self, asked: Asked) -> Answer:
        async with self._alone[asked.hook], self._started([asked.hook], 1) as process:
            return await self._call(process, asked)

    async def _call(self, process: HookProcess, asked: Asked) -> Answer:
        try:
            return await process.call(asked)
        except asyncio.CancelledError:
            # Only the end of the drain cancels. The hook must not run on when its delivery is
            # given back, or two would run at once.
            await self.close()
            raise

    async def _current(self) -> HookProcess:
        """The process, or the one being started; no waiting through failures to start."""
        while self._process is None:
            if self._closed or self._failures:
                raise Unavailable(self.reason or "the hook-runner is stopping")
            await self._changed.wait()
        return self._process

    def _announce(self) -> None:
        """Wake all who wait for a change."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
