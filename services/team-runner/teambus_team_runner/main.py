"""The team-runner put together: every part is made here, nothing is decided here."""

import asyncio
import os
import secrets
import socket
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import structlog

from teambus.app.teambus import TeamBus
from teambus.app.teams import walk
from teambus.bus import identities, topology
from teambus.bus.backlog import Backlog
from teambus.bus.bodies import Bodies
from teambus.bus.cancels import CancelWatch, WatchLimits
from teambus.bus.connection import Bus, BusSettings, connect
from teambus.bus.events import Events
from teambus.bus.frame_log import FrameLog
from teambus.bus.provision import Consumer, provisioned
from teambus.bus.pull import Inbox
from teambus.bus.requests import Requests
from teambus.bus.sessions import Sessions
from teambus.bus.signals import Signals
from teambus.contracts.ids import TeamId
from teambus.contracts.media import FILES_BUCKET
from teambus.runtime.hands import Hands
from teambus.runtime.loading import LoadError, load_app
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
from teambus.runtime.tracing import tracing
from teambus_team_runner import standing
from teambus_team_runner.ahead import Ahead, AheadLimits
from teambus_team_runner.answers import Answers
from teambus_team_runner.attempt import Attempts
from teambus_team_runner.databases import Databases
from teambus_team_runner.ending import Endings
from teambus_team_runner.engine.ports import EngineLimits
from teambus_team_runner.execution import Execution, ExecutionLimits
from teambus_team_runner.frames import FrameLimits
from teambus_team_runner.holders import HolderLimits, Holders
from teambus_team_runner.janitor.composition import janitor_of
from teambus_team_runner.limits import attempt_limits, ending_limits, model_limits
from teambus_team_runner.line import Line
from teambus_team_runner.media import MediaLimits, StoredMedia
from teambus_team_runner.models.catalogue import Models
from teambus_team_runner.parking import Parking, ParkingLimits
from teambus_team_runner.presence import present
from teambus_team_runner.runner import Runner
from teambus_team_runner.sessions import Access, Stores, StoreSettings, StoreUnavailable, StoreUnfit
from teambus_team_runner.sessions.threads import take_short_turns
from teambus_team_runner.settings import Settings

log = structlog.get_logger(__name__)


def main() -> None:
    """Run until told to stop."""

    def start() -> Coroutine[Any, Any, int]:
        settings = read_settings(Settings, "TEAM_RUNNER", os.environ)
        return run(settings, load_app(settings.app, settings.app_dir))

    run_service("team-runner", start, refusals=(LoadError, StoreUnfit))


async def run(settings: Settings, app: TeamBus) -> int:
    exit_with_parent()
    async with AsyncExitStack() as stack:
        tracer = await stack.enter_async_context(
            tracing("team-runner", os.environ, flush_s=settings.traces_flush_s, users=True)
        )
        stop = stack.enter_context(stop_on_signals())
        readiness = Readiness({"starting": lambda: "starting"})
        await stack.enter_async_context(
            management_port(readiness, host=settings.management_host, port=settings.management_port)
        )
        bus = await stack.enter_async_context(connect(_bus_settings(settings, app)))
        name, wait_s = topology.pool_name(app.id), settings.provision_wait_s
        pool = await unless_stopped(stop, provisioned(bus, topology.REQUESTS, name, wait_s=wait_s))
        if pool is None:
            return 0
        databases = await _databases(stack, settings, app)
        answers = Answers(bus, Bodies(bus), databases, at_once_max=settings.answers_max)
        await stack.enter_async_context(answers.given(_databases_of(app)))
        runner = None
        if not settings.sessions_only:
            runner = await _open_runner(stack, settings, app, bus, pool, databases)
            runner.tracer = tracer
        await stack.enter_async_context(
            standing.told_of(readiness, standing.Ground(bus, pool, databases, stop), settings)
        )
        watching = asyncio.create_task(_stop_when_closed(bus, stop, runner))
        stack.callback(watching.cancel)
        log.info("ready", app=app.id, components=[each.id for each in app.components])
        settle_memory()
        report(ready=True)
        async with janitor_of(bus, settings).on_duty(stop):
            await (stop.wait() if runner is None else runner.run(stop))
        return BUS_LOST if bus.closed.is_set() else 0


async def _stop_when_closed(bus: Bus, stop: asyncio.Event, runner: Runner | None) -> None:
    await stop_when_closed(bus.closed, stop)
    if runner is not None:
        runner.give_up()


@dataclass(frozen=True, slots=True)
class Ground:
    """What everything stands on."""

    settings: Settings
    app: TeamBus
    bus: Bus
    pool: Consumer
    databases: Databases
    models: Models
    cancels: CancelWatch


async def _open_runner(
    stack: AsyncExitStack,
    settings: Settings,
    app: TeamBus,
    bus: Bus,
    pool: Consumer,
    databases: Databases,
) -> Runner:
    """What takes runs, and says that it is there; without it only the sessions' API is served."""
    _warn_of_missing_key(settings, app)
    models = await stack.enter_async_context(_models(settings, bus))
    cancels = CancelWatch(bus, WatchLimits(settings.cancels_max, settings.cancel_look_s))
    await stack.enter_async_context(cancels.following())
    runner = _runner(Ground(settings, app, bus, pool, databases, models, cancels))
    await stack.enter_async_context(present(bus, app.id, runner.hands))
    await stack.enter_async_context(runner.answering())
    return runner


def _runner(ground: Ground) -> Runner:
    settings, bus = ground.settings, ground.bus
    bodies = Bodies(bus)
    events = Events(bus, bodies, source="/teambus/team-runner")
    requests = Requests(bus, bodies, "team-runner")
    sessions = Sessions(bus)
    line = Line(
        sessions,
        requests,
        events,
        waiting_max=settings.sessions_waiting_max,
        orphan_after_s=settings.orphan_after_s,
        agents=[agent.id for agent in ground.app.agents],
    )
    attempts = Attempts(
        bus=bus,
        bodies=bodies,
        events=events,
        requests=requests,
        sessions=sessions,
        cancels=ground.cancels,
        line=line,
        endings=Endings(events, line, ground.databases, ending_limits(settings)),
        execution=_execution(ground, line),
        limits=attempt_limits(settings),
        holders=_holders(settings, bus),
    )
    inbox = Inbox(bus, ground.pool.stream, ground.pool.name)
    hands = Hands(settings.hands, patience_s=settings.drain_s)
    runner = Runner(inbox, hands, attempts, events, bodies, ack_wait_s=ground.pool.ack_wait_s)
    runner.ahead = Ahead(inbox, hands, _backlog(ground), _ahead_limits(ground), runner.begin)
    limits = ParkingLimits(look_s=settings.session_look_s, parked_max=settings.parked_max)
    runner.parking = Parking(Signals(bus), sessions, line, limits, runner.resume)
    return runner


def _holders(settings: Settings, bus: Bus) -> Holders:
    # A container that starts again has its host's name and number as before.
    runner = f"{bus.settings.name}-{secrets.token_hex(4)}"
    return Holders(bus, runner, HolderLimits(settings.holder_answer_s, settings.holder_return_s))


def _backlog(ground: Ground) -> Backlog:
    teams = frozenset(each.id for each in ground.app.components)
    return Backlog(ground.bus, ground.pool.name, teams)


def _ahead_limits(ground: Ground) -> AheadLimits:
    settings = ground.settings
    return AheadLimits(ground.pool.ack_wait_s, settings.ahead_max, settings.ahead_look_s)


def _execution(ground: Ground, line: Line) -> Execution:
    settings = ground.settings
    return Execution(
        components={each.id: each for each in ground.app.components},
        databases=ground.databases,
        line=line,
        models=ground.models,
        frame_log=FrameLog(ground.bus, Bodies(ground.bus), "team-runner"),
        frame_limits=FrameLimits(
            coalesce_s=settings.frames_coalesce_s,
            patience_s=settings.frames_patience_s,
            buffer_bytes_max=settings.frames_buffer_bytes_max,
        ),
        engine_limits=EngineLimits(
            turns_max=settings.turns_max,
            tool_timeout_s=settings.tool_timeout_s,
            hook_timeout_s=settings.hook_timeout_s,
            threads_max=settings.threads_max,
            tool_result_chars_max=settings.tool_result_chars_max,
            tool_state_bytes_max=settings.tool_state_bytes_max,
        ),
        limits=ExecutionLimits(
            fresh_s=ground.pool.ack_wait_s / 2,
            attempts_max=settings.attempts_max,
            run_timeout_s=settings.run_timeout_s,
            output_bytes_max=settings.output_bytes_max,
            store_retry_s=settings.store_retry_s,
            store_give_up_s=settings.store_give_up_s,
        ),
    )


async def _databases(stack: AsyncExitStack, settings: Settings, app: TeamBus) -> Databases:
    """Open every database now, to fail at start; one that is only away now is tried again later."""
    stores = Stores(
        StoreSettings(
            store_busy_timeout_s=settings.store_busy_timeout_s,
            store_timeout_s=settings.store_timeout_s,
            session_bytes_max=settings.session_bytes_max,
            store_readers_max=settings.store_readers_max,
            store_tries_max=settings.store_tries_max,
            store_backoff_s=settings.store_backoff_s,
        ),
        Access(settings.db_url, settings.db_password),
    )
    stack.push_async_callback(stores.close)
    take_short_turns()
    databases = Databases({each.id: each for each in app.components}, stores)
    try:
        await databases.open_all()
    except StoreUnavailable as error:
        log.warning("a database is away", why=str(error))
    return databases


def _databases_of(app: TeamBus) -> dict[str, TeamId]:
    return {each.db.id: each.id for each in app.components if each.db is not None}


def _models(settings: Settings, bus: Bus) -> Models:
    media = MediaLimits(settings.media_call_bytes_max, settings.media_bytes_max)
    stored = StoredMedia(Bodies(bus, FILES_BUCKET), media)
    return Models(model_limits(settings), stored, api_key=settings.openai_api_key)


def _bus_settings(settings: Settings, app: TeamBus) -> BusSettings:
    return BusSettings(
        urls=settings.nats_url,
        name=f"team-runner-{socket.gethostname()}-{os.getpid()}",
        identity=identities.team_runner(app.id),
        access=settings.access,
        request_timeout_s=settings.request_timeout_s,
        publish_patience_s=settings.publish_patience_s,
    )


def _warn_of_missing_key(settings: Settings, app: TeamBus) -> None:
    owners = [owner for component in app.components for owner in walk(component)]
    models = [owner.model for owner in owners if owner.model is not None]
    known = settings.openai_api_key or os.environ.get("OPENAI_API_KEY")
    if any(not model.api_key for model in models) and not known:
        log.warning("OPENAI_API_KEY is not set; runs will end as ERROR until it is")
