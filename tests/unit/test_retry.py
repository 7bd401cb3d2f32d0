"""When a failed delivery is tried again, and when it is given up."""

import pytest

from teambus.domain.retry import JITTER, GiveUp, RetryIn, RetrySchedule

SCHEDULE = RetrySchedule(attempts_max=5, backoff_s=1, backoff_max_s=600)
DRAWS = (0.0, 0.5, 0.999)


def waits(schedule: RetrySchedule, draw: float = 0) -> list[float]:
    verdicts = [
        schedule.after(attempt, draw=draw) for attempt in range(1, schedule.attempts_max + 1)
    ]
    return [verdict.delay_s for verdict in verdicts if isinstance(verdict, RetryIn)]


def test_each_wait_is_twice_the_one_before() -> None:
    assert waits(SCHEDULE) == [1, 2, 4, 8]


def test_the_last_attempt_is_followed_by_none() -> None:
    assert SCHEDULE.after(5, draw=0) == GiveUp("gave up after 5 attempts")


def test_one_attempt_means_no_retry() -> None:
    assert RetrySchedule(1, 1).after(1, draw=0) == GiveUp("gave up after 1 attempt")


def test_more_failures_than_attempts_are_given_up_too() -> None:
    assert isinstance(SCHEDULE.after(6, draw=0), GiveUp)


def test_a_permanent_failure_is_given_up_at_the_first_attempt() -> None:
    assert SCHEDULE.after(1, draw=0, permanent=True) == GiveUp("permanent")


def test_no_wait_is_longer_than_the_longest() -> None:
    assert max(waits(RetrySchedule(2000, 1, backoff_max_s=600))) == 600


def test_no_backoff_means_no_wait() -> None:
    assert waits(RetrySchedule(4, 0)) == [0, 0, 0]


@pytest.mark.parametrize("draw", DRAWS)
def test_chance_shortens_a_wait_and_never_lengthens_it(draw: float) -> None:
    for announced, drawn in zip(waits(SCHEDULE), waits(SCHEDULE, draw), strict=True):
        assert announced * (1 - JITTER) <= drawn <= announced


def test_two_draws_give_two_waits() -> None:
    assert waits(SCHEDULE, 0.1) != waits(SCHEDULE, 0.9)


def test_attempts_count_from_one() -> None:
    with pytest.raises(AssertionError):
        SCHEDULE.after(0, draw=0)


@pytest.mark.parametrize(("asked_s", "wait_s"), [(0, 1), (0.5, 1), (90, 90), (10_000, 600)])
def test_a_wait_that_was_asked_for_is_kept_up_to_the_longest(asked_s: float, wait_s: float) -> None:
    assert SCHEDULE.after(1, draw=0, asked_s=asked_s) == RetryIn(wait_s)


def test_who_asks_to_wait_is_given_no_attempt_more() -> None:
    assert isinstance(SCHEDULE.after(5, draw=0, asked_s=90), GiveUp)
