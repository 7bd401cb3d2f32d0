"""A model that fails, lies or is silent is asked again, or its run ends as a clear ERROR."""

from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest
import pytest_asyncio

from teambus.testing.model import ScriptedCall
from tests.e2e.conftest import APPS
from tests.support.system import System, system_of

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

CALLS_OF_A_RUN = 4
TRIES_MAX = 3
HURRIED = {
    "TEAM_RUNNER_MODEL_TIMEOUT_S": "1.5",
    "TEAM_RUNNER_MODEL_ATTEMPTS_MAX": str(TRIES_MAX),
    "TEAM_RUNNER_MODEL_BACKOFF_MAX_S": "2",
}
# What the model does, the code of a run that it keeps doing it to, and what the run says.
FAULTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "429": ({"status": 429, "retry_after_s": 0.7}, "model_rate_limit_error", "HTTP 429"),
    "500": ({"status": 500}, "model_provider_error", "HTTP 500"),
    "garbage": ({"garbage": True}, "model_answer_error", "cannot be read"),
    "dropped": ({"drop": True}, "model_provider_error", "the connection to the model"),
    "dropped midway": (
        {"drop_midway": True},
        "model_provider_error",
        "the connection to the model",
    ),
    "silent": ({"hang": True}, "model_timeout_error", "did not answer in time"),
}
OF_THE_LEADER = {"match": "Coordinate the two."}
OF_A_MEMBER = {"match": "Give facts."}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    folder = tmp_path_factory.mktemp("faults")
    async with system_of(APPS / "story.py", folder, environment=HURRIED) as system:
        yield system


@pytest_asyncio.fixture(loop_scope="module")
async def story(served: System) -> System:
    await served.model.reset()
    return served


async def ends_as_error(story: System, message: str, code: str) -> dict[str, Any]:
    """A run that is answered, with 200, as ERROR; its final event says why, for programs."""
    answer = await story.post(message)
    assert answer.status_code == 200, answer.text
    assert "Traceback" not in answer.text
    run: dict[str, Any] = answer.json()
    assert run["status"] == "ERROR"
    assert [event["error_type"] for event in run["events"]] == [code]
    assert (await story.completed(run["run_id"])).code == code
    return run


def between(calls: list[ScriptedCall]) -> list[float]:
    """Seconds from the end of each call to the beginning of the next."""
    return [after.at - (before.ended_at or 0) for before, after in pairwise(calls)]


@pytest.mark.parametrize("who", [OF_THE_LEADER, OF_A_MEMBER], ids=["leader", "member"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_model_that_fails_twice_is_asked_again_until_it_answers(
    story: System, fault: str, who: dict[str, Any]
) -> None:
    await story.model.rules([{**who, **FAULTS[fault][0], "times": TRIES_MAX - 1}])
    run = await story.run()
    assert run["status"] == "COMPLETED"
    assert [member["status"] for member in run["member_responses"]] == ["COMPLETED"] * 2
    calls = await story.model.calls()
    assert len(calls) == CALLS_OF_A_RUN + TRIES_MAX - 1
    assert [call.outcome for call in calls].count("answered") == CALLS_OF_A_RUN


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_leader_whose_model_goes_on_failing_ends_its_run_with_the_reason(
    story: System, fault: str
) -> None:
    does, code, says = FAULTS[fault]
    await story.model.rules([{**OF_THE_LEADER, **does}])
    run = await ends_as_error(story, "ask", code)
    assert says in run["content"]
    assert len(await story.model.calls()) == TRIES_MAX


async def test_a_member_whose_model_goes_on_failing_is_told_of_to_the_leader(
    story: System,
) -> None:
    await story.model.rules([{**OF_A_MEMBER, "status": 500}])
    run = await story.run()
    assert run["status"] == "COMPLETED"
    statuses = {member["agent_name"]: member["status"] for member in run["member_responses"]}
    assert statuses == {"Researcher": "ERROR", "Writer": "COMPLETED"}
    assert "HTTP 500" in run["content"], "the leader answered with what it was told"


async def test_the_wait_a_provider_asks_for_is_kept(story: System) -> None:
    await story.model.rules([{**OF_THE_LEADER, "status": 429, "retry_after_s": 0.7, "times": 2}])
    assert (await story.run())["status"] == "COMPLETED"
    calls = await story.model.calls()
    assert all(wait_s >= 0.7 for wait_s in between(calls[:3]))


async def test_a_provider_that_asks_to_wait_for_an_hour_is_not_waited_for_that_long(
    story: System,
) -> None:
    await story.model.rules([{**OF_THE_LEADER, "status": 429, "retry_after_s": 3600}])
    await ends_as_error(story, "ask", "model_rate_limit_error")


@pytest.mark.parametrize("status", [400, 401, 404])
async def test_a_call_that_would_be_refused_again_is_made_once(story: System, status: int) -> None:
    await story.model.rules([{**OF_THE_LEADER, "status": status}])
    code = "model_authentication_error" if status == 401 else "model_provider_error"
    run = await ends_as_error(story, "ask", code)
    assert f"HTTP {status}" in run["content"]
    assert len(await story.model.calls()) == 1


async def test_a_run_without_a_key_says_which_variable_to_set_and_calls_nobody(
    story: System,
) -> None:
    assert await story.runner.stop() == 0
    await story.runner.start(OPENAI_API_KEY="")
    run = await ends_as_error(story, "ask", "model_authentication_error")
    assert "OPENAI_API_KEY is not set" in run["content"]
    assert await story.model.calls() == []
    assert await story.runner.stop() == 0
    await story.runner.start()
    assert (await story.run())["status"] == "COMPLETED"
