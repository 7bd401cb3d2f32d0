"""Since when something has been missing, told from looks that must follow each other closely."""

from collections.abc import Collection
from typing import Any

import msgspec


class _Notes(msgspec.Struct):
    looked_at: float = 0
    since: dict[str, float] = {}


class Absences:
    """What was missing in every look, and since which one.

    After a gap of more than `gap_s` between two looks, or a clock that went back, it is not known
    what was there meanwhile: all begins anew. No more than `kept_max` names are remembered.
    """

    def __init__(self, *, gap_s: float, kept_max: int) -> None:
        self._gap_s = gap_s
        self._kept_max = kept_max
        self._looked_at = 0.0
        self._since: dict[str, float] = {}

    def look(self, missing: Collection[str], now: float) -> None:
        """Note what is missing now; what is not is there again."""
        if not 0 <= now - self._looked_at <= self._gap_s:
            self._since.clear()
        names = set(missing)
        for name in [each for each in self._since if each not in names]:
            del self._since[name]
        for name in sorted(names - self._since.keys()):
            if len(self._since) < self._kept_max:
                self._since[name] = now
        self._looked_at = now

    def missing_for(self, name: str, seconds: float) -> bool:
        """Whether it was missing in the latest look and all others of the last `seconds`."""
        since = self._since.get(name)
        return since is not None and self._looked_at - since >= seconds

    def notes(self, names_max: int) -> dict[str, Any]:
        """What another process needs to go on from here: those that are missing the longest."""
        oldest = sorted(self._since.items(), key=lambda item: item[1])[:names_max]
        return {"looked_at": self._looked_at, "since": dict(oldest)}

    def go_on(self, notes: dict[str, Any]) -> None:
        """Go on from another's notes; ones that cannot be read are none."""
        try:
            known = msgspec.convert(notes, _Notes)
        except msgspec.ValidationError:
            known = _Notes()
        self._looked_at, self._since = known.looked_at, dict(known.since)
