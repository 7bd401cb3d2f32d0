"""Subjects and ids are what they were, and no text of a user's ever breaks out of its token."""

from hypothesis import given
from hypothesis import strategies as st

from teambus.contracts import headers, subjects
from teambus.contracts.ids import completed_event_id, is_id, keyed_run_id, token
from teambus.contracts.run import RunRequest, request_digest
from teambus.contracts.subjects import EventSubject, RequestSubject

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=80)
ODD = "any text: ü.*> \n"


def test_subjects_are_what_they_were() -> None:
    made = {
        subjects.request("t", "desk"): "teambus.v1.request.t.desk.std",
        subjects.event("t", "desk", "r-1", "completed"): "teambus.v1.event.t.desk.r-1.completed",
        subjects.live("t", "r-1"): "teambus.v1.live.t.r-1.>",
        subjects.live("t", "r-1", "completed"): "teambus.v1.live.t.r-1.completed",
        subjects.journal("t", "r-1"): "teambus.v1.journal.t.r-1.0",
        subjects.journal("t", "r-1", 2): "teambus.v1.journal.t.r-1.2",
        subjects.frames("t", "r-1"): "teambus.v1.frame.t.r-1",
        subjects.live_frames("t", "r-1"): "teambus.v1.live.t.r-1.frame.batch",
        subjects.control("t", "desk", "r-1"): "teambus.v1.control.t.desk.r-1",
        subjects.hook("t", "r-1", "note"): "teambus.v1.hook.t.r-1.note",
        subjects.dead("t", "hook", "note", "x:y"): (
            "teambus.v1.dead.t.hook.note.h_1274e286686b54fe765ec40735665b4b"
        ),
        subjects.lease("janitor"): "teambus.v1.lease.janitor",
        subjects.redrive("t", "note"): "teambus.v1.redrive.t.note",
        subjects.api("t", "run.start"): "teambus.v1.api.t.run.start",
        subjects.session("t", "s 1"): "teambus.v1.session.t.00015405197323211bba99f5b200123c",
        subjects.session_signal("t", "s 1"): "teambus.v1.open.t.00015405197323211bba99f5b200123c",
    }
    assert {is_: was for is_, was in made.items() if is_ != was} == {}


def test_ids_made_from_their_cause_are_what_they_were() -> None:
    assert token(ODD) == "h_01b8df0b6e69ce2bf11ef911fcfcc193"
    assert keyed_run_id("t", "ann", "/teams/desk/runs", "key") == "8d641c54cefaa2788a7449c89dcb649d"
    assert completed_event_id("t", "desk", "r-1") == "t:desk:r-1:completed"
    request = RunRequest(run_id="r-1", input="question", session_id="s", metadata={"b": 1, "a": 2})
    assert (
        request_digest(request)
        == "53285564dd9c45fdd1cb601dad2ac6e0ff5f2788d8cc2b67f84ad936adbec716"
    )


def test_the_run_id_is_no_part_of_what_makes_requests_the_same() -> None:
    one, two = RunRequest(run_id="one", input="x"), RunRequest(run_id="two", input="x")
    assert request_digest(one) == request_digest(two)
    assert request_digest(one) != request_digest(RunRequest(run_id="one", input="y"))


@given(TEXT)
def test_any_text_becomes_one_token(text: str) -> None:
    assert is_id(token(text))
    assert token(text) == token(text)


@given(TEXT, TEXT)
def test_different_texts_never_share_a_token(one: str, two: str) -> None:
    assert (token(one) == token(two)) == (one == two)


@given(TEXT)
def test_the_token_of_a_token_is_no_other_texts(text: str) -> None:
    assert token(token(text)) == token(text) or token(text).startswith("h_")


@given(TEXT)
def test_subjects_of_any_run_are_read_back(text: str) -> None:
    subject = subjects.event("t", "desk", text, "completed")
    assert EventSubject.parse(subject) == EventSubject("t", "desk", token(text), "completed")
    assert RequestSubject.parse(subjects.request("t", "desk")) == RequestSubject("t", "desk", "std")


@given(TEXT)
def test_any_text_becomes_one_plain_header(text: str) -> None:
    value = headers.plain(text)
    assert value.isascii()
    assert value.isprintable()
    assert value == value.strip() == headers.plain(value)


@given(st.tuples(TEXT, TEXT, TEXT, TEXT), st.tuples(TEXT, TEXT, TEXT, TEXT))
def test_keyed_runs_are_the_same_for_the_same_four_only(
    one: tuple[str, str, str, str], two: tuple[str, str, str, str]
) -> None:
    if not any("\x00" in part for part in (*one, *two)):
        assert (keyed_run_id(*one) == keyed_run_id(*two)) == (one == two)
