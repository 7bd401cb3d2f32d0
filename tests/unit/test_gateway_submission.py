"""From form fields to a run request."""

import pytest

from teambus.contracts.ids import keyed_run_id
from teambus.contracts.run import request_digest
from teambus_gateway.access.caller import Caller
from teambus_gateway.fields import check_json
from teambus_gateway.forms import Form
from teambus_gateway.problems import Problem
from teambus_gateway.submission import Submission, check_supported, read_submission


def submission(key: str | None = None, **fields: str) -> Submission:
    return read_submission(Caller("acme"), "team", "desk", Form({"message": "hi", **fields}), key)


def detail_of(fields: dict[str, str]) -> str:
    with pytest.raises(Problem) as refusal:
        check_supported(Form({"message": "hi", **fields}))
    assert refusal.value.status == 501
    return str(refusal.value.detail)


def test_the_same_key_makes_the_same_request_and_other_keys_others() -> None:
    first, again, other = submission("k"), submission("k"), submission("l")
    assert first.request == again.request
    assert first.request.run_id == keyed_run_id("acme", "anonymous", "POST /teams/desk/runs", "k")
    assert first.request.session_id != other.request.session_id
    assert request_digest(first.request) == request_digest(again.request)


def test_the_same_key_for_an_agent_is_another_run_than_for_a_team() -> None:
    form = Form({"message": "hi"})
    of_agent = read_submission(Caller("acme"), "agent", "desk", form, "k")
    assert of_agent.request.run_id != submission("k").request.run_id
    assert of_agent.path == "/agents/desk"


def test_a_run_id_of_the_clients_own_has_the_same_session_each_time() -> None:
    first, again = submission(run_id="mine"), submission(run_id="mine")
    assert (first.origin, first.request) == ("chosen", again.request)


def test_without_key_and_run_id_every_request_is_new() -> None:
    first, second = submission(), submission()
    assert first.origin == "fresh"
    assert first.request.run_id != second.request.run_id
    assert first.request.session_id != second.request.session_id


def test_only_ids_drawn_by_the_gateway_are_called_new() -> None:
    assert submission().new == "run session"
    assert submission(session_id="s").new == "run"
    assert [submission("k").new, submission(run_id="mine").new] == ["", ""]


def test_an_empty_key_is_no_key_and_an_empty_field_is_no_field() -> None:
    asked = submission("", session_id="", user_id="", run_id="", metadata="", stream="")
    assert asked.origin == "fresh"
    assert (asked.request.user_id, asked.request.metadata) == (None, None)
    assert asked.request.session_id


@pytest.mark.parametrize("word", ["true", "True", "1", "yes", "on", "t", "y"])
def test_a_flag_may_be_written_in_many_ways(word: str) -> None:
    assert submission(add_history_to_context=word).request.add_history_to_context is True


def test_a_flag_not_given_is_left_to_the_team() -> None:
    assert submission().request.add_history_to_context is None
    assert submission(add_history_to_context="None").request.add_history_to_context is None


def test_a_run_is_streamed_unless_it_is_said_otherwise() -> None:
    assert [submission(stream=word).request.stream for word in ("", "null", "1")] == [True] * 3
    assert submission().request.stream
    assert not submission(stream="false").request.stream


def test_what_only_the_caller_sees_does_not_change_the_request() -> None:
    plain = submission("k")
    asked = submission("k", background="true", stream_events="false")
    assert (asked.background, asked.stream_events) == (True, False)
    assert asked.may_be_repeated
    assert request_digest(asked.request) == request_digest(plain.request)


def test_a_later_releases_wishes_are_named() -> None:
    assert "output_schema" in detail_of({"output_schema": '{"type": "object"}'})


def test_a_wish_that_is_sent_empty_is_no_wish() -> None:
    for nothing in ("", "{}", "null", "None"):
        check_supported(Form({"message": "hi", "output_schema": nothing}))


def test_json_the_bus_cannot_carry_is_refused() -> None:
    nested: list[object] = []
    for _ in range(70):
        nested = [nested]
    for bad in (nested, {"o": object()}):
        with pytest.raises(ValueError, match=r"nested|object"):
            check_json(bad)
    check_json({"a": [1, {"b": None}], "c": 1.5})
