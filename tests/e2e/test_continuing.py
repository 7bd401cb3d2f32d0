"""A run that goes on with another is lost as little as any, and its hooks are called."""

import asyncio

from tests.support.system import System

ON = "And in short?"


async def test_a_run_that_goes_on_survives_its_runner_and_its_hooks_are_called(
    story: System,
) -> None:
    ended = await story.run("Write about tea")
    paid = len(await story.model.calls())
    await story.model.rules([{"match": ON, "hold": "gate", "times": 1, "reply": "Tea, in short."}])
    path = f"/teams/content-team/runs/{ended['run_id']}/continue"
    form = {"session_id": ended["session_id"], "input": ON, "stream": "false"}
    asking = asyncio.create_task(story.client.post(path, data=form))
    await story.model.wait_for_calls(paid + 1, timeout_s=20)
    await story.runner.kill()
    await story.model.rules([{"match": ON, "reply": "Tea, in short."}])
    await story.runner.start()

    answer = await asking

    assert answer.status_code == 200, answer.text
    output = answer.json()
    assert (output["status"], output["content"]) == ("COMPLETED", "Tea, in short.")
    assert output["forked_from_run_id"] == ended["run_id"] != output["run_id"]
    assert output["member_responses"] == ended["member_responses"]
    assert len(await story.model.calls()) == paid + 2, "the call in flight at the kill, again"
    lines = await story.hook_lines(2)
    assert [line.split()[:2] for line in lines] == [
        [ended["run_id"], "COMPLETED"],
        [output["run_id"], "COMPLETED"],
    ]
