"""A provisioned nats-server for tests of the bus, and an app to provision it with."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from teambus.bus import reads, topology
from teambus.bus.bodies import Bodies
from teambus.bus.connection import Bus, BusSettings, connect
from teambus.bus.journal import Journal, read_tail
from teambus.bus.provision import provision
from teambus.bus.pull import Delivery, Inbox
from teambus.contracts import subjects
from teambus.contracts.catalogue import AppDescription, HookDescription, TeamDescription
from teambus.contracts.journal import ToolResult, ToolReturned
from teambus.local.nats_server import NatsServer
from tests.support.link import Link, link_to

T = TypeVar("T")

HOOK = HookDescription(name="note", app="news", function="note", teams=["desk"])
APP = AppDescription(
    id="news", name="News", teams=[TeamDescription(id="desk", name="Desk")], hooks=[HOOK]
)
POOL = topology.pool_name(APP.id)


@dataclass
class Here:
    """A nats-server and a connection to it."""

    nats: NatsServer
    bus: Bus

    @asynccontextmanager
    async def another(self, **changes: Any) -> AsyncIterator[Bus]:
        """Another connection, impatient unless told otherwise."""
        async with connect(settings(self.nats.url, **changes)) as bus:
            yield bus

    @asynccontextmanager
    async def linked(self, **changes: Any) -> AsyncIterator[tuple[Link, Bus]]:
        """A connection over a link that can lose what the server answers."""
        async with link_to(self.nats.port) as link, connect(settings(link.url, **changes)) as bus:
            yield link, bus

    async def stored(self, stream: str, subject: str) -> list[reads.Stored]:
        found = reads.history(self.bus, stream, subject, until=2**62, messages_max=10_000)
        return [message async for message in found]

    async def submit(self, number: int) -> None:
        subject = subjects.request("default", "desk")
        await self.bus.client.jetstream().publish(subject, b"%d" % number)


def settings(url: str, **changes: Any) -> BusSettings:
    quick = {"request_timeout_s": 0.5, "publish_patience_s": 10.0}
    return BusSettings((url,), "test", **{**quick, **changes})


@asynccontextmanager
async def here(folder: Path, **topology_settings: Any) -> AsyncIterator[Here]:
    async with NatsServer(folder / "nats") as nats, connect(settings(nats.url)) as bus:
        await provision(bus, APP, topology.TopologySettings(**topology_settings))
        yield Here(nats, bus)


async def journal_of(bus: Bus, run_id: str, **changes: Any) -> Journal:
    """A journal taken over from whoever wrote last."""
    subject = subjects.journal("default", run_id)
    tail = await read_tail(bus, subject)
    return Journal(bus, Bodies(bus), subject, run_id=run_id, tail=tail, **changes)


def step(path: str, content: str = "done") -> ToolReturned:
    return ToolReturned(path=path, digest="d", result=ToolResult(content=content))


async def fetch(inbox: Inbox, count: int, *, within_s: float) -> list[Delivery]:
    """`count` deliveries, or fewer when the time is over."""
    deadline = time.monotonic() + within_s
    taken: list[Delivery] = []
    while len(taken) < count and time.monotonic() < deadline:
        taken += await inbox.fetch(count - len(taken), asyncio.Event())
    return taken


async def until(
    ask: Callable[[], Awaitable[T]], within_s: float = 10, *, otherwise: str = "never true"
) -> T:
    deadline = time.monotonic() + within_s
    while not (answer := await ask()):
        assert time.monotonic() < deadline, otherwise
        await asyncio.sleep(0.01)
    return answer


async def connected(bus: Bus, *, is_so: bool = True) -> None:
    async def asked() -> bool:
        return bus.connected is is_so

    await until(asked)


async def disconnected(bus: Bus) -> None:
    await connected(bus, is_so=False)
