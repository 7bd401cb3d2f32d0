"""Whatever dies, an accepted run ends once, and what was paid for is not paid for again."""

import asyncio
import signal

import httpx2
import pytest

from tests.support.system import System, until

CALLS_OF_A_RUN = 4


async def held_run(story: System, text: str, *, calls: int) -> "asyncio.Task[httpx2.Response]":
    """A run whose last of `calls` model calls waits until the test releases "gate"."""
    posted = asyncio.create_task(story.post(text))
    await story.model.wait_for_calls(calls, timeout_s=20)
    return posted


async def settle(posted: "asyncio.Task[httpx2.Response]") -> None:
    """The answer to a request whose gateway or bus was killed: any, or none."""
    await asyncio.gather(posted, return_exceptions=True)


async def only_run(story: System) -> str:
    """The id of the one run there is, by its journal."""

    async def journals() -> set[str]:
        stored = await story.stored("TEAMBUS_JOURNAL", "teambus.v1.journal.*.*.*")
        return {message.subject.split(".")[4] for message in stored}

    found = await until(journals, 20, "no journal")
    assert len(found) == 1, found
    return found.pop()


async def poll(story: System, run_id: str, session_id: str) -> httpx2.Response:
    return await story.client.get(
        f"/teams/content-team/runs/{run_id}", params={"session_id": session_id}
    )


async def test_a_run_survives_the_gateways_death_and_its_result_is_there_to_poll(
    story: System,
) -> None:
    await story.model.rules([{"match": "Give facts", "hold": "gate"}])
    posted = await held_run(story, "kill the gateway", calls=3)
    run_id = await only_run(story)
    await story.gateway.kill()
    await settle(posted)
    await story.model.release("gate")
    completed = await story.completed(run_id)
    await story.gateway.start()
    answer = await poll(story, run_id, completed.session_id)
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "COMPLETED"
    assert (await story.hook_lines(1))[0].startswith(f"{run_id} COMPLETED")


async def test_a_client_that_leaves_before_the_reply_loses_neither_run_nor_hooks(
    story: System,
) -> None:
    await story.model.rules([{"match": "Give facts", "hold": "gate"}])
    posted = await held_run(story, "the client leaves", calls=3)
    posted.cancel()
    await settle(posted)
    run_id = await only_run(story)
    await story.model.release("gate")
    completed = await story.completed(run_id)
    assert completed.output.status == "COMPLETED"
    assert (await story.hook_lines(1))[0].startswith(f"{run_id} COMPLETED")


@pytest.mark.parametrize("who", ["the restarted one", "another"])
async def test_a_killed_runners_run_is_completed_without_paying_again(
    story: System, who: str
) -> None:
    await story.model.rules([{"match": "Give facts", "hold": "gate"}])
    posted = await held_run(story, "kill the runner", calls=3)
    # The leader's first answer and the other member's are in the journal; one call is in flight.
    await story.model.wait_for_ended(2, timeout_s=20)
    await until(lambda: journaled(story, 2), 20, "the answers were not journaled")
    if who == "another":
        await story.second_runner.start()
    await story.runner.kill()
    if who == "the restarted one":
        await story.runner.start()
    await story.model.release("gate")
    answer = await posted
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "COMPLETED"
    calls = await story.model.calls()
    assert len(calls) == CALLS_OF_A_RUN + 1, "only the call in flight at the kill is made again"
    assert len(await story.every_completed()) == 1
    await story.hook_lines(1)


async def journaled(story: System, answers: int) -> bool:
    stored = await story.stored("TEAMBUS_JOURNAL", "teambus.v1.journal.*.*.*")
    return sum(message.data.count(b'"record":"model"') for message in stored) >= answers


@pytest.mark.parametrize("away_s", [0.0, 4.0], ids=["briefly", "for longer than ack_wait"])
async def test_a_killed_nats_server_loses_no_run_and_repeats_no_step(
    story: System, away_s: float
) -> None:
    await story.model.rules([{"match": "Give facts", "hold": "gate"}])
    posted = await held_run(story, "kill the bus", calls=3)
    run_id = await only_run(story)
    await story.nats.kill()
    await asyncio.sleep(away_s)
    await story.nats.start()
    await story.model.release("gate")
    completed = await story.completed(run_id, wait_s=40)
    assert completed.output.status == "COMPLETED"
    answer = await posted
    assert answer.status_code == 200, answer.text
    assert len(await story.model.calls()) == CALLS_OF_A_RUN
    assert len(await story.every_completed()) == 1
    assert (await story.hook_lines(1, wait_s=40))[0].startswith(f"{run_id} COMPLETED")


async def test_a_stopped_runner_that_wakes_too_late_writes_nothing_and_calls_no_model(
    story: System,
) -> None:
    await story.model.rules([{"match": "Give facts", "times": 1, "hold": "gate"}])
    posted = await held_run(story, "stop the runner", calls=3)
    await until(lambda: journaled(story, 2), 20, "the answers were not journaled")
    story.runner.signal(signal.SIGSTOP)
    await story.second_runner.start()
    answer = await posted
    assert answer.status_code == 200, answer.text
    run_id = answer.json()["run_id"]
    before = await everything(story)
    calls = len(await story.model.calls())
    await story.model.release("gate")
    story.runner.signal(signal.SIGCONT)
    await until(lambda: noticed(story), 20, f"the loss was not noticed: {story.runner.tail()}")
    assert await everything(story) == before
    assert len(await story.model.calls()) == calls
    assert (await story.completed(run_id)).output.status == "COMPLETED"
    assert len(await story.every_completed()) == 1


async def noticed(story: System) -> bool:
    return "lost the run to another runner" in story.runner.log.read_text()


async def everything(story: System) -> dict[str, int]:
    """The last sequence of every stream a runner may write to."""
    streams = ("TEAMBUS_EVENTS", "TEAMBUS_JOURNAL", "TEAMBUS_SESSIONS", "TEAMBUS_DEAD")
    last = {}
    for stream in streams:
        stored = await story.stored(stream, "teambus.v1.>")
        last[stream] = stored[-1].seq if stored else 0
    return last
