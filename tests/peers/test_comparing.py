"""The comparison sees each kind of difference, and nothing that is none."""

import re
from typing import Any

import pytest

from tests.peers.answers import Names, joined, plain, sse_frames
from tests.peers.comparing import accepted_places, compare, fitting

RUN = "0b2c7b16-63f4-4b5b-9d0a-1f1f9a3ce5a1"
OTHER = "c0ffee16-63f4-4b5b-9d0a-1f1f9a3ce5a1"


def text(content: str, run_id: str = RUN) -> dict[str, Any]:
    return {"event": "RunContent", "data": {"run_id": run_id, "content": content}}


@pytest.mark.parametrize(
    ("theirs", "ours", "place"),
    [
        ({"a": {"b": 1}}, {"a": {}}, "s .a.b missing"),
        ({}, {"a": None}, "s .a extra"),
        ({"a": 1}, {"a": "1"}, "s .a type"),
        ({"a": 1}, {"a": 1.0}, "s .a type"),
        ({"a": None}, {"a": False}, "s .a type"),
        ({"a": [{"b": 1}]}, {"a": [{"b": 2}]}, "s .a[].b value"),
        ([1, 2], [1], "s . length"),
        ([{"event": "A"}], [{"event": "B"}], "s [A] missing"),
        ([{"event": "A", "x": 1}], [{"event": "A", "x": 2}], "s [A].x value"),
    ],
)
def test_a_difference_is_found_where_it_is(theirs: Any, ours: Any, place: str) -> None:
    assert place in {found.place for found in compare("s", theirs, ours)}
    assert not list(compare("s", ours, ours))


def test_an_event_too_many_does_not_shift_the_others() -> None:
    theirs = [{"event": name, "at": name} for name in "ABCD"]
    ours = [theirs[0], {"event": "X"}, *theirs[1:]]
    assert [found.place for found in compare("s", theirs, ours)] == ["s [X] extra"]


def test_pieces_that_follow_each_other_in_one_run_are_one_text() -> None:
    told = [text("a"), text("b"), text("x", OTHER), text("c"), {"event": "RunCompleted"}]
    contents = [each.get("data", {}).get("content") for each in joined(told)]
    assert contents == ["ab", "x", "c", None]
    assert told[0] == text("a"), "what was given stays as it was"


def test_ids_are_named_after_where_they_were_first_seen() -> None:
    names = Names()
    names.learn("first", {"team_id": "t", "run_id": RUN, "session_id": OTHER})
    told = {"parent_run_id": RUN, "session_id": OTHER, "id": RUN.replace("0", "1")}
    assert plain(told, names) == {
        "parent_run_id": "<run of t in first>",
        "session_id": "<session of first>",
        "id": "<uuid>",
    }


def test_clocks_are_named_with_their_form_and_tokens_are_told() -> None:
    told = {
        "created_at": 1_795_000_000,
        "updated_at": "2026-11-22T11:46:26Z",
        "duration": 0.25,
        "content": "f() completed in 0.0123s. ",
        "total_tokens": 7,
    }
    assert plain(told, Names()) == {
        "created_at": "<int epoch>",
        "updated_at": "<time Z>",
        "duration": "<float length>",
        "content": "f() completed in <n>s. ",
        "total_tokens": 7,
    }


def test_frames_are_read_and_comments_left_out() -> None:
    stream = ': keepalive\n\nid: 4\nevent: A\ndata: {"a": 1}\n\nevent: B\ndata: {}\n\n'
    assert sse_frames(stream) == [
        {"id": "<index>", "event": "A", "data": {"a": 1}},
        {"event": "B", "data": {}},
    ]


def test_a_place_fits_as_a_whole() -> None:
    [found] = compare("c: s", {"a": {"b": 1}}, {"a": {"b": 2}})
    places = {place: re.compile(place) for place in ("c: s .a.b value", "c: s .a.b", "b value")}
    assert fitting(found, places) == {"c: s .a.b value"}


def test_no_place_is_listed_that_would_hide_a_whole_chapter() -> None:
    [found] = compare("runs: a run", {"status": 200}, {"status": 500})
    assert not fitting(found, accepted_places())
