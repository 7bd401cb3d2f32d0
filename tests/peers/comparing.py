"""Two answers held side by side, key by key; and the list of differences that are accepted."""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

DIFFERENCES = Path(__file__).parent / "differences.toml"
SHOWN_MAX = 300


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference. `what` is missing (AgentOS has it), extra (we do), type, value or length."""

    step: str
    path: str
    what: str
    theirs: Any
    ours: Any

    @property
    def place(self) -> str:
        return f"{self.step} {self.path} {self.what}"

    def __str__(self) -> str:
        return f"{self.place}\n    AgentOS: {_shown(self.theirs)}\n    ours:    {_shown(self.ours)}"


def compare(step: str, theirs: Any, ours: Any, path: str = "") -> Iterator[Finding]:
    """Every difference between two answers; members of a list have the same path."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        yield from _compare_objects(step, theirs, ours, path)
    elif isinstance(theirs, list) and isinstance(ours, list):
        are_events = all(isinstance(each, dict) and "event" in each for each in theirs + ours)
        compare_lists = _compare_events if are_events else _compare_lists
        yield from compare_lists(step, theirs, ours, path)
    elif type(theirs) is not type(ours):
        yield Finding(step, path or ".", "type", theirs, ours)
    elif theirs != ours:
        yield Finding(step, path or ".", "value", theirs, ours)


def _compare_lists(step: str, theirs: list[Any], ours: list[Any], path: str) -> Iterator[Finding]:
    if len(theirs) != len(ours):
        yield Finding(step, path or ".", "length", theirs, ours)
    for one, other in zip(theirs, ours, strict=False):
        yield from compare(step, one, other, f"{path}[]")


def _compare_events(step: str, theirs: list[Any], ours: list[Any], path: str) -> Iterator[Finding]:
    """Events are laid side by side by their names, so that one too many does not shift the rest."""
    one, other = ([_event_name(each) for each in events] for events in (theirs, ours))
    for what, i, j, k, m in SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
        if what == "equal":
            for their, our in zip(theirs[i:j], ours[k:m], strict=True):
                yield from compare(step, their, our, f"{path}[{their['event']}]")
            continue
        for their in theirs[i:j]:
            yield Finding(step, f"{path}[{their['event']}]", "missing", their, None)
        for our in ours[k:m]:
            yield Finding(step, f"{path}[{our['event']}]", "extra", None, our)


def _event_name(event: dict[str, Any]) -> tuple[str, str]:
    data = event.get("data", event)
    return event["event"], data.get("agent_id") or data.get("team_id") or ""


def _compare_objects(
    step: str, theirs: dict[str, Any], ours: dict[str, Any], path: str
) -> Iterator[Finding]:
    for key in sorted(theirs.keys() | ours.keys()):
        at = f"{path}.{key}"
        if key not in ours:
            yield Finding(step, at, "missing", theirs[key], None)
        elif key not in theirs:
            yield Finding(step, at, "extra", None, ours[key])
        else:
            yield from compare(step, theirs[key], ours[key], at)


def accepted_places() -> dict[str, re.Pattern[str]]:
    """Where we differ from AgentOS on purpose: `*` stands for any text."""
    listed = tomllib.loads(DIFFERENCES.read_text())["difference"]
    return {place: _pattern(place) for entry in listed for place in entry["places"]}


def fitting(finding: Finding, places: dict[str, re.Pattern[str]]) -> set[str]:
    """The accepted places that a finding is at."""
    return {place for place, pattern in places.items() if pattern.fullmatch(finding.place)}


def _pattern(place: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in place.split("*")), re.DOTALL)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}… ({len(text)} characters)"
