"""Paid work and hooks: what was done twice, what was not done, and why."""

import hashlib
import itertools
from collections import Counter, defaultdict

from teambus.contracts.journal import AttemptStarted, ModelAnswered, ToolReturned
from teambus.contracts.run import RunCompleted
from teambus.testing.model.calls import ScriptedCall
from tests.chaos.harms import Fault
from tests.chaos.house import ACK_WAIT_S, MODEL_TIMEOUT_S, key_of
from tests.chaos.outside import Outside, run_named_in
from tests.chaos.report import Row

WANTED = {"desk": ("quick", "flaky", "doomed", "slow"), "clerk": ("quick", "slow")}
RESIDUE_S = ACK_WAIT_S / 2 + 3
"""How much earlier than a call the takeover may be that did not stop it: the proof of holding the
run may be half an `ack_wait` old, and a busy machine takes its time from there to the model's log.
"""


def check_work(found: Outside, faults: list[Fault]) -> list[Row]:
    return [
        _paid_twice(found, faults),
        _journaled_twice(found),
        _tools_called(found),
        _never_again(found),
        *_hooks(found),
    ]


def _paid_twice(found: Outside, faults: list[Fault]) -> Row:
    """A call may be made again when it was in flight at a takeover, or in a runner that was frozen
    until it held the call for late; no other reason counts.
    """
    by_digest: dict[str, list[ScriptedCall]] = defaultdict(list)
    for call in found.calls:
        by_digest[call.digest].append(call)
    in_flight: list[str] = []
    unexplained: list[str] = []
    for calls in by_digest.values():
        for first, again in itertools.pairwise(calls):
            if _is_retry(first):
                continue
            told = f"{_named(first)}: call {first.n} ({first.outcome}) again as {again.n}"
            explained = _taken_between(found, first, again) or _frozen_between(faults, first, again)
            (in_flight if explained else unexplained).append(told)
    count = f"{len(found.calls)} calls, {len(in_flight)} were in flight at a death"
    return Row("model calls made twice", count, unexplained, in_flight)


def _is_retry(call: ScriptedCall) -> bool:
    """The model failed the call, or let it wait for too long: it was not paid for."""
    if call.outcome == "client gone":
        return (call.ended_at or 0) - call.at >= 0.8 * MODEL_TIMEOUT_S
    return call.outcome != "answered"


def _named(call: ScriptedCall) -> str:
    return run_named_in(call.last_content) or f"a call with {call.last_content[:60]!r}"


def _taken_between(found: Outside, first: ScriptedCall, again: ScriptedCall) -> bool:
    run = run_named_in(first.last_content)
    return run is None or any(
        first.at - RESIDUE_S <= each.record.at <= again.at
        for each in found.journals.get(_id_of(found, run), [])
        if isinstance(each.record, AttemptStarted)
    )


def _frozen_between(faults: list[Fault], first: ScriptedCall, again: ScriptedCall) -> bool:
    """The model's log tells the runners by their keys."""
    return any(
        fault.at < again.at
        and first.at < fault.until
        and key_seen(fault.whom) == first.authorization
        for fault in faults
        if fault.what == "freeze"
    )


def key_seen(name: str) -> str:
    return hashlib.sha256(f"Bearer {key_of(name)}".encode()).hexdigest()[:12]


def _id_of(found: Outside, named: str) -> str:
    """A run with an idempotency key has an id made from it."""
    if named in found.journals:
        return named
    for run_id, ends in found.completed.items():
        asked = ends[0].output.input
        if asked is not None and f"[{named}]" in str(asked.input_content):
            return run_id
    return named


def _journaled_twice(found: Outside) -> Row:
    twice, steps = [], 0
    for run_id, entries in found.journals.items():
        seen: set[tuple[str, str]] = set()
        for entry in entries:
            record = entry.record
            if not isinstance(record, ModelAnswered | ToolReturned):
                continue
            steps += 1
            key = (record.path, record.digest)
            if key in seen:
                twice.append(f"{run_id}: {record.path} journaled again at {entry.seq}")
            seen.add(key)
    return Row("steps journaled once", str(steps), twice)


def _tools_called(found: Outside) -> Row:
    """Against what the tool wrote down itself: once, and once more for each further attempt."""
    calls = Counter(call["run"] for call in found.tool_calls if call["tool"] == "jot")
    often = []
    for run_id, count in calls.items():
        entries = [each.record for each in found.journals.get(run_id, [])]
        attempts = sum(isinstance(record, AttemptStarted) for record in entries)
        if count > attempts:
            often.append(f"{run_id}: the tool was called {count} times in {attempts} attempts")
    again = calls.total() - len(calls)
    return Row("tools called", f"{calls.total()} calls, {again} again", often)


def _never_again(found: Outside) -> Row:
    """The tool that says it must not be called again after a crash."""
    calls = Counter(call["run"] for call in found.tool_calls if call["tool"] == "charge")
    twice = [f"{run_id}: charged {count} times" for run_id, count in calls.items() if count > 1]
    return Row("tools marked never called once", str(calls.total()), twice)


def _hooks(found: Outside) -> list[Row]:
    wanted = {
        (run_id, hook)
        for run_id, ends in found.completed.items()
        for hook in WANTED[ends[0].team_id]
        if ends[0].output.status == "COMPLETED"
    }
    return [_delivered(found, wanted), _called(found, wanted), _buried(found, wanted)]


def _delivered(found: Outside, wanted: set[tuple[str, str]]) -> Row:
    states = {pair: found.outcomes[pair].state for pair in wanted if pair in found.outcomes}
    missing = [
        f"{hook} of {run_id}: {states.get((run_id, hook), 'no outcome')}, "
        f"event {found.completed[run_id][0].completed_at:.3f}"
        for run_id, hook in sorted(wanted)
        if states.get((run_id, hook)) not in ("delivered", "dead")
    ]
    dead = sum(state == "dead" for state in states.values())
    count = f"{len(wanted)} wanted, {len(states) - dead} delivered, {dead} dead"
    return Row("hooks delivered or dead", count, missing)


def _called(found: Outside, wanted: set[tuple[str, str]]) -> Row:
    """Against what the hooks wrote down themselves."""
    calls: dict[tuple[str, str, int], int] = defaultdict(int)
    for call in found.hook_calls:
        calls[call["run"], call["hook"], call["attempt"]] += 1
    called = {(run, hook) for run, hook, _ in calls}
    never = [f"{hook} of {run}: never called" for run, hook in sorted(wanted - called)]
    unasked = [f"{hook} of {run}: called unasked" for run, hook in sorted(called - wanted)]
    again = sum(count - 1 for count in calls.values())
    return Row("hooks called", f"{len(found.hook_calls)} calls, {again} again", never + unasked)


def _buried(found: Outside, wanted: set[tuple[str, str]]) -> Row:
    letters = {(each.run_id, each.name) for each in found.letters if each.about == "hook"}
    dead = {pair for pair in wanted if pair in found.outcomes}
    dead = {pair for pair in dead if found.outcomes[pair].state == "dead"}
    unwritten = [f"{hook} of {run}: dead without a letter" for run, hook in sorted(dead - letters)]
    early = [
        f"{hook} of {run}: given up, though it would have worked: {_reason(found, run, hook)}"
        for run, hook in sorted(dead)
        if hook != "doomed"
    ]
    runs = [f"{each.run_id}: {each.reason}" for each in found.letters if each.about == "run"]
    return Row(
        "dead letters", f"{len(letters)} of hooks, {len(runs)} of runs", unwritten, early + runs
    )


def _reason(found: Outside, run_id: str, hook: str) -> str:
    for letter in found.letters:
        if (letter.run_id, letter.name) == (run_id, hook):
            return letter.reason
    return "no letter"


def statuses(found: Outside) -> Row:
    """How runs ended; an ERROR is an end too, and its reason is worth reading."""
    ends: list[RunCompleted] = [ends[0] for ends in found.completed.values()]
    counts: dict[str, int] = defaultdict(int)
    for end in ends:
        counts[f"{end.output.status}{f' ({end.code})' if end.code else ''}"] += 1
    count = ", ".join(f"{number} {status}" for status, number in sorted(counts.items()))
    errors = [
        f"{e.run_id}: {str(e.output.content)[:150]}" for e in ends if e.output.status == "ERROR"
    ]
    return Row("how runs ended", count or "none", [], errors)
