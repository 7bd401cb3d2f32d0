"""Frames: what a run says while it runs, numbered in one order per run."""

from typing import Annotated

import msgspec

from teambus.contracts.ids import RunId, TeamId, Tenant
from teambus.contracts.message import Message

ATTEMPT_STRIDE = 10_000
"""A later attempt numbers its frames from a multiple of this, above all that was said before."""


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a run in the field names clients read; `data` is its JSON object."""

    event_index: int
    event: str
    data: Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema={"type": "object"})]


class FrameBatch(Message, frozen=True, kw_only=True, tag="run.frames.v1"):
    """Frames of one attempt at a run, in order and without gaps within the attempt.

    `attempt` is the journal's sequence of the attempt: of two the larger is the newer, and a
    reader who has seen it drops what an older one still says. The last word of a run is not here:
    it is made from the completed event, which says how many frames came before it.
    """

    tenant: Tenant
    team_id: TeamId
    run_id: RunId
    attempt: int
    frames: list[Frame]
