"""What a server answered, made comparable: names for ids, marks for clocks and durations.

How a streamed text is cut into pieces depends on the moment, so its pieces are joined, and the
numbers of events are only said to be there.
"""

import copy
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Json: TypeAlias = Any

UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
CALL_ID = re.compile(r"call_[0-9A-Za-z_-]+")
COMPLETION_ID = re.compile(r"chatcmpl-[0-9A-Za-z_-]+")
ISO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(Z|[+-]\d\d:\d\d)?")
SECONDS = re.compile(r"in \d+\.\d+s")
EPOCH_KEYS = {"created_at", "updated_at", "start_time", "end_time"}
INDEX_KEYS = {"event_index"}
CONTENT = ("RunContent", "TeamRunContent")
LENGTH_KEYS = {"duration", "time_to_first_token", "search_time_ms"}


@dataclass(slots=True)
class Names:
    """What the ids that a server made are called: after where they were first seen."""

    of_id: dict[str, str] = field(default_factory=dict)

    def learn(self, step: str, answer: Json) -> None:
        """Name the runs and sessions of an answer; a member's run after its team's."""
        for told in _objects(answer):
            owner = told.get("agent_id") or told.get("team_id")
            parent = told.get("parent_run_id")
            within = f"within {self.put(parent)}" if parent else f"in {step}"
            if owner:
                self._learn(told.get("run_id"), f"<run of {owner} {within}>")
            self._learn(told.get("session_id"), f"<session of {step}>")

    def _learn(self, id_: Json, name: str) -> None:
        if isinstance(id_, str) and UUID.fullmatch(id_):
            self.of_id.setdefault(id_, name)

    def put(self, text: str) -> str:
        """The text with ids, times and lengths of time named instead of told."""
        text = UUID.sub(lambda found: self.of_id.get(found[0], "<uuid>"), text)
        text = CALL_ID.sub("<call>", COMPLETION_ID.sub("<completion>", text))
        text = ISO_TIME.sub(lambda found: f"<time {found[1] or 'without zone'}>", text)
        return SECONDS.sub("in <n>s", text)


def plain(value: Json, names: Names, key: str = "") -> Json:
    """The value with everything in it named that no two servers say alike."""
    match value:
        case dict():
            return {name: plain(each, names, name) for name, each in value.items()}
        case list():
            return [plain(each, names, key) for each in joined(value)]
        case str():
            return names.put(value)
        case int() | float() if not isinstance(value, bool):
            return _plain_number(value, key)
    return value


def _plain_number(value: int | float, key: str) -> Json:
    kind = type(value).__name__
    if key in INDEX_KEYS:
        return f"<{kind} index>"
    if key in EPOCH_KEYS and value > 1_500_000_000:
        return f"<{kind} epoch>"
    if key in LENGTH_KEYS:
        return f"<{kind} length>"
    return value


def _objects(value: Json) -> Iterator[dict[str, Json]]:
    if isinstance(value, dict):
        yield value
    children = value.values() if isinstance(value, dict) else value
    for child in children if isinstance(value, dict | list) else ():
        yield from _objects(child)


def joined(values: list[Json]) -> list[Json]:
    """The list with the pieces of one text, where they follow each other, in one event."""
    kept: list[Json] = []
    for value in values:
        before = _text_event(kept[-1]) if kept else None
        after = _text_event(value)
        if before and after and before["run_id"] == after["run_id"]:
            before["content"] += after["content"]
        else:
            kept.append(copy.deepcopy(value) if after else value)
    return kept


def _text_event(value: Json) -> dict[str, Json] | None:
    """The part of an event that has a piece of text in it."""
    if not isinstance(value, dict) or value.get("event") not in CONTENT:
        return None
    event: dict[str, Json] = value.get("data", value)
    return event if isinstance(event.get("content"), str) else None


def sse_frames(text: str) -> list[Json]:
    """The frames of an event stream, each with the fields it had; comments are left out."""
    frames = []
    for block in text.replace("\r\n", "\n").split("\n\n"):
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        fields = dict(line.split(": ", 1) for line in lines)
        if "id" in fields:
            fields["id"] = "<index>" if fields["id"].isdecimal() else fields["id"]
        if "data" in fields:
            frames.append({**fields, "data": json.loads(fields["data"])})
    return frames
