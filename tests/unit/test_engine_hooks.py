"""Foreground hooks: what they are given, may change, may refuse, and cannot break."""

import threading
from typing import Any

import pytest

from teambus import (
    Agent,
    InputCheckError,
    OutputCheckError,
    RunContext,
    RunOutput,
    Session,
    Team,
    TeamRunInput,
    TeamRunOutput,
    hook,
)
from teambus.contracts.output import RunStatus
from teambus_team_runner.engine.ports import EngineLimits
from tests.unit.engine_fakes import (
    FakeModels,
    FakeSteps,
    Line,
    agent,
    delegate,
    play,
    started,
    team,
)


def models(**lines: Any) -> FakeModels:
    script: dict[str, Any] = {"leader": [[delegate("writer", "write")], "Tea."], "writer": ["W."]}
    return FakeModels(**{**script, **lines})


def team_with(**options: Any) -> Team:
    return team(agent("Writer"), **options)


async def test_a_pre_hook_changes_what_the_model_reads() -> None:
    async def calm(run_input: TeamRunInput, run_context: RunContext) -> None:
        run_input.input_content = run_input.input_content.lower()
        run_context.session_state = {"calm": True}

    played = await play(team_with(pre_hooks=[calm]), models())

    assert played.models.asked[0][1].messages[-1].content == "which tea?"
    assert played.output.input == TeamRunInput(input_content="which tea?")
    assert played.output.session_state == {"calm": True}
    assert played.frames.events[:3] == [
        "TeamPreHookStarted",
        "TeamPreHookCompleted",
        "TeamRunStarted",
    ]


async def test_a_pre_hook_that_refuses_ends_the_run_before_any_model() -> None:
    def refuse(run_input: TeamRunInput) -> None:
        raise InputCheckError("no tea here", check_trigger="off_topic", additional_data={"n": 1})

    played = await play(team_with(pre_hooks=[refuse]), models())

    assert played.finished.code == "input_check_error"
    assert (played.output.status, played.output.content) == (RunStatus.ERROR, "no tea here")
    assert played.output.messages is None
    assert played.output.events
    event = played.output.events[0]
    assert (event["event"], event["error_type"]) == ("TeamRunError", "input_check_error")
    assert (event["error_id"], event["additional_data"]) == ("off_topic", {"n": 1})
    assert played.models.asked == []


async def test_a_post_hook_gets_the_finished_output_and_may_change_the_answer() -> None:
    seen: dict[str, Any] = {}

    async def polish(**given: Any) -> None:
        seen.update(given)
        seen["status"] = given["run_output"].status
        given["run_output"].content += " Enjoy!"

    given = started(user_id="u", metadata={"m": 1}, session_state={"s": 1})
    team = team_with(post_hooks=[polish])
    played = await play(team, models(), start=given)

    assert played.output.content == "Tea. Enjoy!"
    assert seen["status"] == RunStatus.COMPLETED
    assert isinstance(seen["run_output"], TeamRunOutput)
    assert seen["team"] is team
    assert isinstance(seen["session"], Session)
    assert seen["session"].session_id == "session-1"
    assert (seen["user_id"], seen["metadata"], seen["debug_mode"]) == ("u", {"m": 1}, False)
    ids = {"current_user_id": "u", "current_session_id": "session-1", "current_run_id": "run-1"}
    assert seen["run_context"].session_state == {"s": 1, **ids}
    assert played.output.session_state == {"s": 1}
    assert seen["run_input"].input_content == "Which tea?"
    assert played.frames.events[-2:] == ["TeamPostHookStarted", "TeamPostHookCompleted"]


async def test_an_agent_says_that_it_starts_before_its_pre_hooks_and_a_team_after() -> None:
    def note(run_input: TeamRunInput) -> None:
        assert run_input.input_content

    writer = agent("Writer", pre_hooks=[note])
    solo = await play(writer, FakeModels(writer=["Prose."]))
    lines: list[Line] = [[delegate("writer", "Write.")], "Tea."]
    both = await play(team(writer, pre_hooks=[note]), FakeModels(leader=lines, writer=["Prose."]))
    again = await play(writer, FakeModels(writer=["Prose."]), steps=FakeSteps(solo.steps.journal))

    assert solo.frames.events[:3] == ["RunStarted", "PreHookStarted", "PreHookCompleted"]
    assert solo.frames.events.count("RunStarted") == 1
    assert again.frames.events == solo.frames.events
    assert both.frames.events[:3] == [
        "TeamPreHookStarted",
        "TeamPreHookCompleted",
        "TeamRunStarted",
    ]
    of_member = [each for each in both.frames.events if not each.startswith("Team")]
    assert of_member[:3] == solo.frames.events[:3]


async def test_post_hooks_wait_until_all_paid_work_is_durable() -> None:
    steps = FakeSteps()
    at: list[list[int]] = []

    def note() -> None:
        at.append(list(steps.settled_after))

    await play(team_with(post_hooks=[note]), models(), steps=steps)

    assert at == [[len(steps.done)]]


async def test_an_answer_that_a_check_refuses_is_nowhere_in_the_output() -> None:
    def refuse(run_output: TeamRunOutput) -> None:
        raise OutputCheckError("not suitable")

    played = await play(team_with(post_hooks=[refuse]), models(leader=["The secret is 7."]))

    assert played.finished.code == "output_check_error"
    assert (played.output.status, played.output.content) == (RunStatus.ERROR, "not suitable")
    assert "secret" not in str(played.output)
    assert played.output.metrics
    assert played.output.metrics.total_tokens == 15


@pytest.mark.parametrize("place", ["pre_hooks", "post_hooks"])
async def test_a_hook_that_fails_is_logged_by_name_and_the_run_goes_on(
    place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    called: list[str] = []

    def breaks() -> None:
        raise ValueError("oops")

    def wants_too_much(something: int) -> None:
        raise AssertionError("it cannot be called")

    def last() -> None:
        called.append("last")

    played = await play(team_with(**{place: [breaks, wants_too_much, last]}), models())

    assert (played.output.status, played.output.content) == (RunStatus.COMPLETED, "Tea.")
    assert called == ["last"]
    logged = capsys.readouterr().out
    assert "breaks" in logged
    assert "wants_too_much" in logged


async def test_a_blocking_hook_blocks_no_loop_and_not_for_ever() -> None:
    released = threading.Event()
    where: list[threading.Thread] = []

    def stuck() -> None:
        where.append(threading.current_thread())
        released.wait(30)

    limits = EngineLimits(hook_timeout_s=0.05)
    played = await play(team_with(post_hooks=[stuck]), models(), limits=limits)
    released.set()

    assert played.output.status == RunStatus.COMPLETED
    assert where[0] is not threading.main_thread()


async def test_a_background_hook_is_not_called_here() -> None:
    @hook(run_in_background=True)
    def later() -> None:
        raise AssertionError("the hook-runner calls it")

    own, app_wide = team_with(post_hooks=[later]), team_with(post_hooks=[lambda: 1 / 0])
    app_wide.hooks_in_background = True

    for each in (own, app_wide):
        played = await play(each, models())
        assert "TeamPostHookStarted" not in played.frames.events


async def test_a_change_that_json_cannot_carry_is_taken_back() -> None:
    def spoil(run_output: TeamRunOutput) -> None:
        run_output.content = object()

    played = await play(team_with(post_hooks=[spoil]), models())

    assert played.output.content == "Tea."


async def test_members_hooks_work_on_their_own_run() -> None:
    seen: list[Any] = []

    def before(run_input: TeamRunInput, agent: Agent) -> None:
        seen.append(agent.id)
        run_input.input_content += "!"

    def after(run_output: RunOutput, run_context: RunContext) -> None:
        seen.append((run_output.status, run_output.content, run_context.run_id))
        run_output.content = "Better words."

    writer = agent("Writer", pre_hooks=[before], post_hooks=[after])
    played = await play(team(writer), models())

    (member,) = played.output.member_responses
    assert seen == ["writer", (RunStatus.COMPLETED, "W.", member.run_id)]
    assert played.models.asked_of("writer")[0].messages[-1].content == "write!"
    assert member.content == "Better words."
    assert played.output.tools
    assert played.output.tools[0].result == "Better words."
    assert "PostHookCompleted" in played.frames.events


@pytest.mark.parametrize(
    ("place", "error"),
    [("pre_hooks", InputCheckError("not this")), ("post_hooks", OutputCheckError("not this"))],
)
async def test_a_member_that_is_refused_does_not_end_its_team(place: str, error: Exception) -> None:
    def refuse() -> None:
        raise error

    played = await play(team(agent("Writer", **{place: [refuse]})), models(writer=["secret"]))

    (member,) = played.output.member_responses
    assert (member.status, member.content) == (RunStatus.ERROR, "not this")
    assert played.output.tools
    assert played.output.tools[0].result == "not this"
    assert played.output.status == RunStatus.COMPLETED
    assert "secret" not in str(played.output)


async def test_each_hook_is_given_a_key_of_its_own_and_the_same_in_each_attempt() -> None:
    keys: list[str | None] = []

    def noted(run_context: RunContext) -> None:
        keys.append(run_context.idempotency_key)

    def also_noted(run_context: RunContext) -> None:
        noted(run_context)

    for _ in range(2):
        hooked = team_with(pre_hooks=[noted, also_noted], post_hooks=[noted, also_noted])
        await play(hooked, models())

    assert len(set(keys[:4]) - {None}) == 4
    assert keys[:4] == keys[4:]
