"""The delivery of one run-completed event to one hook: outcomes, dead letters and redrives."""

from typing import Literal

import msgspec

from teambus.contracts.ids import EventId, HookName, RunId, TeamId, Tenant
from teambus.contracts.message import Message
from teambus.contracts.run import RunCompleted

DeliveryState = Literal["failed", "delivered", "dead", "redriven"]


class HookFailure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One failed attempt. `code` is one of raised, timeout, crashed, permanent."""

    attempt: int
    code: str
    error: str
    started_at: float
    failed_at: float


class HookOutcome(Message, frozen=True, kw_only=True, tag="hook.outcome.v1"):
    """How the delivery to one hook stands after its latest attempt; failures are oldest first.

    `generation` counts how often it was redriven or replayed; each time attempts count anew.
    `redriven` is a delivery that was asked for again and has not been tried since. `replay` is the
    id of the replay that asked, if one did.
    """

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
    generation: int = 0
    replay: str | None = None


class DeadLetter(Message, frozen=True, kw_only=True, tag="dead.letter.v1"):
    """Work given up, with its reason.

    `about` is hook, run or request. A hook's or run's letter carries the completed event; a
    request that could not be read carries its bytes as text, cut to what a message can hold.
    `generation` is that of the delivery that died: how often it had been redriven before.
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
    generation: int = 0


class RedriveDelivery(Message, frozen=True, kw_only=True, tag="hook.redrive.v1"):
    """Somebody wants this hook to be told of this event again, and no other hook.

    A `suspect` delivery ended its process when it was last tried. `replay` is the id of the replay
    that asks, if one does.
    """

    delivery_id: str
    tenant: Tenant
    hook: HookName
    event: RunCompleted
    generation: int
    asked_at: float
    suspect: bool = False
    replay: str | None = None


def delivery_id(tenant: Tenant, hook: HookName, run_id: RunId) -> str:
    """The identity of a delivery, unchanged by retries, redrive and replay."""
    return f"{tenant}:{hook}:{run_id}"
