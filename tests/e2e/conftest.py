"""A system of its own for each test that breaks one, and a shared one for those that do not."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.system import System, system_of

APPS = Path(__file__).parent / "apps"


@pytest.fixture
async def story(tmp_path: Path) -> AsyncIterator[System]:
    async with system_of(APPS / "story.py", tmp_path) as system:
        yield system


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lasting_story(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    async with system_of(APPS / "story.py", tmp_path_factory.mktemp("story")) as system:
        yield system
