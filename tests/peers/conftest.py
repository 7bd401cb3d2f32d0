"""The office served by AgentOS and by us, once for the tests of a file."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from tests.peers.agentos import ROOT, Served, agentos
from tests.support.system import system_of


@asynccontextmanager
async def ours(folder: Path, more: Mapping[str, str] | None = None) -> AsyncIterator[Served]:
    app = {"TEAMBUS_APP": "tests.peers.apps.ours", "TEAMBUS_APP_DIR": str(ROOT)}
    environment = {**app, **(more or {})}
    async with system_of(ROOT / "tests", folder, environment=environment) as system:
        yield Served("teambus", f"http://127.0.0.1:{system.port}", system.model)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def our_office(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    async with ours(tmp_path_factory.mktemp("ours")) as served:
        yield served


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def their_office(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    async with agentos(tmp_path_factory.mktemp("theirs")) as served:
        yield served
