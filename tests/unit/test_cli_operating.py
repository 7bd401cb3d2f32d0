"""The options of the commands that look after deliveries."""

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from teambus.cli.onto_bus import located, shown
from teambus.cli.operating import moment
from teambus.cli.options import UsageError, parse
from teambus.local import folder


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("1.5d", 129600), ("0s", 0)]
)
def test_an_age_is_a_time_in_the_past(text: str, seconds: float) -> None:
    assert abs(time.time() - seconds - moment(text)) < 10


def test_a_time_is_read_with_its_zone_and_without_one_is_local() -> None:
    at = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
    assert moment("2026-03-04T05:06:07Z") == at.timestamp()
    assert moment("2026-03-04T06:06:07+01:00") == at.timestamp()
    assert moment("2026-03-04 05:06:07") == at.replace(tzinfo=None).timestamp()


def test_what_is_shown_can_be_given_back() -> None:
    assert moment(shown(1234567890.125)) == 1234567890.125


@pytest.mark.parametrize("text", ["", "soon", "5", "5w", "-5m", "2026-13-01", "nan"])
def test_what_is_no_time_is_refused_with_what_is_one(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse(["dead-letters", "list", f"--since={text}"])
    assert "is no time; write an ISO 8601 time" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv",
    [
        ["dead-letters"],
        ["dead-letters", "show"],
        ["dead-letters", "discard"],
        ["dead-letters", "list", "--about", "shoe"],
        ["dead-letters", "list", "--limit", "0"],
        ["hooks", "replay", "log"],
        ["hooks", "replay", "--since", "1h"],
        ["hooks", "replay", "log", "--since", "1h", "--rate-max", "0"],
        ["hooks", "replay", "log", "--since", "1h", "--rate-max", "nan"],
        ["hooks", "replay", "log", "--since", "1h", "--pending-max", "-1"],
        ["hooks", "replay", "log", "--since", "1h", "--id", "a b"],
    ],
)
def test_what_lacks_something_is_refused_in_one_line(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(argv)
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_bus_is_the_one_that_is_named_else_the_one_that_is_served_here(tmp_path: Path) -> None:
    here = {"TEAMBUS_DATA_DIR": str(tmp_path / "data")}
    with pytest.raises(UsageError, match="set NATS_URL, or name the folder with --data-dir"):
        located(here)
    with folder.held(tmp_path / "data") as data:
        data.write_status({"pid": 1, "nats": {"pid": 2, "url": "nats://127.0.0.1:5"}})
        assert located(here)["NATS_URL"] == "nats://127.0.0.1:5"
        assert located({**here, "NATS_URL": "nats://other"})["NATS_URL"] == "nats://other"
