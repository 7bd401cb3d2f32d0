"""A run that dies anywhere and is run again from its journal ends the same and pays the rest."""

import asyncio
import contextlib
from typing import Any

import pytest

from teambus import RunContext, RunOutput, Team, TeamRunInput
from teambus_team_runner.engine.ports import RunStart
from teambus_team_runner.models.port import ModelError
from tests.unit.engine_fakes import (
    Died,
    FakeModels,
    FakeSteps,
    Played,
    agent,
    call,
    delegate,
    play,
    started,
    team,
)


class StoppedClock:
    """Time that is the same in every run, so that whole outputs can be compared."""

    def time(self) -> float:
        return 1000.0

    def perf_counter(self) -> float:
        return 1.0


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("tools", "conversation"):
        monkeypatch.setattr(f"teambus_team_runner.engine.{module}.time", StoppedClock())


class Scene:
    """A team with everything that is a step: hooks, tools, members that fail, changes of state."""

    def __init__(self) -> None:
        self.called: list[str] = []

    def team(self) -> Team:
        called = self.called

        def before(run_input: TeamRunInput, run_context: RunContext) -> None:
            called.append("before")
            run_input.input_content += " (politely)"
            assert run_context.session_state is not None
            run_context.session_state["asked"] = True

        def member_before(run_input: TeamRunInput) -> None:
            called.append("member before")
            run_input.input_content += " slowly"

        def member_after(run_output: RunOutput) -> None:
            called.append("member after")
            run_output.content = f"{run_output.content} Indeed."

        def brew(minutes: int, run_context: RunContext) -> dict[str, int]:
            called.append("brew")
            assert run_context.session_state is not None
            run_context.session_state["minutes"] = minutes
            return {"minutes": minutes}

        return team(
            agent("Researcher", tools=[brew]),
            agent("Writer", pre_hooks=[member_before], post_hooks=[member_after]),
            agent("Critic"),
            pre_hooks=[before],
            tools=[brew],
        )

    def models(self) -> FakeModels:
        return FakeModels(
            leader=[
                [delegate("researcher", "find", "c1"), call("brew", {"minutes": 1}, "c2")],
                [delegate("writer", "write", "c3"), delegate("critic", "judge", "c4")],
                lambda request: f"Tea. {request.messages[-1].content}",
            ],
            researcher=[[call("brew", {"minutes": 2}, "r1")], "Facts."],
            writer=[lambda request: f"Words, {request.messages[-1].content}."],
            critic=[ModelError("model_provider_error", "the critic is ill")],
        )

    def start(self) -> RunStart:
        return started(session_state={"mood": "calm"})


async def played(steps: FakeSteps) -> tuple[Scene, Played]:
    scene = Scene()
    return scene, await play(scene.team(), scene.models(), steps=steps, start=scene.start())


async def test_a_whole_journal_is_replayed_without_asking_anyone() -> None:
    _, first = await played(FakeSteps())
    scene, again = await played(FakeSteps(first.steps.journal))

    assert again.output == first.output
    assert again.models.asked == []
    assert again.steps.done == []
    assert scene.called == []


async def test_a_run_that_dies_at_any_step_ends_the_same_when_it_is_taken_over() -> None:
    _, whole = await played(FakeSteps())
    assert len(whole.steps.done) == 12

    for k in range(len(whole.steps.done)):
        dying = FakeSteps()
        dying.die_at = k
        with pytest.raises(Died):
            await played(dying)
        _, again = await played(FakeSteps(dying.journal))

        assert again.output == whole.output, f"died at step {k}"
        assert set(again.steps.done) == set(whole.steps.done) - set(dying.done)
        assert len(again.models.asked) == sum(
            not path.endswith(("pinned", "hooks")) and "tool:" not in path
            for path in again.steps.done
        )


async def test_a_run_that_dies_again_and_again_still_ends_the_same() -> None:
    _, whole = await played(FakeSteps())
    journal: dict[str, Any] = {}
    last: Played | None = None

    for _ in whole.steps.done:
        steps = FakeSteps(journal)
        steps.die_at = 1
        with contextlib.suppress(Died):
            _, last = await played(steps)
        journal = steps.journal

    assert last
    assert last.output == whole.output


async def test_pre_hooks_are_not_repeated_once_pinned() -> None:
    dying = FakeSteps()
    dying.die_at = 1
    with pytest.raises(Died):
        await played(dying)

    scene, again = await played(FakeSteps(dying.journal))

    assert "before" not in scene.called
    assert again.output.input
    assert again.output.input.input_content == "Which tea? (politely)"
    assert again.output.session_state == {"mood": "calm", "asked": True, "minutes": 2}


async def test_a_failure_a_member_had_is_a_failure_in_the_replay() -> None:
    _, first = await played(FakeSteps())
    scene = Scene()
    healed = FakeModels(
        leader=["never"], researcher=["never"], writer=["never"], critic=["I am well!"]
    )

    again = await play(
        scene.team(), healed, steps=FakeSteps(first.steps.journal), start=scene.start()
    )

    assert again.output == first.output
    assert again.output.member_responses[2].content == "the critic is ill"


async def test_losing_the_run_stops_everybody_and_raises_one_plain_exception() -> None:
    models = FakeModels(
        leader=[[delegate("researcher", "x", "c1"), delegate("writer", "y", "c2")], "Tea."],
        researcher=["Facts."],
        writer=["Words."],
    )
    models.held = {"writer": asyncio.Event()}
    steps = FakeSteps()
    steps.die_at = 2

    with pytest.raises(Died):
        await play(team(agent("Researcher"), agent("Writer")), models, steps=steps)

    assert steps.done == ["pinned", "leader/0"]
    assert len(asyncio.all_tasks()) == 1


async def test_a_cancelled_run_cancels_its_members_and_says_so_plainly() -> None:
    models = FakeModels(
        leader=[[delegate("researcher", "x", "c1"), delegate("writer", "y", "c2")], "Tea."],
        researcher=["Facts."],
        writer=["Words."],
    )
    models.held = {"writer": asyncio.Event(), "researcher": asyncio.Event()}
    run = asyncio.create_task(play(team(agent("Researcher"), agent("Writer")), models))
    async with asyncio.timeout(5):
        await models.asked_times(3)

    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run

    assert len(asyncio.all_tasks()) == 1
