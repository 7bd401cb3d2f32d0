"""Who may open a session."""

import msgspec

from teambus.contracts.session import SessionClaim, SessionRecord
from teambus.domain.session_order import Busy, Opened, blocker, close, decide


def claim(run: str, seq: int) -> SessionClaim:
    return SessionClaim(run_id=run, team_id="t", request_seq=seq)


A, B, C = claim("a", 1), claim("b", 2), claim("c", 3)
FREE = SessionRecord(tenant="default", session_id="s")


def held(by: SessionClaim, *waiting: SessionClaim) -> SessionRecord:
    return msgspec.structs.replace(FREE, fence=5, holder=by, waiting=list(waiting))


def test_a_free_session_opens_with_a_higher_fence() -> None:
    verdict = decide(FREE, A, waiting_max=2)
    assert isinstance(verdict, Opened)
    assert (verdict.record.holder, verdict.record.fence) == (A, 1)


def test_the_holder_opens_again_with_a_higher_fence_even_if_older_requests_wait() -> None:
    verdict = decide(held(B, A), B, waiting_max=2)
    assert isinstance(verdict, Opened)
    assert (verdict.record.holder, verdict.record.fence) == (B, 6)


def test_another_run_waits_in_line_and_a_second_look_changes_nothing() -> None:
    verdict = decide(held(A), B, waiting_max=2)
    assert isinstance(verdict, Busy)
    assert verdict.record is not None
    assert verdict.record.waiting == [B]
    assert decide(verdict.record, B, waiting_max=2) == Busy(None)


def test_a_free_session_is_kept_for_the_oldest_waiting_request() -> None:
    free = msgspec.structs.replace(FREE, waiting=[B])
    assert isinstance(decide(free, C, waiting_max=2), Busy)
    assert isinstance(decide(free, B, waiting_max=2), Opened)


def test_an_older_request_than_all_that_wait_goes_first() -> None:
    free = msgspec.structs.replace(FREE, waiting=[B])
    verdict = decide(free, A, waiting_max=2)
    assert isinstance(verdict, Opened)
    assert verdict.record.waiting == [B]


def test_a_full_line_keeps_the_oldest_requests() -> None:
    full = held(claim("x", 0), B, C)
    assert decide(full, claim("d", 4), waiting_max=2) == Busy(None)
    verdict = decide(full, A, waiting_max=2)
    assert isinstance(verdict, Busy)
    assert verdict.record is not None
    assert verdict.record.waiting == [A, B]


def test_closing_frees_the_session_and_leaves_the_line() -> None:
    record = close(held(A, B), "a")
    assert record is not None
    assert (record.holder, record.waiting, record.fence) == (None, [B], 5)


def test_closing_removes_a_waiting_run_and_leaves_the_holder() -> None:
    record = close(held(A, B), "b")
    assert record is not None
    assert (record.holder, record.waiting) == (A, [])


def test_closing_what_is_not_there_changes_nothing() -> None:
    assert close(held(A, B), "c") is None


def test_a_run_is_blocked_by_the_holder_else_by_the_oldest_before_it() -> None:
    assert blocker(held(A, B), C) == A
    assert blocker(held(A), A) is None
    assert blocker(msgspec.structs.replace(FREE, waiting=[B, A]), C) == A
    assert blocker(msgspec.structs.replace(FREE, waiting=[C]), B) is None
