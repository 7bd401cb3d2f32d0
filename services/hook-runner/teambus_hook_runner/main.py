"""The hook-runner put together: every part is made here, nothing is decided here."""

import asyncio
import os
from collections.abc import Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

from teambus.bus.bodies import Bodies
from teambus.bus.connection import Bus, connect
from teambus.bus.events import Events
from teambus.bus.provision import mismatch
from teambus.bus.topology import EVENTS, REDRIVE, hook_consumer_name
from teambus.contracts.catalogue import AppDescription, HookDescription
from teambus.runtime.management import Readiness, management_port, report
from teambus.runtime.memory import settle_memory
from teambus.runtime.service import BUS_LOST, run_service
from teambus.runtime.settings import read_settings
from teambus.runtime.stopping import (
    exit_with_parent,
    stop_on_signals,
    stop_when_closed,
    unless_stopped,
)
from teambus.runtime.tracing import Tracer, tracing
from teambus.runtime.watch import Watch
from teambus_hook_runner.asked import Limits, Unavailable
from teambus_hook_runner.calling import Calling, saying_what_is_called
from teambus_hook_runner.courier import Courier, Desk, Patience
from teambus_hook_runner.description import catalogued, described
from teambus_hook_runner.groups import chosen
from teambus_hook_runner.keeper import Keeper, Restarts
from teambus_hook_runner.sessions import SessionSource
from teambus_hook_runner.settings import Settings
from teambus_hook_runner.spawning import Load
from teambus_hook_runner.worker import Worker

log = structlog.get_logger(__name__)

FLUSH_SHARE = 0.5
"""The share of what a hook process has for its end that may go into sending its last spans."""


def main() -> None:
    """Run until told to stop."""

    def start() -> Coroutine[Any, Any, int]:
        return run(read_settings(Settings, "HOOK_RUNNER", os.environ))

    run_service("hook-runner", start, refusals=(Unavailable,))


async def run(settings: Settings) -> int:
    """Deliver until a signal or the end of the bus; the exit status."""
    exit_with_parent()
    readiness = Readiness({"starting": lambda: "starting"})
    host, port = settings.management_host, settings.management_port
    with stop_on_signals() as stop:
        async with (
            tracing("hook-runner", os.environ, flush_s=settings.traces_flush_s) as tracer,
            management_port(readiness, host=host, port=port),
        ):
            described_app = await unless_stopped(stop, _described(settings))
            if stop.is_set():
                return 0
            return await _serve(settings, described_app, Around(readiness, stop, tracer))


@dataclass(frozen=True, slots=True)
class Around:
    """What a process has beside its work."""

    readiness: Readiness
    stop: asyncio.Event
    tracer: Tracer | None


async def _serve(settings: Settings, app: AppDescription | None, around: Around) -> int:
    """`app` is None where the catalogue is to say what it is."""
    stop = around.stop
    app_id = settings.app_id if app is None else app.id
    assert app_id is not None
    async with connect(settings.bus(app_id)) as bus:
        if app is None:
            reading = catalogued(bus, app_id, look_s=settings.verify_s)
            app = await unless_stopped(stop, reading)
        if app is not None:
            await _deliver(_crew(bus, app, settings, around.tracer), around.readiness, stop)
        return BUS_LOST if bus.closed.is_set() else 0


@dataclass(frozen=True, slots=True)
class Crew:
    """Everybody who works: a worker for each hook, a keeper for each process."""

    bus: Bus
    workers: list[Worker]
    keepers: list[Keeper]
    calling: Calling
    topology: Watch


def _crew(bus: Bus, app: AppDescription, settings: Settings, tracer: Tracer | None) -> Crew:
    bodies = Bodies(bus)
    desk = Desk(
        bus,
        bodies,
        Events(bus, bodies, source="/teambus/hook-runner"),
        SessionSource(
            bus,
            bodies,
            {each.id: each.db_id for each in app.components},
            settings.session_timeout_s,
        ),
        Patience(settings.crash_max, settings.backoff_max_s, settings.record_retry_s),
        Calling(),
        tracer,
    )
    workers = []
    keepers = []
    mine = chosen(app.hooks, only=settings.hooks, all_but=settings.hooks_except)
    for hooks in _shares(mine, settings.processes_max):
        keeper = _keeper(hooks, settings)
        keepers.append(keeper)
        for hook in hooks:
            courier = Courier(desk, hook, keeper)
            worker = Worker(bus, hook, keeper, courier, settings.drain_s, settings.verify_s)
            workers.append(worker)
    look = partial(mismatch, bus, (), _consumers(app.hooks))
    topology = Watch("topology", look, look_s=settings.topology_look_s)
    return Crew(bus, workers, keepers, desk.calling, topology)


def _consumers(hooks: list[HookDescription]) -> list[tuple[str, str]]:
    return [(stream, hook_consumer_name(each)) for each in hooks for stream in (EVENTS, REDRIVE)]


def _keeper(hooks: list[HookDescription], settings: Settings) -> Keeper:
    return Keeper(
        _load(settings),
        hooks,
        _limits(settings),
        Restarts(settings.restart_backoff_s, settings.restart_backoff_max_s),
    )


def _shares(hooks: list[HookDescription], processes_max: int) -> list[list[HookDescription]]:
    """Which hooks share a process: none do, while there are processes enough."""
    count = min(len(hooks), processes_max)
    return [hooks[first::count] for first in range(count)]


async def _deliver(crew: Crew, readiness: Readiness, stop: asyncio.Event) -> None:
    readiness.checks = _checks(crew, stop)
    async with (
        saying_what_is_called(crew.bus, crew.calling),
        crew.topology.looking(),
        asyncio.TaskGroup() as sides,
    ):
        beside = [
            sides.create_task(_give_up_when_closed(crew, stop), name="bus watch"),
            sides.create_task(_report_ready(crew), name="readiness"),
            *(sides.create_task(keeper.run(), name="keeper") for keeper in crew.keepers),
        ]
        async with asyncio.TaskGroup() as loops:
            loops.create_task(stop.wait())
            for worker in crew.workers:
                loops.create_task(worker.run(stop), name=worker.hook.name)
        for task in beside:
            task.cancel()


def _checks(crew: Crew, stop: asyncio.Event) -> dict[str, Any]:
    bus = crew.bus
    return {
        "bus": lambda: None if bus.connected else "not connected to the bus",
        "topology": lambda: crew.topology.reason,
        "permissions": lambda: bus.violation,
        "draining": lambda: "draining" if stop.is_set() else None,
        **{f"hook {w.hook.name}": lambda w=w: w.reason or w.keeper.reason for w in crew.workers},
    }


async def _give_up_when_closed(crew: Crew, stop: asyncio.Event) -> None:
    """Without the bus no outcome can be written: what is in hand is called again elsewhere."""
    await stop_when_closed(crew.bus.closed, stop)
    for keeper in crew.keepers:
        await keeper.close()


async def _report_ready(crew: Crew) -> None:
    await asyncio.gather(*(worker.pulling.wait() for worker in crew.workers))
    log.info("ready", hooks=[worker.hook.name for worker in crew.workers])
    settle_memory()
    report(ready=True)


async def _described(settings: Settings) -> AppDescription | None:
    """The app's own word, unless it is named and the catalogue has it."""
    if settings.app_id is not None:
        return None
    return await described(_load(settings), _limits(settings))


def _load(settings: Settings) -> Load:
    flush_s = min(settings.traces_flush_s, FLUSH_SHARE * settings.kill_after_s)
    return Load(settings.app, settings.app_dir, settings.webhook_networks_allowed, flush_s)


def _limits(settings: Settings) -> Limits:
    return Limits(settings.start_timeout_s, settings.kill_after_s)
