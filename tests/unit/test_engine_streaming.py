"""A run that is read while it runs: what is said of an answer that comes in pieces."""

from typing import Any

from teambus import Team
from teambus_team_runner.models.port import ModelError
from tests.unit.engine_fakes import (
    FakeFrames,
    FakeModels,
    FakeSteps,
    Played,
    agent,
    delegate,
    play,
    team,
)

BOTH = [delegate("researcher", "find", "c1"), delegate("writer", "write", "c2")]


def story(**options: Any) -> Team:
    return team(agent("Researcher"), agent("Writer"), **options)


def models(**lines: Any) -> FakeModels:
    script = {
        "leader": [BOTH, "Green| tea."],
        "researcher": ["Facts."],
        "writer": ["Wo|rds."],
        **lines,
    }
    made = FakeModels(**script)
    made.in_pieces = True
    return made


def content(played: Played, run_id: str) -> list[str]:
    return [
        data["content"]
        for data in played.frames.said
        if data["event"].endswith("RunContent") and data["run_id"] == run_id
    ]


async def test_each_piece_is_said_as_it_comes_and_nothing_for_an_answer_without_text() -> None:
    played = await play(story(), models())

    assert content(played, "run-1") == ["", "Green", " tea."]
    researcher, writer = played.output.member_responses
    assert content(played, researcher.run_id) == ["", "Facts."]
    assert content(played, writer.run_id) == ["", "Wo", "rds."]


async def test_pieces_stand_between_the_question_and_the_tokens() -> None:
    played = await play(story(), models(leader=["Just so."]))

    assert played.frames.events == [
        "TeamRunStarted",
        "TeamModelRequestStarted",
        *["TeamRunContent"] * 2,
        "TeamModelRequestCompleted",
        "TeamRunContentCompleted",
    ]


async def test_an_answer_from_the_journal_is_said_in_one() -> None:
    first = await play(story(), models())
    again = await play(story(), models(), steps=FakeSteps(first.steps.journal))

    assert again.models.asked == []
    assert content(again, "run-1") == ["Green| tea."]
    boundaries = [event for event in first.frames.events if not event.endswith("RunContent")]
    assert [e for e in again.frames.events if not e.endswith("RunContent")] == boundaries


async def test_hooks_that_are_not_called_again_are_told_again() -> None:
    called: list[str] = []

    def hook() -> None:
        called.append("hook")

    writer = agent("Writer", pre_hooks=[hook], post_hooks=[hook])
    whole = team(agent("Researcher"), writer, pre_hooks=[hook])
    first = await play(whole, models())
    again = await play(whole, models(), steps=FakeSteps(first.steps.journal))

    assert called == ["hook"] * 3
    told = [event for event in first.frames.events if not event.endswith("RunContent")]
    assert [event for event in told if "Hook" in event] == [
        "TeamPreHookStarted",
        "TeamPreHookCompleted",
        "PreHookStarted",
        "PreHookCompleted",
        "PostHookStarted",
        "PostHookCompleted",
    ]
    assert sorted(e for e in again.frames.events if not e.endswith("RunContent")) == sorted(told)


async def test_a_try_that_broke_off_after_pieces_were_heard_is_announced() -> None:
    broken = models(leader=["Green| tea."])
    broken.broken = {"leader": ["Gr|een", "Green"]}

    played = await play(story(), broken)

    assert played.frames.events == [
        "TeamRunStarted",
        "TeamModelRequestStarted",
        *["TeamRunContent"] * 3,
        "TeamModelRequestStarted",
        *["TeamRunContent"] * 2,
        "TeamModelRequestStarted",
        *["TeamRunContent"] * 3,
        "TeamModelRequestCompleted",
        "TeamRunContentCompleted",
    ]


async def test_a_model_that_fails_after_some_pieces_completes_no_request() -> None:
    failing = models(leader=[ModelError("model_provider_error", "gone")])
    failing.broken = {"leader": ["Gr"]}

    played = await play(story(), failing)

    assert "TeamModelRequestCompleted" not in played.frames.events
    assert played.finished.code == "model_provider_error"


async def test_a_team_may_keep_what_its_members_do_to_itself() -> None:
    inner = team(agent("Writer"), id="inner", name="Inner", model=None)
    script = models(leader=[[delegate("inner", "down", "o")], "Done."])

    played = await play(team(inner, stream_member_events=False), script)

    assert played.output.member_responses
    assert {data["run_id"] for data in played.frames.said} == {"run-1"}


async def test_a_nested_team_hides_its_own_members_only() -> None:
    inner = team(agent("Writer"), id="inner", name="Inner", model=None, stream_member_events=False)
    leader = [
        lambda request: (
            [delegate("writer", "deep", "d")]
            if request.messages[-1].content == "down"
            else [delegate("inner", "down", "o")]
        ),
        "Done.",
    ]

    played = await play(team(inner), models(leader=leader))

    (nested,) = played.output.member_responses
    assert nested.member_responses
    assert {data["run_id"] for data in played.frames.said} == {"run-1", nested.run_id}


async def test_answers_are_not_asked_for_in_pieces_when_nobody_hears_them() -> None:
    class Unread(FakeFrames):
        are_read = False

    unread, silent = models(), models()
    frames = Unread()
    await play(story(), unread, frames=frames)
    await play(story(stream_member_events=False), silent)

    assert frames.said == []
    assert unread.was_heard == [False] * 4
    assert silent.was_heard == [True, False, False, True]


async def test_a_model_is_asked_only_once_there_is_room_for_what_it_says() -> None:
    class Narrow(FakeFrames):
        async def room(self) -> None:
            self.said.append({"event": "room", "run_id": "run-1"})

    frames = Narrow()
    await play(story(), models(leader=["Just so."]), frames=frames)

    assert frames.events[:3] == ["TeamRunStarted", "room", "TeamModelRequestStarted"]
