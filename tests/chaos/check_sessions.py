"""Sessions: one run at a time, a history that is whole and in order; and that nothing is left."""

import itertools
from collections import defaultdict

from teambus.contracts.journal import AttemptStarted, RunEnded, RunPinned
from tests.chaos.app import HISTORY_RUNS
from tests.chaos.outside import Outside, StoredRun
from tests.chaos.report import Row


def check_sessions(found: Outside) -> list[Row]:
    return [_stored(found), _never_overlap(found), _history(found), _nothing_left(found)]


def _stored(found: Outside) -> Row:
    """Every run that says it is stored is one row, with the same words."""
    rows = {row.run_id: row for row in found.rows}
    wrong = []
    for run_id, ends in found.completed.items():
        end, row = ends[0], rows.get(run_id)
        if not end.stored:
            continue
        if row is None:
            wrong.append(f"{run_id}: not in the database")
        elif (row.status, row.content) != (end.output.status, end.output.content):
            wrong.append(f"{run_id}: {row.status} in the database, {end.output.status} said")
    wrong += [
        f"{run_id}: stored and never ended" for run_id in rows.keys() - found.completed.keys()
    ]
    return Row("runs stored as they ended", str(len(rows)), wrong)


def _never_overlap(found: Outside) -> Row:
    """A run has its session from when it read the history to when its end was decided.

    By the journal's sequence, which has one order for all runs.
    """
    spans: dict[tuple[str, str], list[tuple[int, int, str]]] = defaultdict(list)
    for run_id, entries in found.journals.items():
        begun = [each.seq for each in entries if isinstance(each.record, RunPinned)]
        ended = [each.seq for each in entries if isinstance(each.record, RunEnded)]
        ends = found.completed.get(run_id)
        if begun and ended and ends:
            spans[ends[0].tenant, ends[0].session_id].append((begun[0], ended[0], run_id))
    wrong = []
    for (tenant, session), runs in spans.items():
        runs.sort()
        for (_, ended_at, one), (begun_at, _, other) in itertools.pairwise(runs):
            if begun_at < ended_at:
                wrong.append(f"{tenant} {session}: {other} began before {one} ended")
    count = f"{sum(map(len, spans.values()))} runs in {len(spans)} sessions"
    return Row("runs of a session never overlap", count, wrong)


def _history(found: Outside) -> Row:
    """What each run was shown is what was stored before it, newest last."""
    before: dict[tuple[str, str], list[StoredRun]] = defaultdict(list)
    for row in found.rows:
        before[row.tenant, row.session_id].append(row)
    shown, wrong = 0, []
    for rows in before.values():
        completed = [row.run_id for row in rows if row.status == "COMPLETED"]
        wrong += _fences_twice(found, rows)
        for run_id in completed:
            pinned = _pinned(found, run_id)
            at = completed.index(run_id)
            expected = completed[max(0, at - HISTORY_RUNS) : at]
            if pinned is None or run_id.endswith("clerk") or rows[0].component != "desk":
                continue
            shown += 1
            if pinned.history_run_ids != expected:
                wrong.append(f"{run_id}: shown {pinned.history_run_ids}, stored {expected}")
    return Row("history whole and in order", f"{shown} histories", wrong)


def _fences_twice(found: Outside, rows: list[StoredRun]) -> list[str]:
    """Two runs that had the session never had it by the same opening."""
    opened = [row for row in rows if _had_session(found, row.run_id)]
    return [
        f"{one.run_id} and {other.run_id} both had opening {one.fence}"
        for one, other in itertools.pairwise(opened)
        if one.fence == other.fence
    ]


def _had_session(found: Outside, run_id: str) -> bool:
    ends = [e.record for e in found.journals[run_id] if isinstance(e.record, RunEnded)]
    return bool(ends) and ends[0].opened is not False


def _pinned(found: Outside, run_id: str) -> RunPinned | None:
    records = [each.record for each in found.journals[run_id]]
    return next((record for record in records if isinstance(record, RunPinned)), None)


def _nothing_left(found: Outside) -> Row:
    left = [
        f"consumer {each['name']}: {each['num_ack_pending']} in hand, {each['num_pending']} to come"
        for each in found.consumers
        if each["num_ack_pending"] or each["num_pending"]
    ]
    left += [f"request {run_id} is still queued" for run_id in found.requests]
    left += [
        f"session {each.session_id} of {each.tenant}: holder {each.holder}, waiting {each.waiting}"
        for each in found.sessions
        if each.holder is not None or each.waiting
    ]
    return Row("nothing left in hand or open", f"{len(found.consumers)} consumers", left)


def takeovers(found: Outside) -> Row:
    attempts = [
        sum(isinstance(each.record, AttemptStarted) for each in entries)
        for entries in found.journals.values()
    ]
    count = f"{sum(attempts)} attempts at {len(attempts)} runs, {max(attempts, default=0)} at most"
    return Row("attempts", count)
