"""The delivery of one run-completed event to one hook: outcomes and dead letters."""

from typing import Literal

import msgspec

from teambus.contracts.ids import EventId, HookName, RunId, TeamId, Tenant
from teambus.contracts.message import Message
from teambus.contracts.run import RunCompleted

DeliveryState = Literal["failed", "delivered", "dead"]


class HookFailure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One failed attempt. `code` is one of raised, timeout, crashed, permanent."""

    attempt: int
    code: str
    error: str
    started_at: float
    failed_at: float


class HookOutcome(Message, frozen=True, kw_only=True, tag="hook.outcome.v1"):
    """How the delivery to one hook stands after its latest attempt; failures are oldest first."""

    delivery_id: str
    tenant: Tenant
    team_id: TeamId
    run_id: RunId
    hook: HookName
    state: DeliveryState
    attempt: int
    failures: list[HookFailure] = []
    retry_at: float | None = None
    at: float = 0


class DeadLetter(Message, frozen=True, kw_only=True, tag="dead.letter.v1"):
    """Work given up, with its reason.

    `about` is hook, run or request. A hook's or run's letter carries the completed event; a
    request that could not be read carries its bytes as text, cut to what a message can hold.
    """

    id: str
    about: Literal["hook", "run", "request"]
    name: str
    tenant: Tenant
    reason: str
    died_at: float
    team_id: TeamId | None = None
    run_id: RunId | None = None
    event_id: EventId | None = None
    event: RunCompleted | None = None
    attempts: int = 0
    failures: list[HookFailure] = []
    traceback: str | None = None
    body: str | None = None


def delivery_id(tenant: Tenant, hook: HookName, run_id: RunId) -> str:
    """The identity of a delivery, unchanged by retries, redrive and replay."""
    return f"{tenant}:{hook}:{run_id}"
