"""Serving HTTP with uvicorn: on a port or an inherited socket, and letting go of it in order."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import structlog
import uvicorn
from starlette.types import ASGIApp

from teambus_gateway.connections import connection_within
from teambus_gateway.parts import Parts
from teambus_gateway.settings import GatewaySettings

log = structlog.get_logger(__name__)

BACKLOG = 2048
CLOSING_S = 5
"""What those who waited to the end of the drain get for their last answer."""


class PortTaken(OSError):
    """the address the gateway should listen on is not to be had"""


class Server(uvicorn.Server):
    """Leaves signals to whoever runs it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def bind(settings: GatewaySettings) -> socket.socket:
    """The listening socket: inherited, or bound here, so that a taken port is told at once."""
    if settings.listen_fd is not None:
        return socket.socket(fileno=settings.listen_fd)
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise PortTaken(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror}; "
            "stop what uses it or set GATEWAY_PORT"
        ) from error
    return listening


async def serve(
    app: ASGIApp,
    listening: socket.socket,
    settings: GatewaySettings,
    *,
    stop: asyncio.Event,
    parts: Parts,
) -> None:
    """Serve until `stop`; then turn away what comes, finish what is inside for `drain_s` at most,
    and tell the rest where to ask.
    """
    server = Server(_config(app, settings))
    serving = asyncio.create_task(server.serve(sockets=[listening]), name="http")
    stopping = asyncio.create_task(stop.wait(), name="stop")
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    parts.door.shut.set()
    log.info("draining", drain_s=settings.drain_s, inside=parts.door.inside)
    if settings.listen_fd is not None:
        _leave_to_the_next(server)
    if not await parts.door.emptied(settings.drain_s):
        log.info("the drain is over", inside=parts.door.inside)
        parts.runs.give_up()
        await parts.door.emptied(CLOSING_S)
    server.should_exit = True
    await serving


def _leave_to_the_next(server: Server) -> None:
    """Whoever else has the inherited socket takes what comes."""
    for each in server.servers:
        each.close()


def _config(app: ASGIApp, settings: GatewaySettings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=connection_within(settings.connection_limits()),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=CLOSING_S,
    )
