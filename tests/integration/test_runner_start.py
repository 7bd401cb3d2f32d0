"""A team-runner whose bus goes away while it starts: it never says that it is ready."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.processes import READY_S, Process
from tests.support.system import System, system_of
from tests.support.tap import Frame, Point, tap_on

APP = Path(__file__).parent.parent / "e2e" / "apps" / "story.py"
EVERYTHING = (b"",)


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    async with system_of(APP, tmp_path, start=False) as system:
        await system.provision()
        yield system


@pytest.mark.parametrize("question", [b".db.", b".pool.", b".holds"])
async def test_a_runner_is_not_ready_before_it_answers_all_that_it_is_asked(
    system: System, question: bytes
) -> None:
    def listens(frame: Frame) -> bool:
        return frame.verb == b"SUB" and question in frame.raw

    async with tap_on(system.nats.port) as tap:
        silence = Point(listens, "before", EVERYTHING)
        tap.points.append(silence)
        runner: Process = system.runner
        starting = asyncio.create_task(runner.start(NATS_URL=tap.url))
        async with asyncio.timeout(READY_S):
            await silence.reached.wait()
        await tap.close()
        with pytest.raises(AssertionError, match="ended with 1 before ready"):
            await starting
        assert "the bus is not usable" in runner.tail()
