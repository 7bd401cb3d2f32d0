"""Coordinate mode: what the leader sees, what members get, what the output says."""

import asyncio
from typing import Any

import msgspec
import pytest

from teambus import Team
from teambus.contracts.journal import ModelAnswer
from teambus.contracts.output import ChatMessage, RunStatus
from teambus_team_runner.engine.ports import EngineLimits
from teambus_team_runner.models.port import ModelError
from tests.unit.engine_fakes import (
    FakeModels,
    Line,
    agent,
    call,
    delegate,
    play,
    started,
    team,
)

BOTH = [delegate("researcher", "find", "c1"), delegate("writer", "write", "c2")]


def story() -> Team:
    return team(agent("Researcher", role="finds"), agent("Writer"), instructions="Be kind.")


def story_models(**lines: Any) -> FakeModels:
    script: dict[str, Any] = {
        "leader": [BOTH, "Green tea."],
        "researcher": ["Facts."],
        "writer": ["Words."],
    }
    return FakeModels(**{**script, **lines})


async def test_the_leaders_last_words_are_the_answer() -> None:
    played = await play(story(), story_models())

    output = played.output
    assert played.finished.code is None
    assert (output.status, output.content, output.content_type) == (
        RunStatus.COMPLETED,
        "Green tea.",
        "str",
    )
    assert (output.run_id, output.team_id, output.team_name) == ("run-1", "tea-team", "TeaTeam")
    assert (output.session_id, output.created_at) == ("session-1", 999)
    assert output.input
    assert output.input.input_content == "Which tea?"
    assert output.events is None
    assert output.session_state is None


async def test_members_answer_in_the_order_of_the_calls_whoever_is_first() -> None:
    models = story_models()
    models.held = {"researcher": asyncio.Event()}

    def writer(_: Any) -> str:
        models.held["researcher"].set()
        return "Words."

    models._scripts["writer"] = [writer]

    output = (await play(story(), models)).output

    assert [(m.agent_id, m.content) for m in output.member_responses] == [
        ("researcher", "Facts."),
        ("writer", "Words."),
    ]
    assert output.messages
    assert [m.content for m in output.messages if m.role == "tool"] == ["Facts.", "Words."]


async def test_each_delegation_names_the_run_it_became() -> None:
    output = (await play(story(), story_models())).output

    assert output.tools
    assert [tool.child_run_id for tool in output.tools] == [
        member.run_id for member in output.member_responses
    ]
    assert len({"run-1", *(member.run_id for member in output.member_responses)}) == 3
    assert {member.parent_run_id for member in output.member_responses} == {"run-1"}
    assert {member.session_id for member in output.member_responses} == {"session-1"}


async def test_the_transcript_has_every_message_of_the_leader_and_ids_of_their_own() -> None:
    output = (await play(story(), story_models())).output

    messages = output.messages
    assert messages
    assert [message.role for message in messages] == [
        "system",
        "user",
        "assistant",
        "tool",
        "tool",
        "assistant",
    ]
    assert len({message.id for message in messages}) == 6
    assert messages[2].tool_calls == BOTH
    assert (messages[3].tool_name, messages[3].tool_call_id) == ("delegate_task_to_member", "c1")
    assert messages[3].tool_args == {"member_id": "researcher", "task": "find"}


async def test_the_metrics_of_a_team_count_its_leader_only() -> None:
    output = (await play(story(), story_models())).output

    assert output.metrics
    assert (output.metrics.input_tokens, output.metrics.total_tokens) == (20, 30)
    assert output.metrics.details
    (spent,) = output.metrics.details["model"]
    assert (spent.id, spent.provider, spent.total_tokens) == ("leader", "OpenAI Chat", 30)
    member = output.member_responses[0].metrics
    assert member
    assert member.total_tokens == 15


async def test_the_leader_sees_its_prompt_and_tools_and_members_only_their_task() -> None:
    played = await play(story(), story_models())

    leader = played.models.asked_of("leader")[0]
    assert [message.role for message in leader.messages] == ["system", "user"]
    prompt = leader.messages[0].content or ""
    assert "Be kind." in prompt
    assert '<member id="researcher" name="Researcher">\n  Role: finds\n</member>' in prompt
    (tool,) = leader.tools
    assert tool.name == "delegate_task_to_member"
    assert tool.parameters
    assert tool.parameters["required"] == ["member_id", "task"]
    assert tool.parameters["additionalProperties"] is False

    (writer,) = played.models.asked_of("writer")
    assert [(message.role, message.content) for message in writer.messages] == [("user", "write")]
    assert writer.tools == []


async def test_no_tools_is_an_empty_list() -> None:
    output = (await play(story(), story_models(leader=["Just so."]))).output

    assert (output.content, output.tools, output.member_responses) == ("Just so.", [], [])


async def test_an_unknown_member_gets_the_leader_the_roster() -> None:
    models = story_models(leader=[[delegate("cook", "cook")], "Sorry."])

    output = (await play(story(), models)).output

    assert output.tools
    assert output.tools[0].tool_call_error is True
    assert "'cook'" in (output.tools[0].result or "")
    assert "researcher (Researcher), writer (Writer)" in (output.tools[0].result or "")
    assert (output.content, output.member_responses) == ("Sorry.", [])


async def test_a_member_is_also_known_by_its_name() -> None:
    output = (
        await play(story(), story_models(leader=[[delegate("Writer", "write")], "Done."]))
    ).output

    assert [member.agent_id for member in output.member_responses] == ["writer"]


@pytest.mark.parametrize("arguments", ["{", "[]", '{"member_id": "writer"}', '{"task": ""}'])
async def test_a_delegation_that_makes_no_sense_is_told_to_the_leader(arguments: str) -> None:
    models = story_models(leader=[[call("delegate_task_to_member", arguments)], "Sorry."])

    output = (await play(story(), models)).output

    assert output.tools
    assert "`member_id` and `task`" in (output.tools[0].result or "")
    assert output.status == RunStatus.COMPLETED


async def test_a_tool_that_does_not_exist_is_told_to_the_leader() -> None:
    output = (await play(story(), story_models(leader=[[call("fly", {})], "I stay."]))).output

    assert output.tools
    assert "'fly'" in (output.tools[0].result or "")
    assert output.content == "I stay."


async def test_a_member_with_nothing_to_say_gives_a_fixed_text() -> None:
    output = (await play(story(), story_models(writer=[""]))).output

    assert output.tools
    assert output.tools[1].result == "The member gave no response."
    assert output.member_responses[1].status == RunStatus.COMPLETED


async def test_a_members_failure_is_told_to_the_leader_who_goes_on() -> None:
    broken = ModelError("model_provider_error", "the model at x answered HTTP 500")
    played = await play(story(), story_models(writer=[broken]))

    output = played.output
    assert (output.status, output.content) == (RunStatus.COMPLETED, "Green tea.")
    failed = output.member_responses[1]
    assert (failed.status, failed.content) == (RunStatus.ERROR, "the model at x answered HTTP 500")
    assert output.tools
    assert output.tools[1].result == failed.content
    assert "RunError" in played.frames.events
    assert "TeamRunError" not in played.frames.events


async def test_the_leaders_failure_is_an_error_with_all_that_was_done() -> None:
    broken = ModelError("model_authentication_error", "OPENAI_API_KEY is not set")
    played = await play(story(), story_models(leader=[BOTH, broken]))

    output = played.output
    assert played.finished.code == "model_authentication_error"
    assert (output.status, output.content) == (RunStatus.ERROR, "OPENAI_API_KEY is not set")
    assert len(output.member_responses) == 2
    assert output.events
    (event,) = output.events
    assert (event["event"], event["error_type"]) == ("TeamRunError", "model_authentication_error")
    assert "TeamRunError" not in played.frames.events


async def test_a_member_without_a_model_uses_its_teams() -> None:
    models = FakeModels(leader=[[delegate("helpful", "x")], "Done."])

    output = (await play(team(agent("Helpful", model=None)), models)).output

    assert output.member_responses[0].model == "leader"


async def test_a_team_without_any_model_is_a_clear_error() -> None:
    played = await play(team(agent("Writer"), model=None), FakeModels())

    assert played.finished.code == "model_missing"
    assert "model=OpenAIChat" in str(played.output.content)


async def test_calls_over_the_limit_are_refused_and_the_run_goes_on() -> None:
    limited = team(agent("Researcher"), agent("Writer"), tool_call_limit=1)

    output = (await play(limited, story_models())).output

    assert output.status == RunStatus.COMPLETED
    assert [member.agent_id for member in output.member_responses] == ["researcher"]
    assert output.messages
    refused = output.messages[4]
    assert (refused.tool_call_id, refused.tool_call_error) == ("c2", True)
    assert "only 1 tool calls" in (refused.content or "")
    assert output.tools
    assert len(output.tools) == 1


async def test_a_leader_that_never_answers_is_stopped() -> None:
    models = story_models(leader=[[delegate("writer", "again")]])

    played = await play(story(), models, limits=EngineLimits(turns_max=3))

    assert played.finished.code == "turns_exceeded"
    assert played.output.status == RunStatus.ERROR
    assert len(models.asked_of("leader")) == 3


async def test_tool_call_ids_that_repeat_do_not_mix_runs_up() -> None:
    models = story_models(
        leader=[[delegate("writer", "one", "x")], [delegate("writer", "two", "x")], "Done."],
        writer=[lambda request: f"{request.messages[-1].content}!"],
    )

    output = (await play(story(), models)).output

    assert [member.content for member in output.member_responses] == ["one!", "two!"]
    assert len({member.run_id for member in output.member_responses}) == 2
    assert output.tools
    assert [tool.tool_call_id for tool in output.tools] == ["x", "x-2"]


async def test_a_nested_team_works_like_a_member() -> None:
    inner = team(agent("Writer"), id="inner", name="Inner", model=None)
    outer = team(inner)
    leader: list[Line] = [
        lambda request: (
            [delegate("writer", "deep", "d")]
            if request.messages[-1].content == "down"
            else [delegate("inner", "down", "o")]
        ),
        "Done.",
    ]

    played = await play(outer, FakeModels(leader=leader, writer=["Deep words."]))

    (nested,) = played.output.member_responses
    assert (nested.team_id, nested.agent_id, nested.content) == ("inner", None, "Done.")
    assert nested.member_responses
    assert nested.member_responses[0].content == "Deep words."
    assert nested.member_responses[0].parent_run_id == nested.run_id
    assert played.steps.done == [
        "pinned",
        "leader/0",
        "member:o/0",
        "member:o/member:d/0",
        "member:o/1",
        "leader/1",
    ]
    depths = {data["event"]: data["nested_depth"] for data in played.frames.said}
    assert depths["TeamRunStarted"] == 1
    assert depths["RunCompleted"] == 1
    assert played.frames.said[0]["nested_depth"] == 0


async def test_history_is_shown_to_the_leader_and_not_kept_again() -> None:
    earlier = [
        ChatMessage(
            id=str(n), role=role, from_history=True, stop_after_tool_call=False, created_at=1,
            content=text,
        )
        for n, (role, text) in enumerate([("user", "Earlier?"), ("assistant", "Then.")])
    ]  # fmt: skip
    played = await play(story(), story_models(), start=started(history=earlier))

    asked = played.models.asked_of("leader")[0]
    assert [message.content for message in asked.messages][1:] == [
        "Earlier?",
        "Then.",
        "Which tea?",
    ]
    assert played.output.messages
    assert "Earlier?" not in [message.content for message in played.output.messages]


async def test_a_failed_run_tells_how_long_it_was_at_its_models() -> None:
    lines: list[Line] = [[BOTH[0]], ModelError("server_error", "away")]
    late = await play(story(), story_models(leader=lines))
    at_once = await play(story(), story_models(leader=[ModelError("server_error", "away")]))
    for output, tokens in ((late.output, 15), (at_once.output, 0)):
        assert output.status == RunStatus.ERROR
        assert output.metrics is not None
        assert output.metrics.duration is not None
        assert output.metrics.total_tokens == tokens


async def test_what_the_run_was_given_reaches_output_and_members() -> None:
    given = started(user_id="u", metadata={"a": 1}, session_state={"mood": "calm"})
    output = (await play(story(), story_models(), start=given)).output

    assert (output.user_id, output.metadata, output.session_state) == (
        "u",
        {"a": 1},
        {"mood": "calm"},
    )
    assert output.member_responses[0].user_id == "u"
    member = output.member_responses[0]
    assert member.session_state == {
        "mood": "calm",
        "current_user_id": "u",
        "current_session_id": "session-1",
        "current_run_id": member.run_id,
    }


async def test_the_frames_tell_the_run_in_the_order_clients_know() -> None:
    frames = (await play(story(), story_models(leader=[[BOTH[0]], "Tea."]))).frames

    assert frames.events == [
        "TeamRunStarted",
        "TeamModelRequestStarted",
        "TeamModelRequestCompleted",
        "TeamToolCallStarted",
        "RunStarted",
        "ModelRequestStarted",
        "RunContent",
        "ModelRequestCompleted",
        "RunContentCompleted",
        "RunCompleted",
        "TeamToolCallCompleted",
        "TeamModelRequestStarted",
        "TeamRunContent",
        "TeamModelRequestCompleted",
        "TeamRunContentCompleted",
    ]


async def test_calls_of_one_turn_begin_together_and_end_together() -> None:
    frames = (await play(story(), story_models())).frames

    tools = [event for event in frames.events if "Tool" in event or event == "RunStarted"]
    assert tools == [
        "TeamToolCallStarted",
        "TeamToolCallStarted",
        "RunStarted",
        "RunStarted",
        "TeamToolCallCompleted",
        "TeamToolCallCompleted",
    ]


async def test_frames_of_teams_have_no_agent_and_the_other_way_round() -> None:
    frames = (await play(story(), story_models())).frames

    for data in frames.said:
        of_team = data["event"].startswith("Team")
        assert ("team_id" in data, "agent_id" in data) == (of_team, not of_team)
        assert data["nested_depth"] == 0
        assert ("parent_run_id" in data) is not of_team
    assert list(frames.said[0])[:6] == [
        "created_at",
        "event",
        "team_id",
        "team_name",
        "run_id",
        "session_id",
    ]


async def test_an_answer_cut_off_by_the_provider_is_still_an_answer() -> None:
    cut = ModelAnswer(content="Green t", finish_reason="length")

    output = (await play(story(), story_models(leader=[cut]))).output

    assert (output.status, output.content) == (RunStatus.COMPLETED, "Green t")


async def test_the_output_survives_the_bus() -> None:
    output = (await play(story(), story_models())).output

    again = msgspec.json.decode(msgspec.json.encode(output), type=type(output))

    assert again == output


async def test_what_the_provider_says_of_its_answer_stands_with_it() -> None:
    said = ModelAnswer(content="Green tea.", provider_data={"id": "completion-2"})
    output = (await play(story(), story_models(leader=[BOTH, said]))).output

    assert output.messages
    assert output.model_provider_data == output.messages[-1].provider_data == {"id": "completion-2"}


async def test_the_seconds_of_a_tool_stand_with_its_execution_not_with_its_message() -> None:
    output = (await play(story(), story_models())).output

    assert output.messages
    assert output.tools
    assert all(tool.metrics is not None for tool in output.tools)
    assert [m.metrics for m in output.messages if m.role == "tool"] == [None, None]
