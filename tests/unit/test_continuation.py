"""Which runs are gone on with, and how much is kept of them."""

import pytest

from teambus.contracts.output import (
    ChatMessage,
    FunctionCall,
    RunOutput,
    RunStatus,
    TeamRunOutput,
    ToolCall,
)
from teambus.contracts.run import Continuation
from teambus.domain.continuation import (
    Boundary,
    ContinuationRefused,
    NotContinuable,
    boundary,
    check_status,
    own_members,
)


def message(role: str, *, calls: tuple[str, ...] = (), result_of: str | None = None) -> ChatMessage:
    function = FunctionCall(name="look_up", arguments="{}")
    return ChatMessage(
        id=role,
        role=role,
        from_history=False,
        stop_after_tool_call=False,
        created_at=1,
        tool_call_id=result_of,
        tool_calls=[ToolCall(id=id_, function=function) for id_ in calls] or None,
    )


TRANSCRIPT = [
    message("system"),
    message("user"),
    message("assistant", calls=("c1", "c2")),
    message("tool", result_of="c1"),
    message("tool", result_of="c2"),
    message("assistant"),
]


def asked(continue_from: int | str = "end", *, regenerate: bool = False) -> Continuation:
    return Continuation(run_id="r-1", continue_from=continue_from, regenerate=regenerate)  # type: ignore[arg-type] # any text


@pytest.mark.parametrize(
    ("continue_from", "kept"),
    [
        ("end", Boundary(6, 6, is_cut=False)),
        ("last_user", Boundary(2, 2, is_cut=True)),
        (5, Boundary(5, 5, is_cut=True)),
        (4, Boundary(2, 2, is_cut=True)),
        (3, Boundary(2, 2, is_cut=True)),
        (0, Boundary(0, 0, is_cut=True)),
        (99, Boundary(99, 6, is_cut=False)),
        (-1, Boundary(-1, 6, is_cut=False)),
    ],
)
def test_a_run_is_kept_up_to_where_it_is_left_and_no_call_without_its_results(
    continue_from: int | str, kept: Boundary
) -> None:
    assert boundary(TRANSCRIPT, asked(continue_from)) == kept


@pytest.mark.parametrize("continue_from", ["end", "last_user"])
def test_an_answer_made_anew_keeps_the_calls_before_it(continue_from: str) -> None:
    assert boundary(TRANSCRIPT, asked(continue_from, regenerate=True)).kept == 5


def test_calls_that_were_never_answered_are_not_gone_on_from() -> None:
    broken_off = TRANSCRIPT[:4]
    assert boundary(broken_off, asked()).kept == 2


@pytest.mark.parametrize(
    ("messages", "wanted", "says"),
    [
        (TRANSCRIPT, asked(2, regenerate=True), "derives the continuation boundary"),
        ([message("assistant")], asked(regenerate=True), "no non-assistant messages"),
        ([message("system")], asked("last_user"), "no user messages"),
    ],
)
def test_a_place_that_is_not_there_is_refused(
    messages: list[ChatMessage], wanted: Continuation, says: str
) -> None:
    with pytest.raises(ContinuationRefused, match=says) as refusal:
        boundary(messages, wanted)
    assert not isinstance(refusal.value, NotContinuable)


def test_a_run_that_came_to_no_message_is_not_gone_on_with() -> None:
    with pytest.raises(NotContinuable, match="Cannot continue run r-1: run has no messages"):
        boundary([], asked())


@pytest.mark.parametrize("status", [RunStatus.PENDING, RunStatus.RUNNING, RunStatus.CANCELLED])
def test_a_run_that_goes_on_or_was_cancelled_is_not_gone_on_with(status: RunStatus) -> None:
    with pytest.raises(NotContinuable, match=f"run is {status.lower()}"):
        check_status("r-1", status)


@pytest.mark.parametrize("status", [RunStatus.COMPLETED, RunStatus.ERROR, RunStatus.REGENERATED])
def test_a_run_that_has_ended_by_itself_is(status: RunStatus) -> None:
    check_status("r-1", status)


def test_members_runs_that_a_run_took_over_are_not_its_own() -> None:
    def member(run_id: str, parent: str | None) -> RunOutput:
        ended = RunStatus.COMPLETED
        return RunOutput(run_id=run_id, status=ended, created_at=1, parent_run_id=parent)

    run = TeamRunOutput(
        run_id="r-2",
        team_id="desk",
        session_id="s",
        status=RunStatus.COMPLETED,
        created_at=1,
        content_type="str",
        member_responses=[member("old", "r-1"), member("new", "r-2"), member("older", None)],
    )
    assert [each.run_id for each in own_members(run)] == ["new", "older"]
