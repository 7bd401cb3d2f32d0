"""A run's last frame, made from its completed event alone."""

from typing import Any

import msgspec

from teambus.contracts.output import Metrics, RunOutput, RunStatus, TeamRunOutput
from teambus.contracts.run import RunCompleted
from teambus.domain.frames import kept_events, last_frame


def completed(status: RunStatus = RunStatus.COMPLETED, **fields: Any) -> RunCompleted:
    code = fields.pop("code", None)
    member = RunOutput(
        run_id="m", status=RunStatus.COMPLETED, created_at=1, agent_id="writer", content="Words."
    )
    given: dict[str, Any] = {
        "run_id": "r",
        "team_id": "tea",
        "team_name": "Tea",
        "session_id": "s",
        "created_at": 1,
        "content_type": "str",
        "content": "Green tea.",
        "member_responses": [member],
    }
    return RunCompleted(
        event_id="e",
        tenant="default",
        team_id="tea",
        run_id="r",
        session_id="s",
        output=TeamRunOutput(**{**given, "status": status, **fields}),
        completed_at=1000.5,
        code=code,
        frames=7,
    )


def last(event: RunCompleted) -> dict[str, Any]:
    frame = last_frame(event)
    data: dict[str, Any] = msgspec.json.decode(frame.data)
    assert (frame.event_index, frame.event) == (7, data["event"])
    return data


BASE = {"created_at": 1000, "team_id": "tea", "team_name": "Tea", "run_id": "r", "session_id": "s"}


def test_a_completed_run_ends_with_its_answer_and_all_its_members_runs() -> None:
    data = last(
        completed(
            metrics=Metrics(total_tokens=3),
            session_state={"a": 1},
            metadata={"b": 2},
            model_provider_data={"id": "c"},
        )
    )

    assert list(data) == [
        "created_at",
        "event",
        "team_id",
        "team_name",
        "run_id",
        "session_id",
        "nested_depth",
        "content",
        "content_type",
        "model_provider_data",
        "member_responses",
        "metadata",
        "metrics",
        "session_state",
    ]
    assert data.items() >= {**BASE, "event": "TeamRunCompleted", "nested_depth": 0}.items()
    assert data["content"] == "Green tea."
    assert data["metrics"] == {"total_tokens": 3}
    assert [member["content"] for member in data["member_responses"]] == ["Words."]


def test_an_agents_run_has_no_team_and_no_members() -> None:
    data = last(completed(agent_id="tea", agent_name="Tea", member_responses=[]))

    assert data["event"] == "RunCompleted"
    assert (data["agent_id"], data["agent_name"]) == ("tea", "Tea")
    assert not data.keys() & {"team_id", "team_name", "member_responses"}


def test_an_error_says_what_and_which() -> None:
    data = last(completed(RunStatus.ERROR, content="too slow", code="run_timeout"))

    assert data == {
        **BASE,
        "event": "TeamRunError",
        "nested_depth": 0,
        "content": "too slow",
        "error_type": "run_timeout",
    }


REFUSAL = {
    "event": "TeamRunError",
    "run_id": "r",
    "content": "no tea",
    "error_type": "input_check_error",
    "error_id": "off_topic",
    "additional_data": {"topic": "coffee"},
}


def test_a_refusal_keeps_the_checks_own_words() -> None:
    event = completed(RunStatus.ERROR, content="no tea", code="input_check_error", events=[REFUSAL])

    data = last(event)

    assert (data["error_id"], data["additional_data"]) == ("off_topic", {"topic": "coffee"})


def test_an_error_that_came_after_a_refusal_does_not_borrow_its_words() -> None:
    event = completed(RunStatus.ERROR, content="not stored", code="store", events=[REFUSAL])

    assert not last(event).keys() & {"error_id", "additional_data"}


def test_a_members_error_is_not_the_runs() -> None:
    members = {**REFUSAL, "run_id": "m"}
    event = completed(RunStatus.ERROR, code="input_check_error", events=[members])

    assert "error_id" not in last(event)


def test_a_cancelled_run_says_why_and_what_there_was() -> None:
    given = {"event": "TeamRunCancelled", "run_id": "r", "reason": "enough", "content": "Gre"}
    data = last(completed(RunStatus.CANCELLED, content="Gre", events=[given]))

    assert data["event"] == "TeamRunCancelled"
    assert (data["reason"], data["content"]) == ("enough", "Gre")


def test_a_run_cancelled_before_anybody_spoke_says_why_and_has_no_content() -> None:
    data = last(completed(RunStatus.CANCELLED, content="not wanted"))

    assert data["reason"] == "not wanted"
    assert "content" not in data


def test_what_is_kept_ends_with_the_last_word_without_the_members_runs() -> None:
    said = [{"event": "TeamRunStarted", "run_id": "r"}, {"event": "RunCompleted", "run_id": "m"}]

    kept = kept_events(completed(metrics=Metrics(total_tokens=3)), said)

    assert kept[:-1] == said
    assert kept[-1]["event"] == "TeamRunCompleted"
    assert kept[-1]["metrics"] == {"total_tokens": 3}
    assert "member_responses" not in kept[-1]


def test_a_last_word_that_is_no_longer_true_is_not_kept() -> None:
    ended = kept_events(completed(), [])
    lost = completed(RunStatus.ERROR, content="not stored", code="store", events=ended)

    (only,) = kept_events(lost, ended)

    assert (only["event"], only["content"]) == ("TeamRunError", "not stored")
