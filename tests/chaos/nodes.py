"""The servers of the bus as chaos sees them. Another kind of bus is started here."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from teambus.local.nats_server import NatsServer


class Node(Protocol):
    """One server, always at the same port with the same store."""

    @property
    def url(self) -> str: ...

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


class Single(NatsServer):
    """A bus of one server."""

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)


@asynccontextmanager
async def bus_of_one(folder: Path) -> AsyncIterator[list[Node]]:
    async with Single(folder / "nats") as server:
        yield [server]
