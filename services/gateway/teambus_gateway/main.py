"""The gateway as a process of its own, and as an ASGI application for somebody else's server."""

import asyncio
import os
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from typing import Any

import msgspec
import structlog
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from teambus.bus.connection import Bus, connect
from teambus.bus.errors import BusError
from teambus.bus.provision import mismatch
from teambus.bus.topology import CATALOGUE, DEAD, EVENTS, REQUESTS
from teambus.runtime.logging import configure_logging
from teambus.runtime.management import Readiness, management_port, report
from teambus.runtime.memory import settle_memory
from teambus.runtime.service import BUS_LOST, run_service
from teambus.runtime.settings import SettingsError, read_settings
from teambus.runtime.stopping import (
    exit_with_parent,
    stop_on_signals,
    stop_when_closed,
)
from teambus.runtime.tracing import Tracer, tracing
from teambus.runtime.watch import Watch
from teambus_gateway.app import make_app
from teambus_gateway.gateway import open_gateway
from teambus_gateway.parts import Parts
from teambus_gateway.serving import PortTaken, bind, serve
from teambus_gateway.settings import GatewaySettings

log = structlog.get_logger(__name__)

STREAMS = (REQUESTS, EVENTS, DEAD, CATALOGUE)
"""Those without which no request can be answered."""


def main() -> None:
    """Run until told to stop."""

    def start() -> Coroutine[Any, Any, int]:
        return run(read_settings(GatewaySettings, "GATEWAY", os.environ))

    run_service("gateway", start, refusals=(PortTaken,))


async def run(settings: GatewaySettings) -> int:
    """Serve until a signal or the end of the bus; the exit code."""
    exit_with_parent()
    listening = bind(settings)
    async with (
        _tracing(settings) as tracer,
        connect(settings.bus()) as bus,
        open_gateway(bus, settings, tracer) as parts,
    ):
        app = make_app(parts, settings)
        topology = Watch(
            "topology", partial(mismatch, bus, STREAMS), look_s=settings.topology_look_s
        )
        with stop_on_signals() as stop:
            readiness = _readiness(bus, parts, topology, stop)
            async with _management(settings, readiness), topology.looking():
                watching = [
                    asyncio.create_task(_stop_when_closed(bus, parts, stop)),
                    asyncio.create_task(_report_ready(parts)),
                ]
                await serve(app, listening, settings, stop=stop, parts=parts)
            for task in watching:
                task.cancel()
        return BUS_LOST if bus.closed.is_set() else 0


async def _stop_when_closed(bus: Bus, parts: Parts, stop: asyncio.Event) -> None:
    """Without the bus no answer comes any more."""
    await stop_when_closed(bus.closed, stop)
    parts.runs.give_up()


def _management(
    settings: GatewaySettings, readiness: Readiness
) -> AbstractAsyncContextManager[int]:
    return management_port(readiness, host=settings.management_host, port=settings.management_port)


def _tracing(settings: GatewaySettings) -> AbstractAsyncContextManager[Tracer | None]:
    return tracing("gateway", os.environ, flush_s=settings.traces_flush_s)


async def _report_ready(parts: Parts) -> None:
    await parts.catalogue.known.wait()
    log.info("ready", tenant=parts.admission.tenant)
    settle_memory()
    report(ready=True)


def _readiness(bus: Bus, parts: Parts, topology: Watch, stop: asyncio.Event) -> Readiness:
    return Readiness(
        {
            "bus": lambda: None if bus.connected else "not connected",
            "topology": lambda: topology.reason,
            "permissions": lambda: bus.violation,
            "keys": parts.admission.missing,
            "catalogue": lambda: None if parts.catalogue.known.is_set() else "never read",
            "draining": lambda: "stopping" if stop.is_set() else None,
        }
    )


class AsgiGateway:
    """The gateway inside any ASGI server: connects at lifespan startup, or when first called.

    Reads the same variables as the service. The server's own settings decide where it listens.
    """

    def __init__(self) -> None:
        self._resources = AsyncExitStack()
        self._opening = asyncio.Lock()
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        try:
            app = await self._connected_app()
        except (SettingsError, BusError) as error:
            log.error("the gateway cannot run", error=str(error))
            body = msgspec.json.encode({"detail": str(error), "code": "not_connected"})
            await Response(body, 503, media_type="application/json")(scope, receive, send)
            return
        await app(scope, receive, send)

    async def close(self) -> None:
        """Let go of the bus; called again, it connects again."""
        self._app = None
        await self._resources.aclose()

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self._connected_app()
        except (SettingsError, BusError) as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _connected_app(self) -> ASGIApp:
        async with self._opening:
            if self._app is None:
                if not structlog.is_configured():
                    configure_logging("gateway")
                settings = read_settings(GatewaySettings, "GATEWAY", os.environ)
                enter = self._resources.enter_async_context
                tracer = await enter(_tracing(settings))
                bus = await enter(connect(settings.bus()))
                parts = await enter(open_gateway(bus, settings, tracer))
                self._app = make_app(parts, settings)
        return self._app


asgi = AsgiGateway()
