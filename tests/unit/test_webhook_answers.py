"""What an answer to a webhook means."""

import pytest

from teambus import Permanent
from teambus_hook_runner.failures import NotNow, failure
from teambus_hook_runner.webhooks.answers import Answer, SendFailed, retry_after_s, settle

NOW_S = 784111777.0
"""Sun, 06 Nov 1994 08:49:37 GMT"""


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_taken(status: int) -> None:
    settle(Answer(status, "5", "x"), NOW_S)


@pytest.mark.parametrize("status", [301, 308, 405, 410, 413, 414, 415, 422, 501])
def test_what_would_be_answered_again_is_permanent(status: int) -> None:
    with pytest.raises(Permanent, match=str(status)):
        settle(Answer(status, "5", ""), NOW_S)


@pytest.mark.parametrize("status", [300, 302, 303, 304, 307, 400, 401, 403, 404, 429, 500, 503])
def test_any_other_answer_may_be_another_one_later(status: int) -> None:
    with pytest.raises(SendFailed, match=f"answered {status}"):
        settle(Answer(status, None, "why"), NOW_S)


@pytest.mark.parametrize("status", [302, 308])
def test_a_redirect_is_said_to_be_one(status: int) -> None:
    with pytest.raises((SendFailed, Permanent), match="not followed; give the url"):
        settle(Answer(status, None, ""), NOW_S)


@pytest.mark.parametrize("status", [429, 503])
def test_who_asks_to_be_left_alone_is(status: int) -> None:
    with pytest.raises(NotNow) as caught:
        settle(Answer(status, "120", "busy"), NOW_S)
    assert failure(1, caught.value).retry_after_s == 120
    assert failure(1, caught.value).code == "raised"


def test_others_are_not_asked_when() -> None:
    with pytest.raises(SendFailed):
        settle(Answer(500, "120", ""), NOW_S)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, 0),
        ("", 0),
        ("0", 0),
        (" 7 ", 7),
        ("-7", 0),
        ("1.5", 0),
        ("9" * 500, 999999999),
        ("²", 0),
        ("soon", 0),
        ("Sun, 06 Nov 1994 08:50:37 GMT", 60),
        ("Sun, 06 Nov 1994 08:49:00 GMT", 0),
        ("Sun, 06 Foo 1994 08:50:37 GMT", 0),
        ("Sun, 31 Feb 1994 08:50:37 GMT", 0),
        ("Sun, 06 Nov 1994 08:50:37 CET", 0),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str | None, seconds: float) -> None:
    assert retry_after_s(text, NOW_S) == seconds
