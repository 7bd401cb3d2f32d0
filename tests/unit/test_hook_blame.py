"""Whom a lost hook process is put down to."""

from teambus_hook_runner.blame import Standing, for_crash, for_kill


def call(number: int, **claims: bool) -> Standing:
    return Standing(
        number,
        **{"begun": True, "overdue": False, "threaded": False, "on_loop": False} | claims,
    )


def test_a_kill_is_put_down_to_the_overdue() -> None:
    assert for_kill([call(1, overdue=True), call(2)]) == {1}


def test_a_kill_is_put_down_to_the_one_that_had_the_loop() -> None:
    frozen = call(1, overdue=True)
    assert for_kill([frozen, call(2, overdue=True, on_loop=True)]) == {2}


def test_a_thread_that_is_overdue_is_to_blame_beside_the_loop() -> None:
    calls = [call(1, overdue=True, threaded=True), call(2, overdue=True, on_loop=True)]
    assert for_kill(calls) == {1, 2}


def test_several_that_refuse_to_yield_are_all_to_blame() -> None:
    assert for_kill([call(1, overdue=True), call(2, overdue=True)]) == {1, 2}


def test_a_crash_is_put_down_to_the_one_that_had_the_loop() -> None:
    assert for_crash([call(1), call(2, on_loop=True)]) == {2}


def test_a_crash_of_unknown_cause_is_put_down_to_all_who_had_begun() -> None:
    assert for_crash([call(1), call(2), call(3, begun=False)]) == {1, 2}


def test_where_threads_run_any_of_them_may_have_done_it() -> None:
    assert for_crash([call(1, threaded=True), call(2, on_loop=True)]) == {1, 2}
