"""The system around an app on a bus that the test brings: several nodes, or one with rights."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import cast

from teambus.bus.connection import BusSettings, connect
from teambus.local.nats_server import NatsServer
from teambus.testing.model import ModelServer
from tests.support.cluster import Cluster, Node
from tests.support.system import System


@asynccontextmanager
async def system_on(
    bus: Cluster | Node, app: Path, folder: Path, *, environment: Mapping[str, str]
) -> AsyncIterator[System]:
    """Provisioned; nothing is started."""
    async with AsyncExitStack() as stack:
        model = await stack.enter_async_context(ModelServer(log=folder / "calls.jsonl"))
        settings = BusSettings(tuple(bus.url.split(",")), "test", publish_patience_s=30)
        connection = await stack.enter_async_context(connect(settings))
        # A system asks its nats-server for nothing but its url.
        nats = cast(NatsServer, bus)
        system = System(app, folder, nats, model, connection, environment)
        stack.push_async_callback(system.close)
        await system.provision()
        yield system
