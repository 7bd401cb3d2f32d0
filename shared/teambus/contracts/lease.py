"""A lease: who does what only one may do at a time."""

from typing import Any

from teambus.contracts.message import Message

JANITOR = "janitor"
"""The lease of the team-runner that sees to what nobody holds."""


class LeaseRecord(Message, frozen=True, kw_only=True, tag="lease.record.v1"):
    """The last word on who holds a lease; without a holder it is free.

    It is written again well within `lease_s`; one that stands unchanged for so long is another's
    to take. `notes` is what a holder leaves to the next.
    """

    name: str
    term: int = 0
    holder: str | None = None
    lease_s: float = 0
    renewed_at: float = 0
    notes: dict[str, Any] = {}
