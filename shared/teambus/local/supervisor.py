"""The supervisor: starts everything in order, keeps it running, stops it in order.

It never imports the user's code; a process of its own does. Its children watch a pipe from it, so
whatever way it dies, they go too.
"""

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import replace

import structlog

from teambus.local import announce, folder
from teambus.local.changes import Changes
from teambus.local.child import watched_pipe
from teambus.local.embedded import Bus, bus_of
from teambus.local.errors import LocalError, Refused
from teambus.local.loading import AppFacts, load
from teambus.local.plan import Plan, Planner, plan
from teambus.local.ports import bind, port_error
from teambus.local.service import Service, Surroundings
from teambus.local.settings import ServeSettings
from teambus.runtime.management import report

log = structlog.get_logger(__name__)

BACKLOG = 1024
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
Say = Callable[[str], None]


async def serve(
    settings: ServeSettings, say: Say, *, watch_fd: int | None = None, planner: Planner = plan
) -> None:
    """Serve until told to stop. Raises `LocalError` when it cannot.

    The first signal lets work in hand finish, the second does not; nor does the end of the process
    at the other end of `watch_fd`.
    """
    with folder.held(settings.data_dir) as data, bind(settings.host, settings.port) as listening:
        held = Holding(settings, data, listening, planner)
        data.note_holder(port=held.port)
        with _stopping(watch_fd, say) as (stop, hurry):
            await Supervisor(held, say, hurry).run(stop)


class Holding:
    """What the supervisor has in its hands before anything is started."""

    def __init__(
        self,
        settings: ServeSettings,
        data: folder.DataFolder,
        listening: socket.socket,
        planner: Planner,
    ) -> None:
        self.port: int = listening.getsockname()[1]
        self.settings = replace(settings, port=self.port)
        self.data = data
        self.listening = listening
        self.planner = planner

    def plan(self, nats_url: str) -> Plan:
        return self.planner(self.settings, nats_url, self.listening.fileno())

    def listen(self) -> None:
        try:
            self.listening.listen(BACKLOG)
        except OSError as error:
            raise port_error(self.settings.host, self.port, error) from error


class Supervisor:
    """One life of the whole system."""

    def __init__(self, held: Holding, say: Say, hurry: asyncio.Event) -> None:
        self._held = held
        self._say = say
        self._hurry = hurry
        self._bus: Bus | None = None
        self._runners: list[Service] = []
        self._gateway: Service | None = None
        self._facts = AppFacts()

    async def run(self, stop: asyncio.Event) -> None:
        settings, data = self._held.settings, self._held.data
        async with bus_of(settings, data.path, self._write_status) as self._bus:
            with watched_pipe() as watch_fd:
                around = Surroundings(
                    settings, watch_fd, self._hurry, self._say, self._write_status
                )
                await self._live(self._work(self._bus, around), stop)

    async def _live(self, work: Coroutine[None, None, None], stop: asyncio.Event) -> None:
        working = asyncio.create_task(work, name="serving")
        stopped = asyncio.create_task(stop.wait(), name="waiting for a signal")
        try:
            await asyncio.wait({working, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            working.cancel()
            await asyncio.wait({working})
            await self._stop()
        if not working.cancelled():
            working.result()

    async def _work(self, bus: Bus, around: Surroundings) -> None:
        """Returns only by an error or when cancelled."""
        try:
            async with asyncio.TaskGroup() as loops:
                loops.create_task(bus.keep(), name="nats")
                await self._begin(loops, self._held.plan(bus.url), around)
        except BaseExceptionGroup as group:
            raise _first(group) from None

    async def _begin(self, loops: asyncio.TaskGroup, system: Plan, around: Surroundings) -> None:
        changes = self._changes()
        await changes.begin()
        await self._load_first(system, changes, around)
        self._runners = [Service(spec, around) for spec in system.runners]
        self._gateway = Service(system.gateway, around)
        for runner in self._runners:
            loops.create_task(runner.keep(), name=runner.name)
        if self._held.settings.reload:
            loops.create_task(self._reload(system, changes, around), name="reload")
        await self._ready(self._runners)
        self._held.listen()
        loops.create_task(self._gateway.keep(), name=self._gateway.name)
        await self._ready([self._gateway])
        self._announce()

    async def _load_first(self, system: Plan, changes: Changes, around: Surroundings) -> None:
        """With reload, a broken app is shown and its next change awaited."""
        while not await self._loaded(system, around):
            await changes.next()

    async def _reload(self, system: Plan, changes: Changes, around: Surroundings) -> None:
        while True:
            names = await changes.next()
            self._say(f"changed: {', '.join(names)}; loading again")
            if await self._loaded(system, around):
                for runner in self._runners:
                    runner.replace()
                self._say("loaded; new runners take over, the old ones finish")

    async def _loaded(self, system: Plan, around: Surroundings) -> bool:
        try:
            self._facts = await load(system.load, around)
        except Refused as refusal:
            if not self._held.settings.reload:
                raise
            self._say(f"{refusal}\nwaiting for the next change")
            return False
        for each in self._facts.left:
            self._say(f"{each}; `teambus status` says the NATS_URL")
        return True

    async def _ready(self, services: list[Service]) -> None:
        """With reload, whatever is wrong may be mended by the next change: no limit then."""
        ready_s = self._held.settings.ready_s
        try:
            async with asyncio.timeout(None if self._held.settings.reload else ready_s):
                for service in services:
                    await service.ready.wait()
        except TimeoutError as error:
            late = next(each for each in services if not each.ready.is_set())
            raise LocalError(
                f"{late.name} was not ready within {ready_s:g} s: {late.trouble()}"
            ) from error

    async def _stop(self) -> None:
        """The gateway first: what it has accepted is still answered by the runners."""
        if self._gateway is not None:
            await self._gateway.stop()
        await asyncio.gather(*(runner.stop() for runner in self._runners))

    def _changes(self) -> Changes:
        settings = self._held.settings
        return Changes(
            settings.app_dir.absolute(),
            poll_s=settings.reload_poll_s,
            files_max=settings.reload_files_max,
        )

    def _announce(self) -> None:
        status = self._status()
        self._write_status()
        self._say(announce.started(status))
        report(**status, ready=True)

    def _write_status(self) -> None:
        self._held.data.write_status(self._status())

    def _status(self) -> announce.Status:
        services = [*self._runners, *([self._gateway] if self._gateway else [])]
        return announce.status(
            self._held.settings,
            port=self._held.port,
            since=self._held.data.since,
            bus=self._bus.status() if self._bus else {},
            services=[each.status() for each in services],
            facts=self._facts,
        )


def _first(group: BaseExceptionGroup) -> BaseException:
    """What is wrong on this machine, if that is it; else all of it, as it is our own bug."""
    found = group.subgroup(LocalError)
    return next(_leaves(found)) if found else group


def _leaves(group: BaseExceptionGroup) -> Iterator[BaseException]:
    for each in group.exceptions:
        if isinstance(each, BaseExceptionGroup):
            yield from _leaves(each)
        else:
            yield each


@contextmanager
def _stopping(watch_fd: int | None, say: Say) -> Iterator[tuple[asyncio.Event, asyncio.Event]]:
    loop = asyncio.get_running_loop()
    stop, hurry = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            hurry.set()
        else:
            say("stopping; once more stops at once")
        stop.set()

    def on_parent_gone() -> None:
        if watch_fd is not None and not os.read(watch_fd, 64):
            loop.remove_reader(watch_fd)
            stop.set()
            hurry.set()

    signals = [each for each in SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]
    for number in signals:
        loop.add_signal_handler(number, on_signal)
    if watch_fd is not None:
        loop.add_reader(watch_fd, on_parent_gone)
    try:
        yield stop, hurry
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
        if watch_fd is not None:
            loop.remove_reader(watch_fd)
