"""The reckoning as a table: what was counted, whether it is as it must be, and who is missing."""

from collections.abc import Sequence
from dataclasses import dataclass, field

SHOWN_MAX = 20


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that was counted. It is wrong when it has `losses`, each told so that it can be
    followed; `notes` are worth reading and no failure.
    """

    check: str
    count: str
    losses: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def table(rows: Sequence[Row]) -> str:
    width = max(len(row.check) for row in rows)
    lines = [
        f"{'ok  ' if not row.losses else 'LOST'}  {row.check:<{width}}  {row.count}" for row in rows
    ]
    for row in rows:
        lines += _told(f"{row.check}, which is wrong:", row.losses)
        lines += _told(f"{row.check}, noted:", row.notes)
    return "\n".join(lines)


def _told(heading: str, items: list[str]) -> list[str]:
    if not items:
        return []
    more = [f"  and {len(items) - SHOWN_MAX} more"] if len(items) > SHOWN_MAX else []
    return ["", heading, *(f"  {item}" for item in items[:SHOWN_MAX]), *more]
