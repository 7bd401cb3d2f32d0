"""An exception of a hook in words, however odd it is."""

import pytest

from teambus import Permanent
from teambus_hook_runner.failures import ERROR_CHARS_MAX, TRACEBACK_BYTES_MAX, failure
from teambus_hook_runner.wire import Raised, frame


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def raised(error: BaseException) -> Raised:
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001 - it is what is tested
        said = failure(7, caught)
    assert frame(said), "it can be sent"
    return said


def test_a_permanent_failure_is_told_from_others() -> None:
    assert raised(Permanent("never")).code == "permanent"
    assert raised(ValueError("no")).code == "raised"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("no"), "ValueError: no"),
        (ValueError(), "ValueError"),
        (Unspeakable(), "Unspeakable: (it cannot be shown)"),
        (ValueError("half \udcff"), "ValueError: half ?"),
        (SystemExit(3), "SystemExit: 3"),
    ],
)
def test_the_error_is_its_type_and_text(error: BaseException, text: str) -> None:
    assert raised(error).error == text


def test_a_traceback_shows_where_and_not_our_own_frames() -> None:
    trace = raised(ValueError("no")).traceback
    assert "test_hook_failures.py" in trace
    assert "teambus_hook_runner" not in trace


def test_a_long_text_is_cut_and_of_a_long_traceback_the_end_is_kept() -> None:
    said = raised(ValueError("é" * 100_000 + "the end"))
    assert len(said.error) == ERROR_CHARS_MAX
    assert TRACEBACK_BYTES_MAX - 2 <= len(said.traceback.encode()) <= TRACEBACK_BYTES_MAX
    assert said.traceback.endswith("the end\n")
