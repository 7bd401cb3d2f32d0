"""Frames: what a run says while it runs, numbered in one order per run."""

import msgspec


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a run in the field names clients read; `data` is its JSON object."""

    event_index: int
    event: str
    data: msgspec.Raw
