"""A run that goes on with another: what the model reads, what is said, what is paid again."""

from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import pytest

from teambus import Agent, Team, TeamRunInput
from teambus.app.errors import InputCheckError
from teambus.contracts.output import ChatMessage, RunStatus, TeamRunOutput
from teambus.contracts.run import Continuation, RunRequest
from teambus_team_runner.asked import Asked
from teambus_team_runner.continuing import CannotContinue, continued, load
from teambus_team_runner.engine.ports import RunStart
from teambus_team_runner.models.port import ModelError
from teambus_team_runner.sessions import LoadedSession
from tests.unit.engine_fakes import (
    Died,
    FakeFrames,
    FakeModels,
    FakeSteps,
    Line,
    Played,
    agent,
    call,
    delegate,
    play,
    started,
    team,
)

LINES: list[Line] = [[delegate("writer", "Write.")], "The first answer.", "The second answer."]


def look_up(topic: str) -> str:
    return f"{topic}: page 7"


def tea_team() -> Team:
    return team(agent("Writer"))


def models() -> FakeModels:
    return FakeModels(leader=LINES, writer=["Prose."])


async def first_run(party: Team | Agent, with_models: FakeModels) -> TeamRunOutput:
    return (await play(party, with_models)).output


def going_on(before: TeamRunOutput, message: str = "", **asked: object) -> RunStart:
    start = replace(started(input=message), run_id="run-2")
    continues = Continuation(run_id=before.run_id, **asked)  # type: ignore[arg-type] # as asked
    return continued(start, continues, before)


async def go_on(
    before: TeamRunOutput, party: Team | Agent, message: str = "", **asked: object
) -> Played:
    return await play(party, models(), start=going_on(before, message, **asked))


def roles(messages: list[ChatMessage] | None) -> list[str]:
    return [each.role for each in messages or []]


async def test_the_model_reads_what_was_said_and_then_what_is_asked_now() -> None:
    before = await first_run(tea_team(), models())

    after = await go_on(before, tea_team(), "Longer.")

    (asked,) = after.models.asked_of("leader")
    assert list(asked.messages[:5]) == before.messages
    assert (asked.messages[5].role, asked.messages[5].content) == ("user", "Longer.")
    assert after.output.content == "The second answer."
    assert roles(after.output.messages)[-2:] == ["user", "assistant"]


async def test_without_a_message_the_model_is_asked_to_go_on() -> None:
    before = await first_run(tea_team(), models())

    after = await go_on(before, tea_team())

    (asked,) = after.models.asked_of("leader")
    assert list(asked.messages) == before.messages


async def test_the_new_run_says_where_it_comes_from_and_what_it_was_first_asked() -> None:
    before = await first_run(tea_team(), models())

    output = (await go_on(before, tea_team(), "Longer.")).output

    assert (output.run_id, output.forked_from_run_id) == ("run-2", "run-1")
    assert output.forked_from_message_index == 5
    assert (output.regenerated_from, output.last_checkpoint_at_message_index) == (None, None)
    assert output.input is not None
    assert output.input.input_content == "Which tea?"
    assert output.metrics is not None
    assert output.metrics.total_tokens == 15


async def test_an_answer_made_anew_says_so() -> None:
    before = await first_run(tea_team(), models())

    output = (await go_on(before, tea_team(), regenerate=True)).output

    assert output.regenerated_from == "run-1"
    assert (output.forked_from_message_index, output.last_checkpoint_at_message_index) == (4, 4)
    assert roles(output.messages) == ["system", "user", "assistant", "tool", "assistant"]


async def test_calls_and_members_runs_are_taken_over_and_calls_cut_off_are_not() -> None:
    before = await first_run(tea_team(), models())

    whole = (await go_on(before, tea_team())).output
    anew = (await go_on(before, tea_team(), continue_from="last_user")).output

    assert [each.tool_call_id for each in whole.tools or []] == ["c1"]
    assert [each.parent_run_id for each in whole.member_responses] == ["run-1"]
    assert [each.tool_call_id for each in anew.tools or []] == ["c1"]
    assert [each.parent_run_id for each in anew.member_responses] == ["run-1", "run-2"]


async def test_a_call_under_an_id_of_the_run_before_gets_another() -> None:
    solo = agent("Solo", tools=[look_up])
    first: list[Line] = [[call("look_up", {"topic": "tea"})], "Done."]
    before = await first_run(solo, FakeModels(solo=first))
    lines: list[Line] = ["", "", [call("look_up", {"topic": "cups"})], "Done again."]

    after = await play(solo, FakeModels(solo=lines), start=going_on(before, "And cups?"))

    assert [each.tool_call_id for each in after.output.tools or []] == ["c1", "c1-2"]
    assert after.output.content == "Done again."


async def test_readers_are_told_that_it_goes_on_and_not_that_it_starts() -> None:
    before = await first_run(tea_team(), models())

    after = await go_on(before, tea_team())

    assert after.frames.events[0] == "TeamRunContinued"
    assert "TeamRunStarted" not in after.frames.events
    assert {each["run_id"] for each in after.frames.said} == {"run-2"}
    assert [each["event"] for each in after.output.events or []] == ["TeamRunContinued"]


async def test_an_agent_that_goes_on_keeps_no_event_of_it_unless_it_is_read() -> None:
    solo = agent("Solo")
    before = await first_run(solo, FakeModels(solo=["One.", "Two."]))

    after = await play(solo, FakeModels(solo=["One.", "Two."]), start=going_on(before))

    assert (after.frames.events[0], after.output.events) == ("RunContinued", None)
    assert after.output.forked_from_run_id == "run-1"


async def test_history_stands_after_the_instructions() -> None:
    before = await first_run(tea_team(), models())
    earlier = ChatMessage(
        id="e", role="user", from_history=True, stop_after_tool_call=False, created_at=1
    )

    start = replace(going_on(before), history=[earlier])
    after = await play(tea_team(), models(), start=start)

    (asked,) = after.models.asked_of("leader")
    assert roles(list(asked.messages))[:3] == ["system", "user", "user"]
    assert asked.messages[1].from_history
    assert all(not each.from_history for each in after.output.messages or [])


async def test_pre_hooks_see_a_new_message_and_may_refuse_it() -> None:
    seen: list[str] = []

    def check(run_input: TeamRunInput) -> None:
        seen.append(run_input.input_content)
        if "secret" in run_input.input_content:
            raise InputCheckError("not about secrets")

    checked = team(agent("Writer"), pre_hooks=[check])
    before = await first_run(checked, models())
    seen.clear()

    silent = await go_on(before, checked)
    refused = await go_on(before, checked, "Tell a secret.")

    assert seen == ["Tell a secret."]
    assert silent.output.status == "COMPLETED"
    assert (refused.output.status, refused.models.asked) == ("ERROR", [])
    assert "TeamPreHookStarted" not in silent.frames.events
    assert [each["event"] for each in refused.output.events or []] == ["TeamRunError"]


async def test_what_a_pre_hook_makes_of_a_new_message_reaches_the_model() -> None:
    def polish(run_input: TeamRunInput) -> None:
        run_input.input_content += " (politely)"

    polite = team(agent("Writer"), pre_hooks=[polish])
    before = await first_run(polite, models())

    after = await go_on(before, polite, "Longer.")

    assert after.models.asked_of("leader")[0].messages[-1].content == "Longer. (politely)"


async def test_a_run_that_failed_goes_on_where_it_failed() -> None:
    lines: list[Line] = [[delegate("writer", "Write.", "c1")], ModelError("server_error", "away")]
    before = await first_run(tea_team(), FakeModels(leader=lines, writer=["Prose."]))
    assert before.status == "ERROR"

    after = await go_on(before, tea_team())

    assert after.output.content == "The first answer."
    assert after.models.asked_of("writer") == []
    assert roles(after.output.messages) == ["system", "user", "assistant", "tool", "assistant"]


async def test_one_that_fails_again_tells_that_it_went_on_and_failed() -> None:
    before = await first_run(tea_team(), models())
    broken = FakeModels(leader=["", "", ModelError("server_error", "away")], writer=[])

    after = await play(tea_team(), broken, start=going_on(before))

    events = [each["event"] for each in after.output.events or []]
    assert events == ["TeamRunContinued", "TeamRunError"]


@pytest.mark.parametrize("die_at", range(4))
async def test_a_run_that_dies_while_it_goes_on_pays_nothing_twice(die_at: int) -> None:
    before = await first_run(tea_team(), models())
    lines: list[Line] = ["", "", [delegate("writer", "More.", "c9")], "Both."]
    whole = await play(
        tea_team(), FakeModels(leader=lines, writer=["More."]), start=going_on(before, "More?")
    )
    steps = FakeSteps()
    steps.die_at = die_at

    with pytest.raises(Died):
        await play(
            tea_team(),
            FakeModels(leader=lines, writer=["More."]),
            steps=steps,
            start=going_on(before, "More?"),
        )
    again = FakeSteps(steps.journal)
    taken_over = await play(
        tea_team(),
        FakeModels(leader=lines, writer=["More."]),
        steps=again,
        start=going_on(before, "More?"),
        frames=FakeFrames(),
    )

    assert untimed(taken_over.output) == untimed(whole.output)
    assert len(steps.done) + len(again.done) == len(whole.steps.done)


def untimed(output: TeamRunOutput) -> TeamRunOutput:
    """Without what says when it was told, which another run tells at another time."""
    events = [{**event, "created_at": 0} for event in output.events or []]
    return msgspec.structs.replace(output, events=events)


@pytest.mark.parametrize("change", [{"status": RunStatus.CANCELLED}, {"messages": None}])
async def test_a_run_that_cannot_be_gone_on_with_is_refused_with_a_code(
    change: dict[str, Any],
) -> None:
    before = msgspec.structs.replace(await first_run(tea_team(), models()), **change)
    with pytest.raises(CannotContinue) as refusal:
        going_on(before)
    assert refusal.value.code == "run_not_continuable"


async def test_a_place_that_is_not_there_is_refused_with_another() -> None:
    before = await first_run(tea_team(), models())
    with pytest.raises(CannotContinue) as refusal:
        going_on(before, regenerate=True, continue_from=2)
    assert refusal.value.code == "wrong_continuation"


@dataclass
class FakeDatabases:
    """A session of three completed runs, the newest of them asked for by its id."""

    runs: dict[str, TeamRunOutput]
    asked_for: list[int] = field(default_factory=list)

    async def load(self, *_: str, history_runs: int, **__: str | None) -> LoadedSession:
        self.asked_for.append(history_runs)
        newest = list(self.runs)[max(0, len(self.runs) - history_runs) :]
        return LoadedSession(session_id="s", history=[(run_id, []) for run_id in newest])

    async def run(self, _: str, __: str, run_id: str, *, team_id: str) -> TeamRunOutput | None:
        return self.runs.get(run_id)


@pytest.mark.parametrize(
    ("history_runs", "remembered"),
    [(0, []), (1, ["old"]), (2, ["older", "old"]), (9, ["older", "old"])],
)
async def test_the_run_that_is_gone_on_with_is_not_remembered_as_well(
    history_runs: int, remembered: list[str]
) -> None:
    output = await first_run(tea_team(), models())
    databases = FakeDatabases({"older": output, "old": output, "run-1": output})
    request = RunRequest(
        run_id="run-2", input="", session_id="s", continues=Continuation(run_id="run-1")
    )
    asked = Asked("default", "tea-team", request, 1, "digest")

    session, before = await load(databases, asked, history_runs=history_runs)  # type: ignore[arg-type] # a fake

    assert before == output
    assert [run_id for run_id, _ in session.history] == remembered
