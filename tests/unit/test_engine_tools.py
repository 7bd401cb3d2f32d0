"""Users' tools: where they run, what they are given, and how their failures are told."""

import asyncio
import threading
from typing import Any

import pytest

from teambus import Agent, RunContext, Team, tool
from teambus.contracts.output import RunStatus, ToolCall
from teambus_team_runner.engine.ports import EngineLimits
from tests.unit.engine_fakes import FakeModels, Played, agent, call, delegate, play, started, team


async def play_tools(
    *tools: Any, calls: list[ToolCall], state: dict[str, Any] | None = None, **limits: Any
) -> Played:
    models = FakeModels(leader=[calls, "Done."])
    start = started(session_state=state or {})
    return await play(
        team(agent("Idle"), tools=list(tools)), models, start=start, limits=EngineLimits(**limits)
    )


def told(played: Played) -> list[str | None]:
    assert played.output.messages
    return [message.content for message in played.output.messages if message.role == "tool"]


async def test_async_tools_run_on_the_loop_and_sync_ones_in_threads() -> None:
    where: dict[str, threading.Thread] = {}

    async def on_loop() -> str:
        where["async"] = threading.current_thread()
        return "a"

    def in_thread() -> str:
        where["sync"] = threading.current_thread()
        return "b"

    calls = [call("on_loop", {}, "1"), call("in_thread", {}, "2")]
    played = await play_tools(on_loop, in_thread, calls=calls)

    assert told(played) == ["a", "b"]
    assert where["async"] is threading.main_thread()
    assert where["sync"] is not threading.main_thread()


async def test_tools_of_one_turn_run_at_the_same_time() -> None:
    both = threading.Barrier(2, timeout=10)

    def meet() -> str:
        both.wait()
        return "met"

    played = await play_tools(meet, calls=[call("meet", {}, "1"), call("meet", {}, "2")])

    assert told(played) == ["met", "met"]


async def test_the_leader_is_shown_its_tools_by_name() -> None:
    def zest() -> str:
        """Adds zest."""
        return ""

    def brew(minutes: int) -> str:
        return ""

    played = await play_tools(zest, brew, calls=[call("zest", {})])

    tools = played.models.asked[0][1].tools
    assert [tool.name for tool in tools] == ["brew", "delegate_task_to_member", "zest"]
    assert tools[2].description == "Adds zest."


async def test_results_become_text() -> None:
    values: dict[str, Any] = {
        "text": "plain", "number": 7, "nothing": None, "list": [1, {"a": "ü"}], "odd": object(),
        "broken": "\ud800",
    }  # fmt: skip

    def give(name: str) -> Any:
        return values[name]

    calls = [call("give", {"name": name}, name) for name in values]
    text, number, nothing, listed, odd, broken = told(await play_tools(give, calls=calls))

    assert (text, number, nothing, listed) == ("plain", "7", "null", '[1,{"a":"ü"}]')
    assert "object" in (odd or "")
    assert broken == "?"


async def test_a_failing_tool_is_told_to_the_model_without_a_traceback() -> None:
    def breaks() -> None:
        raise ValueError("the kettle is empty")

    def leaves() -> None:
        raise SystemExit(3)

    async def cancels() -> None:
        raise asyncio.CancelledError

    def stops() -> None:
        raise StopIteration

    names = ["breaks", "leaves", "cancels", "stops"]
    played = await play_tools(
        breaks, leaves, cancels, stops, calls=[call(name, {}, name) for name in names]
    )

    results = told(played)
    assert results[0] == "breaks failed: ValueError: the kettle is empty"
    assert "SystemExit" in (results[1] or "")
    assert "cancelled" in (results[2] or "")
    assert "StopIteration" in (results[3] or "")
    assert played.output.status == RunStatus.COMPLETED
    assert played.output.tools
    assert all(tool.tool_call_error for tool in played.output.tools)
    assert played.frames.events.count("TeamToolCallError") == 4


@pytest.mark.parametrize("arguments", ["{", '{"minutes": "many"}', '{"hours": 1}', "[]"])
async def test_arguments_that_do_not_fit_are_told_to_the_model(arguments: str) -> None:
    def brew(minutes: int) -> str:
        raise AssertionError("it is not called")

    played = await play_tools(brew, calls=[call("brew", arguments)])

    (result,) = told(played)
    assert result
    assert "arguments of brew" in result
    assert played.output.tools
    assert played.output.tools[0].tool_call_error is True


async def test_a_tool_that_takes_too_long_is_left_alone() -> None:
    released = threading.Event()

    async def slow() -> None:
        await asyncio.Event().wait()

    def stuck() -> None:
        released.wait(30)

    played = await play_tools(
        slow, stuck, calls=[call("slow", {}, "1"), call("stuck", {}, "2")], tool_timeout_s=0.05
    )
    released.set()

    assert told(played) == [
        "slow failed: it did not finish within 0.05 s",
        "stuck failed: it did not finish within 0.05 s",
    ]


async def test_a_timeout_of_the_tools_own_is_not_taken_for_ours() -> None:
    async def impatient() -> None:
        raise TimeoutError("the shop did not answer")

    played = await play_tools(impatient, calls=[call("impatient", {})])

    assert told(played) == ["impatient failed: TimeoutError: the shop did not answer"]


async def test_a_result_over_the_limit_is_cut_and_says_so() -> None:
    def much() -> str:
        return "x" * 100

    played = await play_tools(much, calls=[call("much", {})], tool_result_chars_max=10)

    assert told(played) == [f"{'x' * 10}\n(cut here: 90 more characters)"]


async def test_a_state_over_the_limit_is_dropped_and_the_model_is_told() -> None:
    def hoard(run_context: RunContext) -> str:
        assert run_context.session_state is not None
        run_context.session_state["hoard"] = "x" * 100
        return "hoarded"

    played = await play_tools(hoard, calls=[call("hoard", {})], tool_state_bytes_max=50)

    said = "the session_state it left was dropped: 112 bytes, more than 50"
    assert told(played) == [f"hoarded\n({said})"]
    assert "hoard" not in (played.output.session_state or {})


async def test_tools_are_given_the_context_and_their_owner() -> None:
    seen: dict[str, Any] = {}

    def leaders(run_context: RunContext, team: Team, agent: Agent | None = None) -> str:
        seen["leader"] = (run_context.run_id, team.id, agent)
        return ""

    def members(run_context: RunContext, team: Team, agent: Agent) -> str:
        seen["member"] = (run_context.run_id, team.id, agent.id)
        return ""

    given = team(agent("Writer", tools=[members]), tools=[leaders])
    models = FakeModels(
        leader=[[call("leaders", {}, "1"), delegate("writer", "x", "2")], "Done."],
        writer=[[call("members", {})], "W."],
    )
    output = (await play(given, models)).output

    assert seen["leader"] == ("run-1", "tea-team", None)
    assert seen["member"] == (output.member_responses[0].run_id, "tea-team", "writer")


def put(name: str, value: str, run_context: RunContext) -> str:
    assert run_context.session_state is not None
    run_context.session_state[name] = value
    return str(sorted(name for name in run_context.session_state if "current" not in name))


async def test_a_tool_finds_the_ids_of_its_run_in_the_state_and_leaves_them_as_they_are() -> None:
    seen: list[dict[str, Any]] = []

    def look(run_context: RunContext) -> str:
        assert run_context.session_state is not None
        seen.append(dict(run_context.session_state))
        run_context.session_state["current_user_id"] = "somebody else"
        run_context.session_state["kept"] = True
        return "seen"

    start = started(user_id="u", session_state={"current_run_id": "mine"})
    models = FakeModels(solo=[[call("look", {})], "Done."])
    output = (await play(agent("Solo", tools=[look]), models, start=start)).output

    ids = {"current_user_id": "u", "current_session_id": "session-1", "current_run_id": "run-1"}
    assert seen == [ids]
    assert output.session_state == {"kept": True, "current_run_id": "mine"}


async def test_prompts_may_name_the_ids_of_their_run() -> None:
    solo = agent("Solo", instructions="You help {current_user_id} in {current_session_id}.")
    models = FakeModels(solo=["Done."])
    await play(solo, models, start=started(user_id="ann"))
    assert "You help ann in session-1." in str(models.asked_of("solo")[0].messages[0].content)


async def test_changes_of_state_are_kept_and_seen_in_the_next_turn_only() -> None:
    first = [
        call("put", {"name": "a", "value": "1"}, "1"),
        call("put", {"name": "b", "value": "2"}, "2"),
    ]
    second = [call("put", {"name": "c", "value": "3"}, "3")]
    models = FakeModels(leader=[first, second, "Done."])
    played = await play(
        team(agent("Idle"), tools=[put]), models, start=started(session_state={"old": "0"})
    )

    assert told(played) == ["['a', 'old']", "['b', 'old']", "['a', 'b', 'c', 'old']"]
    assert played.output.session_state == {"old": "0", "a": "1", "b": "2", "c": "3"}


async def test_a_members_changes_of_state_reach_the_team() -> None:
    models = FakeModels(
        leader=[[delegate("writer", "x")], "Done."],
        writer=[[call("put", {"name": "from", "value": "writer"})], "W."],
    )

    output = (await play(team(agent("Writer", tools=[put])), models)).output

    assert output.session_state == {"from": "writer"}


async def test_a_state_that_json_cannot_carry_is_left_as_it_was() -> None:
    def spoil(run_context: RunContext) -> None:
        assert run_context.session_state is not None
        run_context.session_state["old"] = object()
        run_context.session_state["new"] = (1, 2)

    played = await play_tools(spoil, calls=[call("spoil", {})], state={"old": 1})

    assert played.output.session_state == {"old": 1, "new": [1, 2]}


async def test_an_emptied_state_is_said_to_be_empty() -> None:
    def forget(run_context: RunContext) -> None:
        assert run_context.session_state is not None
        run_context.session_state.clear()

    played = await play_tools(forget, calls=[call("forget", {})], state={"old": 1})

    assert played.output.session_state == {}


async def test_only_a_tool_marked_never_is_called_once() -> None:
    @tool(retry="never")
    def charge() -> str:
        return "charged"

    @tool
    def look() -> str:
        return "looked"

    played = await play_tools(charge, look, calls=[call("charge", {}, "1"), call("look", {}, "2")])

    assert told(played) == ["charged", "looked"]
    assert played.steps.once == ["charge"]


async def test_a_call_is_given_the_same_key_in_each_attempt_and_no_other_call_has_it() -> None:
    keys: list[str | None] = []

    def pay(cents: int, run_context: RunContext) -> str:
        keys.append(run_context.idempotency_key)
        return "paid"

    async def attempt(cents: int, **given: Any) -> None:
        models = FakeModels(leader=[[call("pay", {"cents": cents}, "a")], "Done."])
        await play(team(agent("Idle"), tools=[pay]), models, start=started(**given))

    for given in ({}, {}, {"tenant": "acme"}, {"run_id": "run-2"}):
        await attempt(5, **given)
    await attempt(6)
    calls = [call("pay", {"cents": 5}, "a"), call("pay", {"cents": 5}, "b")]
    await play_tools(pay, calls=calls)

    first, again, acme, other_run, other_amount, *both = keys
    assert first == again
    assert None not in keys
    assert len({first, acme, other_run, other_amount}) == 4
    assert both[0] == first
    assert both[1] not in {first, acme, other_run, other_amount}
