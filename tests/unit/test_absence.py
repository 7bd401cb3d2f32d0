"""Since when something is missing: only looks that follow each other closely say so."""

from teambus.domain.absence import Absences
from teambus.domain.lag import LagLimits, is_late


def absences() -> Absences:
    return Absences(gap_s=10, kept_max=3)


def test_what_is_missing_in_every_look_is_missing_since_the_first() -> None:
    seen = absences()
    for now in (100, 105, 110):
        seen.look({"desk"}, now)
    assert seen.missing_for("desk", 10)
    assert not seen.missing_for("desk", 11)
    assert not seen.missing_for("night", 0)


def test_what_was_there_in_one_look_begins_anew() -> None:
    seen = absences()
    seen.look({"desk"}, 100)
    seen.look(set(), 105)
    seen.look({"desk"}, 110)
    assert not seen.missing_for("desk", 1)


def test_a_gap_between_looks_proves_nothing() -> None:
    seen = absences()
    seen.look({"desk"}, 100)
    seen.look({"desk"}, 111)
    assert not seen.missing_for("desk", 1)


def test_a_clock_that_goes_back_proves_nothing() -> None:
    seen = absences()
    seen.look({"desk"}, 100)
    seen.look({"desk"}, 99)
    seen.look({"desk"}, 109)
    assert seen.missing_for("desk", 10)
    assert not seen.missing_for("desk", 11)


def test_another_goes_on_from_the_notes_unless_they_are_too_old() -> None:
    seen, soon, late = absences(), absences(), absences()
    seen.look({"desk"}, 100)
    seen.look({"desk", "night"}, 105)
    notes = seen.notes(1)
    assert notes["since"] == {"desk": 100}
    soon.go_on(notes)
    soon.look({"desk", "night"}, 110)
    assert soon.missing_for("desk", 10)
    assert not soon.missing_for("night", 1)
    late.go_on(notes)
    late.look({"desk"}, 116)
    assert not late.missing_for("desk", 1)


def test_notes_that_cannot_be_read_are_none() -> None:
    seen = absences()
    seen.go_on({"looked_at": "yesterday"})
    seen.go_on({"since": [1]})
    seen.look({"desk"}, 100)
    assert seen.missing_for("desk", 0)


def test_no_more_names_are_kept_than_allowed() -> None:
    seen = absences()
    seen.look({"a", "b", "c", "d"}, 100)
    assert [name for name in "abcd" if seen.missing_for(name, 0)] == ["a", "b", "c"]


def test_work_is_late_when_it_is_too_old_or_too_much() -> None:
    limits = LagLimits(age_max_s=60, messages_max=10)
    assert not is_late(0, 0, limits)
    assert not is_late(10, 60, limits)
    assert is_late(1, 61, limits)
    assert is_late(11, 0, limits)
