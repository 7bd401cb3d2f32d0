"""Runs: each accepted one ended exactly once, and everybody was told the same."""

from typing import Any

import msgspec

from teambus.contracts.frames import FrameBatch
from teambus.contracts.journal import AttemptStarted, ModelAnswered, ToolReturned
from teambus.contracts.run import RunCompleted
from teambus.domain.frames import last_frame
from tests.chaos.asks import Ask
from tests.chaos.outside import Outside
from tests.chaos.report import Row

LATE_S = 12


def check_runs(found: Outside, asks: list[Ask]) -> list[Row]:
    return [
        _ended_once(found, asks),
        _answered(asks),
        _replies_agree(found, asks),
        _replies_come(found, asks),
        _streams_agree(found, asks),
        _no_oddities(asks),
    ]


def known_of(found: Outside, run_id: str) -> str:
    """The last known facts of a run, in one line."""
    attempts = [each.record for each in found.journals.get(run_id, [])]
    steps = [each for each in attempts if isinstance(each, ModelAnswered | ToolReturned)]
    starts = [each for each in attempts if isinstance(each, AttemptStarted)]
    last = type(attempts[-1]).__name__ if attempts else "nothing"
    where = [*(["accepted"] if run_id in found.accepted else [])]
    where += ["queued"] if run_id in found.requests else []
    runner = f"{starts[-1].runner} at {starts[-1].at:.3f}" if starts else "nobody"
    return (
        f"{run_id}: {'+'.join(where) or 'no trace of the request'}, {len(starts)} attempts, "
        f"{len(steps)} steps, last taken by {runner}, journal ends with {last}, "
        f"{len(found.completed.get(run_id, []))} completed events"
    )


def _ended_once(found: Outside, asks: list[Ask]) -> Row:
    accepted = {ask.run_id for ask in asks if ask.accepted_at is not None}
    # Whoever left without hearing may have been accepted all the same: then there is a trace.
    taken = {run_id for run_id in found.journals if found.journals[run_id]} | {*found.requests}
    owed = accepted | taken
    lost = [known_of(found, run_id) for run_id in sorted(owed) if not found.completed.get(run_id)]
    twice = [f"{run}: {len(ends)} ends" for run, ends in found.completed.items() if len(ends) > 1]
    strangers = [f"{run}: ended and never asked for" for run in found.completed.keys() - owed]
    ends = sum(map(len, found.completed.values()))
    return Row("accepted runs = ends", f"{len(owed)} = {ends}", lost + twice + strangers)


def _answered(asks: list[Ask]) -> Row:
    waiting = [ask.facts() for ask in asks if not ask.done]
    return Row("clients answered", f"{len(asks) - len(waiting)} of {len(asks)}", waiting)


def _replies_agree(found: Outside, asks: list[Ask]) -> Row:
    answered = [ask for ask in asks if ask.answer is not None and found.completed.get(ask.run_id)]
    wrong = [ask.facts() for ask in answered if not _same(ask.answer, found.completed[ask.run_id])]
    return Row("replies agree with ends", str(len(answered)), wrong)


def _replies_come(found: Outside, asks: list[Ask]) -> Row:
    """Who still waits long after the end, on a connection that nobody cut, was forgotten."""
    waits = [(ask, at) for ask in asks for at in ask.timeouts if found.completed.get(ask.run_id)]
    forgotten = [
        f"{ask.facts()} waited at {at:.3f}, the run ended {late_s:.1f} s before"
        for ask, at in waits
        if (late_s := at - found.completed[ask.run_id][0].completed_at) > LATE_S
    ]
    return Row("replies come when runs end", f"{len(waits)} waited too long", forgotten)


def _same(answer: dict[str, Any] | None, ends: list[RunCompleted]) -> bool:
    output = msgspec.to_builtins(ends[0].output)
    told = answer or {}
    return all(told.get(name) == output.get(name) for name in ("run_id", "status", "content"))


def _streams_agree(found: Outside, asks: list[Ask]) -> Row:
    streamed = [ask for ask in asks if ask.is_streamed and found.completed.get(ask.run_id)]
    wrong = []
    for ask in streamed:
        stored = story_of(found.frames.get(ask.run_id, []), found.completed[ask.run_id][0])
        if ask.done and ask.heard != stored:
            wrong.append(f"{ask.facts()} {_difference(ask.heard, stored)}")
    events = sum(len(ask.heard) for ask in streamed)
    cuts = sum(ask.cuts for ask in streamed)
    count = f"{len(streamed)} streams, {events} events, {cuts} cuts"
    return Row("streams equal the stored events", count, wrong)


def story_of(batches: list[FrameBatch], end: RunCompleted) -> list[tuple[int, str]]:
    """What every reader must be told: a later attempt silences the ones before."""
    told: list[tuple[int, str]] = []
    attempt = 0
    for batch in batches:
        if batch.attempt < attempt:
            continue
        attempt = batch.attempt
        after = told[-1][0] if told else -1
        told += [
            (each.event_index, each.event) for each in batch.frames if each.event_index > after
        ]
    last = last_frame(end)
    after = told[-1][0] if told else -1
    return [*told, (max(last.event_index, after + 1), last.event)]


def _difference(heard: list[tuple[int, str]], stored: list[tuple[int, str]]) -> str:
    missing = [each for each in stored if each not in heard]
    more = [each for each in heard if each not in stored]
    return f"missing {missing[:5]}, not stored {more[:5]}"


def _no_oddities(asks: list[Ask]) -> Row:
    odd = [f"{ask.run_id}: {oddity}" for ask in asks for oddity in ask.oddities]
    repeats = sum(ask.repeats for ask in asks)
    return Row("refusals say when or where to ask again", f"{repeats} asked again", odd)
