"""Runs the app on a loopback port until it is told to stop or its parent is gone."""

import asyncio
import os
import signal
import socket
import sys

import msgspec

from teambus.testing.model.protocol import App, House

if sys.platform == "win32":
    from asyncio import new_event_loop
else:
    from uvloop import new_event_loop

STOP_S = 2
_WAITING_CLIENTS_MAX = 2048


def listen(host: str, port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((host, port))
    return listening


def serve(app: App, listening: socket.socket, *, watch_fd: int | None) -> None:
    """Returns once stopped, which is at once: its clients are tests."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_serve(House(app), listening, watch_fd))


async def _serve(house: House, listening: socket.socket, watch_fd: int | None) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if watch_fd is not None:
        loop.add_reader(watch_fd, _on_parent, watch_fd, stop)
    server = await loop.create_server(house.protocol, sock=listening, backlog=_WAITING_CLIENTS_MAX)
    _say_ready(listening)
    await stop.wait()
    server.close()
    await house.close(STOP_S)


def _on_parent(watch_fd: int, stop: asyncio.Event) -> None:
    if not os.read(watch_fd, 4096):
        asyncio.get_running_loop().remove_reader(watch_fd)
        stop.set()


def _say_ready(listening: socket.socket) -> None:
    host, port = listening.getsockname()
    ready = {"port": port, "base_url": f"http://{host}:{port}/v1"}
    sys.stdout.write(msgspec.json.encode(ready).decode() + "\n")
    sys.stdout.flush()
