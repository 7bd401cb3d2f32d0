"""What a journal says about attempts and paid steps."""

from teambus.contracts.journal import (
    AttemptReleased,
    AttemptStarted,
    JournalEntry,
    ModelAnswer,
    ModelAnswered,
    Record,
    RunPinned,
)
from teambus.domain.replay import Past, read_past


def attempt(seq: int = 1) -> AttemptStarted:
    return AttemptStarted(
        runner="r", request_seq=seq, team_id="t", request_digest="d", at=float(seq)
    )


def answered(path: str, text: str = "x") -> ModelAnswered:
    return ModelAnswered(path=path, digest="d", answer=ModelAnswer(content=text))


def past(*records: Record) -> Past:
    entries = [
        JournalEntry(nonce=str(n), attempt="a", n=n, records=[record])
        for n, record in enumerate(records)
    ]
    return read_past(entries)


def test_an_attempt_that_left_nothing_behind_counts() -> None:
    assert past(attempt(), attempt()).attempts == 2


def test_a_released_attempt_does_not_count() -> None:
    assert past(attempt(), AttemptReleased(reason="drain"), attempt()).attempts == 1


def test_a_run_that_makes_progress_starts_counting_anew() -> None:
    assert past(attempt(), attempt(), answered("leader/0"), attempt()).attempts == 1


def test_a_release_after_progress_does_not_make_up_for_a_later_death() -> None:
    records = (attempt(), answered("leader/0"), AttemptReleased(reason="drain"), attempt())
    assert past(*records).attempts == 1


def test_a_run_is_held_by_its_latest_runner_until_it_releases_it() -> None:
    assert past().holder is None
    assert past(attempt(), answered("leader/0")).holder == "r"
    assert past(attempt(), AttemptReleased(reason="drain")).holder is None
    assert past(attempt(), AttemptReleased(reason="drain"), attempt()).holder == "r"


def test_the_first_pin_stands() -> None:
    found = past(RunPinned(created_at=1), RunPinned(created_at=2)).pinned
    assert found is not None
    assert found.created_at == 1


def test_the_run_belongs_to_the_first_attempt_and_is_held_by_the_latest() -> None:
    found = past(attempt(7), attempt(9))
    assert found.first is not None
    assert found.latest is not None
    assert (found.first.request_seq, found.latest.request_seq) == (7, 9)


def test_a_fresh_branch_replaces_the_recorded_answer() -> None:
    assert past(answered("p", "old"), answered("p", "new")).answers["p"].answer.content == "new"
