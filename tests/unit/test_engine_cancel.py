"""A cancelled run ends with what it has come to, and begins nothing more."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from teambus import Agent, OpenAIChat, RunContext, Team, TeamRunOutput
from teambus.contracts.journal import ModelAnswer
from teambus.contracts.output import RunOutput, RunStatus
from teambus_team_runner.engine.cancellation import Cancellation, RunCancelled
from teambus_team_runner.engine.ports import EngineLimits
from teambus_team_runner.engine.run import run_component
from teambus_team_runner.models.port import BeforeTry, Heard, ModelRequest
from tests.unit.engine_fakes import (
    FakeFrames,
    FakeModel,
    FakeModels,
    FakeSteps,
    agent,
    call,
    delegate,
    play,
    started,
    team,
)

NOT_WANTED = "changed my mind"
BOTH = [delegate("scout", "look", "c1"), delegate("editor", "write", "c2")]


class Playing:
    """A run under way, as far as a test lets it."""

    def __init__(self, team: Team, models: FakeModels, steps: FakeSteps) -> None:
        self.models, self.steps, self.frames = models, steps, FakeFrames()
        self.run = asyncio.create_task(
            run_component(team, started(), steps, models, self.frames, EngineLimits())
        )

    async def cancelled(self) -> TeamRunOutput:
        self.steps.cancellation.request(NOT_WANTED)
        async with asyncio.timeout(5):
            finished = await self.run
        assert finished.code is None
        return finished.output


@contextlib.asynccontextmanager
async def playing(
    who: Team, models: FakeModels, steps: FakeSteps | None = None, *, hold: str = ""
) -> AsyncIterator[Playing]:
    """The run, whose model `hold` never answers."""
    if hold:
        models.held[hold] = asyncio.Event()
    play = Playing(who, models, steps or FakeSteps())
    try:
        yield play
    finally:
        play.run.cancel()
        await asyncio.gather(play.run, return_exceptions=True)


def statuses(output: TeamRunOutput) -> dict[str | None, RunStatus]:
    return {each.agent_id: each.status for each in output.member_responses}


def two() -> tuple[Agent, Agent]:
    return agent("Scout"), agent("Editor")


async def test_a_run_cancelled_in_its_first_model_call_ends_cancelled_with_the_reason() -> None:
    async with playing(team(agent("Scout")), FakeModels(leader=["Tea."]), hold="leader") as here:
        await here.models.asked_times(1)
        output = await here.cancelled()
    assert (output.status, output.cancellation_stage) == ("CANCELLED", "EXECUTING")
    assert output.content == NOT_WANTED
    assert [message.role for message in output.messages or []] == ["system", "user"]
    (said,) = output.events or []
    assert (said["event"], said["reason"]) == ("TeamRunCancelled", NOT_WANTED)
    assert "content" not in said


class Slow(FakeModel):
    """Says the first words and then no more."""

    async def answer(
        self, request: ModelRequest, before_try: BeforeTry, heard: Heard | None = None
    ) -> ModelAnswer:
        assert heard is not None
        heard("Green")
        heard(" tea")
        self.arrivals.release()
        await asyncio.Event().wait()
        raise AssertionError("never said")


class SlowModels(FakeModels):
    def of(self, declared: OpenAIChat) -> FakeModel:
        return Slow(declared.id, [], self.asked, self.held, self._arrivals)


async def test_of_an_answer_that_was_cut_what_was_heard_is_kept() -> None:
    async with playing(team(agent("Scout")), SlowModels(leader=[])) as here:
        await here.models.asked_times(1)
        output = await here.cancelled()
    (said,) = output.events or []
    assert (output.status, output.content, said["content"]) == (
        "CANCELLED",
        "Green tea",
        "Green tea",
    )


async def test_finished_members_stay_completed_and_those_under_way_are_cancelled() -> None:
    models = FakeModels(leader=[BOTH, "Done."], scout=["Facts."], editor=["Text."])
    async with playing(team(*two()), models, hold="editor") as here:
        await here.models.asked_times(3)
        output = await here.cancelled()
    assert statuses(output) == {"scout": "COMPLETED", "editor": "CANCELLED"}
    assert [each.content for each in output.member_responses] == ["Facts.", NOT_WANTED]
    assert [message.role for message in output.messages or []] == [
        "system",
        "user",
        "assistant",
        "tool",
    ]
    assert len(models.asked) == 3, "no model call after the cancellation"
    (said,) = [data for data in here.frames.said if data["event"].endswith("Cancelled")]
    assert (said["event"], said["agent_id"], said["reason"]) == (
        "RunCancelled",
        "editor",
        NOT_WANTED,
    )
    assert here.frames.events.count("RunCompleted") == 1


async def test_a_nested_teams_members_are_cancelled_with_it() -> None:
    inner = team(agent("Scout"), id="inner", name="Inner", model=None)
    outer = [delegate("inner", "ask the scout")]
    models = FakeModels(leader=[outer, "Done."], scout=["Facts."])
    models._scripts["leader"] = [lambda asked: outer if "scout" not in str(asked) else BOTH[:1]]
    async with playing(team(inner), models, hold="scout") as here:
        await here.models.asked_times(3)
        output = await here.cancelled()
    (middle,) = output.member_responses
    assert (middle.team_id, middle.status) == ("inner", "CANCELLED")
    assert [each.status for each in middle.member_responses or []] == ["CANCELLED"]


async def test_a_tool_under_way_is_cut_and_the_member_beside_it_keeps_its_answer() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def dig(run_context: RunContext) -> str:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return "never"

    models = FakeModels(leader=[[BOTH[0], call("dig", {}, "c3")], "Done."], scout=["Facts."])
    async with playing(team(agent("Scout"), tools=[dig]), models) as here:
        await begun.wait()
        await here.models.asked_times(2)
        output = await here.cancelled()
    assert ended.is_set()
    assert statuses(output) == {"scout": "COMPLETED"}
    assert [each.tool_name for each in output.tools or []] == ["delegate_task_to_member"]


async def test_a_blocking_tools_result_is_dropped() -> None:
    begun, go = threading.Event(), threading.Event()

    def dig() -> str:
        begun.set()
        go.wait(10)
        return "gold"

    models = FakeModels(leader=[[call("dig", {}, "c3")], "Done."])
    async with playing(team(agent("Scout"), tools=[dig]), models) as here:
        await asyncio.to_thread(begun.wait, 5)
        output = await here.cancelled()
        go.set()
    assert output.tools == []
    assert "gold" not in str(here.steps.journal)
    assert output.status == "CANCELLED"


async def test_a_pre_hook_under_way_is_cut() -> None:
    begun = asyncio.Event()

    async def ask_the_boss() -> None:
        begun.set()
        await asyncio.Event().wait()

    who = team(agent("Scout"), pre_hooks=[ask_the_boss])
    async with playing(who, FakeModels(leader=["Tea."])) as here:
        await begun.wait()
        output = await here.cancelled()
    assert (output.status, output.content, output.messages) == ("CANCELLED", NOT_WANTED, None)
    assert here.models.asked == []


async def test_an_answer_is_kept_when_the_run_is_cancelled_in_a_post_hook() -> None:
    begun = asyncio.Event()

    async def ask_the_boss() -> None:
        begun.set()
        await asyncio.Event().wait()

    who = team(agent("Scout"), post_hooks=[ask_the_boss])
    async with playing(who, FakeModels(leader=["Tea."])) as here:
        await begun.wait()
        output = await here.cancelled()
    assert (output.status, output.content) == ("CANCELLED", "Tea.")
    assert [each["content"] for each in output.events or []] == ["Tea."]


async def test_a_run_cancelled_beside_its_answer_is_cancelled_and_runs_no_post_hook() -> None:
    called: list[str] = []

    class CancelledBeside(FakeSteps):
        async def settled(self) -> None:
            self.cancellation.request(NOT_WANTED)

    def note() -> None:
        called.append("hook")

    who = team(agent("Scout"), post_hooks=[note])
    played = await play(who, FakeModels(leader=["Tea."]), steps=CancelledBeside())
    assert (played.output.status, played.output.content) == ("CANCELLED", "Tea.")
    assert called == []


async def test_a_run_taken_over_after_its_cancellation_has_what_was_journaled() -> None:
    models = FakeModels(leader=[BOTH, "Done."], scout=["Facts."], editor=["Text."])
    async with playing(team(*two()), models, hold="editor") as here:
        await here.models.asked_times(3)
        before = await here.cancelled()
    later = FakeModels(leader=[BOTH, "Done."], scout=["Facts."], editor=["Text."])
    steps = FakeSteps(here.steps.journal)
    steps.cancellation.request(NOT_WANTED)
    played = await play(team(*two()), later, steps=steps)
    assert later.asked == []
    assert without_events(played.output) == without_events(before)


async def test_a_run_whose_every_step_was_journaled_is_cancelled_with_its_answer() -> None:
    first = await play(team(agent("Scout")), FakeModels(leader=["Tea."]))
    steps = FakeSteps(first.steps.journal)
    steps.cancellation.request(NOT_WANTED)
    again = await play(team(agent("Scout")), FakeModels(leader=["Tea."]), steps=steps)
    assert (again.output.status, again.output.content) == ("CANCELLED", "Tea.")


async def test_a_runner_that_lets_go_beside_a_cancellation_still_lets_go() -> None:
    async with playing(team(agent("Scout")), FakeModels(leader=["Tea."]), hold="leader") as here:
        await here.models.asked_times(1)
        here.run.cancel()
        here.steps.cancellation.request(NOT_WANTED)
        with pytest.raises(asyncio.CancelledError):
            await here.run


async def test_a_cancellation_keeps_its_first_reason_and_cuts_what_begins_later() -> None:
    cancellation = Cancellation("r-1")
    assert not cancellation
    cancellation.request("first")
    cancellation.request("second")
    with pytest.raises(RunCancelled, match="first"):
        async with cancellation.while_wanted():
            raise AssertionError("never begun")


async def test_what_swallows_its_cut_is_not_cut_twice() -> None:
    cancellation = Cancellation("r-1")

    async def stubborn() -> str:
        async with cancellation.while_wanted():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        await asyncio.sleep(0)
        return "done"

    working = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    cancellation.request()
    assert await working == "done"
    assert cancellation.reason == "Run r-1 was cancelled"


def without_events(output: TeamRunOutput) -> dict[str, Any]:
    fields = {name: getattr(output, name) for name in output.__struct_fields__}
    del fields["events"]
    fields["member_responses"] = [named(each) for each in output.member_responses]
    return fields


def named(output: RunOutput) -> tuple[Any, ...]:
    return output.agent_id, output.status, output.content, output.messages
