"""The same `Idempotency-Key` is the same run, whenever it is asked again."""

import asyncio
from pathlib import Path

from tests.e2e.conftest import APPS
from tests.support.system import System, system_of

CALLS_OF_A_RUN = 4


async def test_asked_again_while_it_runs_it_is_one_run(story: System) -> None:
    await story.model.rules([{"match": "Give facts", "hold": "gate"}])
    first = asyncio.create_task(story.post("once", key="k"))
    await story.model.wait_for_calls(3, timeout_s=20)
    again = asyncio.create_task(story.post("once", key="k"))
    await story.model.release("gate")
    answers = [await first, await again]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    assert len(await story.model.calls()) == CALLS_OF_A_RUN


async def test_asked_again_after_it_ended_and_after_everything_restarted(story: System) -> None:
    first = await story.post("once", key="k")
    again = await story.post("once", key="k")
    await asyncio.gather(*(each.kill() for each in (story.gateway, story.runner)))
    await story.nats.kill()
    await story.nats.start()
    await asyncio.gather(story.gateway.start(), story.runner.start())
    later = await story.post("once", key="k")
    assert first.status_code == 200, first.text
    assert first.json() == again.json() == later.json()
    assert len(await story.model.calls()) == CALLS_OF_A_RUN
    assert len(await story.every_completed()) == 1


async def test_asked_again_after_the_duplicate_window(tmp_path: Path) -> None:
    short = {"TOPOLOGY_DUPLICATE_WINDOW_S": "0.2"}
    async with system_of(APPS / "story.py", tmp_path, environment=short) as story:
        first = await story.post("once", key="k")
        await asyncio.sleep(0.5)
        again = await story.post("once", key="k")
        assert first.status_code == 200, first.text
        assert first.json() == again.json()
        assert len(await story.model.calls()) == CALLS_OF_A_RUN
        await story.queue_emptied()


async def test_another_body_under_the_same_key_is_a_conflict(story: System) -> None:
    first = await story.post("once", key="k")
    other = await story.post("something else", key="k")
    assert first.status_code == 200, first.text
    assert other.status_code == 409, other.text
    assert len(await story.model.calls()) == CALLS_OF_A_RUN


async def test_without_a_key_each_request_is_a_run_of_its_own(story: System) -> None:
    first, second = await story.run("same words"), await story.run("same words")
    assert first["run_id"] != second["run_id"]
    assert len(await story.model.calls()) == 2 * CALLS_OF_A_RUN
