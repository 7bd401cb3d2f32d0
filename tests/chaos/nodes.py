"""The servers of the bus as chaos sees them: one, or three that replicate everything."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

from tests.support import cluster
from tests.support.locked import Lock, LockedServer
from tests.support.system import until

RECOVERED_S = 180.0


class Node(Protocol):
    """One server, always at the same address with the same store."""

    name: str
    can_be_cut: bool

    @property
    def url(self) -> str: ...

    @property
    def host(self) -> str: ...

    @property
    def port(self) -> int: ...

    @property
    def pid(self) -> int:
        """0 while it does not run."""

    async def start(self) -> None:
        """Returns when it is ready."""

    async def stop(self) -> None: ...

    async def kill(self) -> None: ...

    def signal(self, number: signal.Signals) -> None: ...

    def cut(self, *, from_all: bool) -> Callable[[], None]:
        """From the other servers, or from everybody. Returns what mends it."""

    async def recovered(self) -> None:
        """Returns when it has all that the others have."""

    async def leader_of(self, stream: str) -> str | None:
        """The name of the server that leads a stream, as this one knows it."""


class Single(LockedServer):
    """A bus of one server; with a lock or without."""

    name = "nats-server"
    host = "127.0.0.1"
    can_be_cut = False

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def cut(self, *, from_all: bool) -> Callable[[], None]:
        raise NotImplementedError("a single server has no network of its own")

    async def recovered(self) -> None:
        """It has nobody to catch up with."""

    async def leader_of(self, stream: str) -> str | None:
        return self.name


class Replica:
    """One of three servers."""

    def __init__(self, of: cluster.Cluster, server: cluster.Node) -> None:
        self.name = server.name
        self.can_be_cut = of.has_wires
        self.url = server.url
        self.host = server.host
        self.port = server.port
        self._cluster = of
        self._server = server

    @property
    def pid(self) -> int:
        return self._server.pid

    async def start(self) -> None:
        self._server.start()
        await self.recovered()

    async def stop(self) -> None:
        await self._server.stop()

    async def kill(self) -> None:
        await self._server.kill()

    def signal(self, number: signal.Signals) -> None:
        self._server.signal(number)

    def cut(self, *, from_all: bool) -> Callable[[], None]:
        wires, number = self._cluster.wires, self._cluster.number(self._server)
        if from_all:
            wires.unplug(number)
            return lambda: wires.plug(number)
        wires.part(number)
        return lambda: wires.join(number)

    async def recovered(self) -> None:
        await until(self._server.healthy, RECOVERED_S, self._server.tail)

    async def leader_of(self, stream: str) -> str | None:
        try:
            told = await asyncio.to_thread(self._server.asked, "jsz?accounts=true&streams=true")
        except OSError:
            return None
        return _leader_in(told, stream)


def _leader_in(told: dict[str, Any], stream: str) -> str | None:
    for account in told.get("account_details", []):
        for each in account.get("stream_detail", []):
            if each["name"] == stream:
                name: str | None = each.get("cluster", {}).get("leader")
                return name
    return None


async def leader(nodes: list[Node], stream: str) -> Node | None:
    """Who leads a stream, if any server knows."""
    for node in nodes:
        name = await node.leader_of(stream)
        for each in nodes:
            if each.name == name:
                return each
    return None


@asynccontextmanager
async def bus_of_one(folder: Path, lock: Lock | None) -> AsyncIterator[list[Node]]:
    async with Single(folder / "nats", lock) as server:
        yield [server]


@asynccontextmanager
async def bus_of_three(folder: Path, lock: Lock | None) -> AsyncIterator[list[Node]]:
    async with cluster.cluster_of_three(folder / "nats", lock=lock) as three:
        yield [Replica(three, server) for server in three.nodes]
