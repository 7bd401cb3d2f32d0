"""Who may open a session: one run at a time, the lowest waiting request first."""

from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from teambus.contracts.session import SessionClaim, SessionRecord


@dataclass(frozen=True, slots=True)
class Opened:
    """The session is free for the claim; `record` is what to write."""

    record: SessionRecord


@dataclass(frozen=True, slots=True)
class Busy:
    """The session is another's; `record` is what to write to wait in line, None if that is so
    already or the line is full of older requests.
    """

    record: SessionRecord | None


Verdict: TypeAlias = Opened | Busy


def decide(record: SessionRecord, claim: SessionClaim, *, waiting_max: int) -> Verdict:
    """Open for the holder itself at any time, else when free and no older request waits."""
    others = [waiter for waiter in record.waiting if waiter.run_id != claim.run_id]
    if _holds(record, claim) or (record.holder is None and _is_next(others, claim)):
        return Opened(
            msgspec.structs.replace(record, fence=record.fence + 1, holder=claim, waiting=others)
        )
    line = sorted([*others, claim], key=_age)[:waiting_max]
    if line == record.waiting or claim not in line:
        return Busy(None)
    return Busy(msgspec.structs.replace(record, waiting=line))


def close(record: SessionRecord, run_id: str) -> SessionRecord | None:
    """The record without this run, holding or waiting; None when it is in neither place."""
    others = [waiter for waiter in record.waiting if waiter.run_id != run_id]
    held = record.holder is not None and record.holder.run_id == run_id
    if not held and len(others) == len(record.waiting):
        return None
    holder = None if held else record.holder
    return msgspec.structs.replace(record, holder=holder, waiting=others)


def blocker(record: SessionRecord, claim: SessionClaim) -> SessionClaim | None:
    """Whom the claim waits for: the holder, else the oldest waiting request; None if nobody."""
    if record.holder is not None:
        return None if _holds(record, claim) else record.holder
    older = [waiter for waiter in record.waiting if _age(waiter) < _age(claim)]
    return min(older, key=_age, default=None)


def _holds(record: SessionRecord, claim: SessionClaim) -> bool:
    return record.holder is not None and record.holder.run_id == claim.run_id


def _is_next(others: list[SessionClaim], claim: SessionClaim) -> bool:
    return all(_age(claim) <= _age(other) for other in others)


def _age(claim: SessionClaim) -> int:
    return claim.request_seq
