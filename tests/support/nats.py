"""A real nats-server for a test: `nats_server` is running, with a store of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from teambus.local.nats_server import NatsServer


@pytest.fixture
async def nats_server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with NatsServer(tmp_path / "nats") as server:
        yield server
