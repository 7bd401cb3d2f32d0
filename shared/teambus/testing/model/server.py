"""Runs the app on a loopback port until it is told to stop or its parent is gone."""

import asyncio
import os
import socket
import sys
from collections.abc import Sequence
from types import FrameType

import msgspec
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from teambus.testing.model.app import ModelApp
from teambus.testing.model.connection import CLOSE

HOST = "127.0.0.1"
# Longer than the client pools under test keep theirs, so that none meets a closing connection.
KEEP_ALIVE_S = 300


class BreakableHttp(HttpToolsProtocol):
    """Lets the app close a connection, which ASGI has no word for."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {CLOSE: {"close": self.transport.close}}


class ModelProcess(uvicorn.Server):
    """Says where it listens once it does, and stops at once: its clients are tests."""

    def __init__(self, config: uvicorn.Config, *, watch_fd: int | None) -> None:
        super().__init__(config)
        self._watch_fd = watch_fd

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._watch_fd is not None:
            asyncio.get_running_loop().add_reader(self._watch_fd, self._on_parent, self._watch_fd)
        port = _port_of(sockets or ())
        ready = {"port": port, "base_url": f"http://{HOST}:{port}/v1"}
        sys.stdout.write(msgspec.json.encode(ready).decode() + "\n")
        sys.stdout.flush()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._stop()

    def _on_parent(self, watch_fd: int) -> None:
        if not os.read(watch_fd, 4096):
            asyncio.get_running_loop().remove_reader(watch_fd)
            self._stop()

    def _stop(self) -> None:
        self.should_exit = True
        self.force_exit = True


def listen(port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((HOST, port))
    return listening


def serve(app: ModelApp, listening: socket.socket, *, watch_fd: int | None) -> None:
    """Returns once stopped."""
    config = uvicorn.Config(
        app,
        http=BreakableHttp,
        loop="auto",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
    )
    ModelProcess(config, watch_fd=watch_fd).run([listening])


def _port_of(sockets: Sequence[socket.socket]) -> int:
    assert len(sockets) == 1, sockets
    return int(sockets[0].getsockname()[1])
