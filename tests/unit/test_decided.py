"""The end of a run as one record, as large as the bus carries."""

import pytest

from teambus.app.agents import Agent
from teambus.app.teams import Team
from teambus.contracts.journal import encode_record
from teambus.contracts.output import RunStatus, TeamRunOutput
from teambus.contracts.run import RunRequest
from teambus_team_runner.asked import Asked
from teambus_team_runner.decided import Decision, Told
from teambus_team_runner.engine.ports import Finished

DESK = Team(name="Desk", id="desk", members=[Agent(name="Writer")])
ASKED = Asked("default", "desk", RunRequest(run_id="r", input="x", stream=True), 1, "digest")


def decision(*, content: int, events: list[int] | None) -> Decision:
    output = TeamRunOutput(
        run_id="r",
        team_id="desk",
        session_id="s",
        status=RunStatus.COMPLETED,
        created_at=1,
        content_type="str",
        member_responses=[],
        content="x" * content,
        session_state={"kept": 1, "current_run_id": "r"},
    )
    said = None
    if events is not None:
        said = [{"event": "TeamToolCallCompleted", "result": "y" * size} for size in events]
    return Decision(ASKED, DESK, Finished(output), Told(9, said), fence=3, stored=True)


def test_the_end_has_what_was_told_and_its_last_word() -> None:
    ended, record = decision(content=10, events=[10]).within(10_000)

    assert record == encode_record(ended)
    assert (ended.fence, ended.session_state, ended.completed.frames) == (3, {"kept": 1}, 9)
    events = ended.completed.output.events
    assert events is not None
    assert [each["event"] for each in events] == ["TeamToolCallCompleted", "TeamRunCompleted"]


def test_a_run_nobody_read_keeps_no_events() -> None:
    ended, _ = decision(content=10, events=None).within(10_000)

    assert ended.completed.output.events is None


def test_an_output_that_is_too_large_with_its_events_is_kept_without() -> None:
    ended, record = decision(content=10, events=[20_000]).within(10_000)

    assert len(record) <= 10_000
    assert ended.completed.output.content == "x" * 10
    events = ended.completed.output.events
    assert events is not None
    assert [each["event"] for each in events] == ["TeamRunCompleted"]


@pytest.mark.parametrize("events", [None, [20_000]])
def test_an_output_that_is_too_large_is_an_error(events: list[int] | None) -> None:
    ended, record = decision(content=20_000, events=events).within(10_000)

    assert (ended.completed.output.status, ended.completed.code) == ("ERROR", "output_too_large")
    assert len(record) <= 10_000
    if events is not None:
        assert ended.completed.output.events is not None
        assert [e["event"] for e in ended.completed.output.events] == ["TeamRunError"]
