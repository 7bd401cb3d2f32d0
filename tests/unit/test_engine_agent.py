"""An agent by itself: the same run as a team's, said in the words of agents."""

from typing import Any

import msgspec
import pytest

from teambus import (
    Agent,
    AsyncSqliteDb,
    OutputCheckError,
    RunContext,
    RunOutput,
    Session,
    Team,
    TeamRunInput,
)
from teambus.contracts.output import ChatMessage, RunStatus, TeamRunOutput
from teambus.domain.agent_runs import read_form
from tests.unit.engine_fakes import (
    Died,
    FakeModels,
    FakeSteps,
    agent,
    call,
    delegate,
    play,
    started,
    team,
)


def brew(minutes: int, run_context: RunContext, agent: Agent, team: Team | None = None) -> str:
    assert run_context.session_state is not None
    run_context.session_state["minutes"] = minutes
    return f"{agent.name} of {team} with {run_context.dependencies}"


def poet(**options: Any) -> Agent:
    return agent("Poet", **{"tools": [brew], "instructions": "Rhyme in a {mood} mood.", **options})


def models(**lines: Any) -> FakeModels:
    return FakeModels(**{"poet": [[call("brew", {"minutes": 3})], "Tea, for me."], **lines})


async def test_an_agents_run_is_carried_under_the_agents_id() -> None:
    output = (await play(poet(), models())).output

    assert (output.status, output.content) == (RunStatus.COMPLETED, "Tea, for me.")
    assert (output.team_id, output.team_name, output.member_responses) == ("poet", None, [])
    assert (output.agent_id, output.agent_name) == ("poet", "Poet")
    assert (output.run_id, output.session_id, output.parent_run_id) == ("run-1", "session-1", None)
    assert output.metrics
    assert output.metrics.total_tokens == 30
    assert output.events is None


async def test_who_reads_an_agents_run_finds_no_team_in_it() -> None:
    carried = (await play(poet(), models(), start=started(user_id="u"))).output
    read = msgspec.to_builtins(read_form(carried))

    assert {"team_id", "team_name", "member_responses", "events"}.isdisjoint(read)
    carried_too = msgspec.to_builtins(carried)
    assert read == {name: value for name, value in carried_too.items() if name in read}
    assert set(carried_too) - set(read) == {"team_id", "member_responses"}
    assert read["content_type"] == "str"


async def test_an_agent_is_told_its_session_and_shown_its_history() -> None:
    earlier = ChatMessage(
        id="1", role="user", from_history=True, stop_after_tool_call=False, created_at=1
    )
    earlier.content = "Earlier?"
    given = started(
        history=[earlier], session_state={"mood": "calm"}, dependencies={"cups": 2}, user_id="u"
    )
    played = await play(poet(), models(), start=given)

    first = played.models.asked[0][1]
    assert [message.content for message in first.messages] == [
        "Rhyme in a calm mood.",
        "Earlier?",
        "Which tea?",
    ]
    assert [tool.name for tool in first.tools] == ["brew"]
    assert played.output.session_state == {"mood": "calm", "minutes": 3}
    assert played.output.tools
    assert played.output.tools[0].result == "Poet of None with {'cups': 2}"


async def test_an_agent_says_what_it_does_without_the_word_team() -> None:
    frames = (await play(poet(post_hooks=[lambda: None]), models())).frames

    assert frames.events == [
        "RunStarted",
        "ModelRequestStarted",
        "ModelRequestCompleted",
        "ToolCallStarted",
        "ToolCallCompleted",
        "ModelRequestStarted",
        "RunContent",
        "ModelRequestCompleted",
        "RunContentCompleted",
        "PostHookStarted",
        "PostHookCompleted",
    ]
    for data in frames.said:
        assert (data["agent_id"], data["agent_name"], data["nested_depth"]) == ("poet", "Poet", 0)
        assert {"team_id", "team_name", "parent_run_id"}.isdisjoint(data)
    assert "member_responses" not in frames.said[-1]


async def test_an_agents_hooks_are_given_the_agent_and_a_run_of_an_agent() -> None:
    seen: dict[str, Any] = {}

    def before(run_input: TeamRunInput, agent: Agent, session: Session) -> None:
        run_input.input_content += " Please."
        seen["session"] = (session.agent_id, session.team_id, agent.name)

    def after(run_output: RunOutput, agent: Agent) -> None:
        seen["after"] = (type(run_output), run_output.team_id, run_output.agent_id, agent.name)
        run_output.content = f"{run_output.content} Indeed."

    played = await play(poet(pre_hooks=[before], post_hooks=[after]), models())

    assert seen["session"] == ("poet", None, "Poet")
    assert seen["after"] == (RunOutput, None, "poet", "Poet")
    assert played.output.content == "Tea, for me. Indeed."
    assert played.models.asked[0][1].messages[-1].content == "Which tea? Please."


async def test_an_answer_that_is_refused_ends_the_agents_run_in_the_words_of_agents() -> None:
    def refuse(run_output: RunOutput) -> None:
        raise OutputCheckError("no tea here")

    played = await play(poet(post_hooks=[refuse]), models())

    output = played.output
    assert isinstance(output, TeamRunOutput)
    assert (output.status, output.content) == (RunStatus.ERROR, "no tea here")
    assert played.finished.code == "output_check_error"
    assert output.events
    assert [(said["event"], said["agent_id"]) for said in output.events] == [("RunError", "poet")]


async def test_an_agents_run_that_dies_at_any_step_ends_the_same() -> None:
    whole = await play(poet(), models())
    assert whole.steps.done == ["pinned", "agent/0", "agent/0/tool:c1", "agent/1"]

    for k in range(len(whole.steps.done)):
        dying = FakeSteps()
        dying.die_at = k
        with pytest.raises(Died):
            await play(poet(), models(), steps=dying)
        again = await play(poet(), models(), steps=FakeSteps(dying.journal))
        assert again.output.content == whole.output.content
        assert set(again.steps.done) == set(whole.steps.done) - set(dying.done)


async def test_what_only_matters_to_an_agent_by_itself_changes_no_member() -> None:
    plain, rich = (
        agent("Writer", **options)
        for options in (
            {},
            {
                "db": AsyncSqliteDb(db_file="t.db"),
                "add_history_to_context": True,
                "num_history_runs": 1,
                "session_state": {"mine": 1},
                "dependencies": {"mine": 1},
            },
        )
    )

    def script() -> FakeModels:
        return FakeModels(leader=[[delegate("writer", "write")], "Done."], writer=["Words."])

    given = started(session_state={"ours": 1})
    as_before = (await play(team(plain), script(), start=given)).output
    assert (await play(team(rich), script(), start=given)).output == as_before


async def test_an_agent_with_no_model_says_so() -> None:
    output = (await play(Agent(name="Poet"), FakeModels())).output
    assert output.status is RunStatus.ERROR
    assert "'Poet' has no model" in str(output.content)
