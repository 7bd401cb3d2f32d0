"""A deploy in the middle of a run: what the old code came to is left where the new code differs."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from teambus.bus.bodies import Bodies
from teambus.bus.requests import Requests
from teambus.contracts.run import RunRequest
from tests.support.system import System, system_of, until

STORY = Path(__file__).parent / "apps" / "story.py"
OLD, NEW = "Coordinate the two.", "Have it in verse."
OLD_CALLS = 3


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    app = tmp_path / "app" / "story.py"
    app.parent.mkdir()
    app.write_text(STORY.read_text())
    async with system_of(app, tmp_path, start=False) as system:
        await system.provision()
        await system.runner.start()
        yield system


async def begun(system: System) -> None:
    """A run that has its leader's first answer and one member's, the other's call under way."""
    request = RunRequest(run_id="r", input="about rivers", session_id="s")
    await Requests(system.bus, Bodies(system.bus), "test").submit(
        "default", "content-team", request
    )
    await system.model.wait_for_calls(OLD_CALLS, timeout_s=30)

    async def has_journaled() -> bool:
        entries = await system.stored("TEAMBUS_JOURNAL", ">")
        return sum(entry.data.count(b'"record":"model"') for entry in entries) == 2

    await until(has_journaled, 30, system.runner.tail)


async def redeployed(system: System, old: str, new: str) -> None:
    await system.runner.kill()
    edit(Path(system.environment["TEAMBUS_APP"]), old, new)
    await system.runner.start()


def edit(app: Path, old: str, new: str) -> None:
    text = app.read_text()
    assert old in text
    app.write_text(text.replace(old, new))


def said(system: System, event: str) -> list[str]:
    """The steps of which the log says this."""
    lines = map(json.loads, system.runner.log.read_text().splitlines())
    return [line["step"] for line in lines if line["event"].startswith(event)]


async def test_a_run_goes_on_with_the_new_code_and_nothing_of_the_old(system: System) -> None:
    ask = {"member_id": "writer", "task": "sing"}
    asking = [{"name": "delegate_task_to_member", "arguments": ask}]
    await system.model.rules(
        [
            {"match": [NEW, "Sung."], "reply": "In verse."},
            {"match": [NEW], "tool_calls": asking},
            {"match": "sing", "reply": "Sung."},
            {"match": "Give facts", "hold": "old"},
        ]
    )
    await begun(system)
    await redeployed(system, OLD, NEW)
    output = (await system.completed("r", wait_s=60)).output
    assert (output.status, output.content) == ("COMPLETED", "In verse.")
    assert [member.content for member in output.member_responses] == ["Sung."]
    assert len(await system.model.calls()) == OLD_CALLS + 3
    assert said(system, "the code changed") == ["leader/0"]


async def test_a_change_of_one_member_leaves_what_the_others_said(system: System) -> None:
    await system.model.rules([{"match": "Give facts", "hold": "old", "times": 1}])
    await begun(system)
    await redeployed(system, "Write prose.", "Write verse.")
    output = (await system.completed("r", wait_s=60)).output
    assert output.status == "COMPLETED"
    calls = (await system.model.calls())[OLD_CALLS:]
    assert sum("Give facts" in call.system for call in calls) == 1
    assert sum("Write verse" in call.system for call in calls) == 1
    assert len(calls) == 3
    (step,) = said(system, "the code changed")
    assert step.startswith("member:")
