"""What the doctor found, in lines for people and as JSON for programs; and what drifted."""

from teambus.bus.topology import FINGERPRINT, TopologySettings, streams
from teambus.cli.drift import drift
from teambus.cli.findings import document, fault, lines, note, ok

FOUND = [ok("bus", "there"), fault("janitor", "there is none", "start one"), note("x", "y", "z")]
DOCUMENT = streams(TopologySettings())[0]


def test_each_line_says_how_it_stands_and_the_next_how_to_mend_it() -> None:
    assert lines(FOUND) == [
        "ok     bus      there",
        "fault  janitor  there is none",
        "                -> start one",
        "note   x        y",
        "                -> z",
        "1 thing to mend",
    ]
    assert lines(FOUND[:1])[-1] == "nothing to mend"
    assert lines(FOUND[1:2] * 2)[-1] == "2 things to mend"


def test_a_program_is_told_the_same() -> None:
    said = document(FOUND)
    assert said["faults"] == 1
    assert said["findings"][1] == {
        "about": "janitor",
        "level": "fault",
        "says": "there is none",
        "mend": "start one",
    }


def test_a_stream_as_described_has_not_drifted_whatever_the_server_adds() -> None:
    drifted = drift(DOCUMENT, {**DOCUMENT, "compression": "none"})
    assert (drifted.wrong, drifted.chosen) == ([], [])


def test_another_setting_is_no_fault_but_a_change_by_hand_is() -> None:
    other = streams(TopologySettings(requests_per_team_max=7))[0]
    assert drift(DOCUMENT, other).chosen == ["max_msgs_per_subject"]
    assert drift(DOCUMENT, {**DOCUMENT, "max_msgs_per_subject": 7}).wrong == [
        "max_msgs_per_subject"
    ]


def test_a_stream_that_provision_did_not_make_is_a_fault() -> None:
    assert drift(DOCUMENT, {**DOCUMENT, "metadata": {}}).wrong == ["metadata"]
    assert drift(DOCUMENT, {**DOCUMENT, "metadata": {FINGERPRINT: "x"}}).wrong == ["metadata"]
