"""What is written of a delivery: its outcome after each attempt, and its dead letter."""

import time

import msgspec

from teambus.bus.pull import Delivery
from teambus.contracts.headers import RUN_ID
from teambus.contracts.hook import DeadLetter, DeliveryState, HookFailure, HookOutcome, delivery_id
from teambus.contracts.ids import HookName
from teambus.contracts.subjects import EventSubject, RedriveSubject
from teambus_hook_runner.parcel import Addressed
from teambus_hook_runner.past import Past
from teambus_hook_runner.wire import Raised

FAILURES_KEPT_MAX = 50
BODY_CHARS_MAX = 64 * 1024


def outcome_of(addressed: Addressed, past: Past, state: DeliveryState, attempt: int) -> HookOutcome:
    event = addressed.event
    return HookOutcome(
        delivery_id=addressed.id,
        tenant=event.tenant,
        team_id=event.team_id,
        run_id=event.run_id,
        hook=addressed.hook,
        state=state,
        attempt=attempt,
        failures=past.failures,
        at=time.time(),
        generation=addressed.generation,
        replay=addressed.replay,
    )


def failed_outcome(
    addressed: Addressed, past: Past, answer: Raised, began_at: float
) -> HookOutcome:
    """The outcome after one more failure. Of very many failures the last are kept."""
    outcome = outcome_of(addressed, past, "failed", past.attempts + 1)
    failure = HookFailure(
        attempt=outcome.attempt,
        code=answer.code,
        error=answer.error,
        started_at=began_at,
        failed_at=outcome.at,
    )
    kept = [*past.failures, failure][-FAILURES_KEPT_MAX:]
    return msgspec.structs.replace(outcome, failures=kept)


def letter_of(addressed: Addressed, past: Past, reason: str, traceback: str) -> DeadLetter:
    event = addressed.event
    return DeadLetter(
        id=addressed.id,
        about="hook",
        name=addressed.hook,
        tenant=event.tenant,
        reason=reason,
        died_at=time.time(),
        team_id=event.team_id,
        run_id=event.run_id,
        event_id=event.event_id,
        event=event,
        attempts=past.attempts,
        failures=past.failures,
        traceback=traceback or None,
        generation=addressed.generation,
    )


def unreadable(hook: HookName, delivery: Delivery, reason: str) -> DeadLetter:
    """The letter of an event that could not be read; all that is known of it is its subject, of a
    redriven one also its run.
    """
    body = delivery.data[:BODY_CHARS_MAX].decode("utf-8", "replace")
    if redrive := RedriveSubject.parse(delivery.subject):
        tenant, team_id, run = redrive.tenant, None, delivery.headers.get(RUN_ID)
        id_ = delivery_id(tenant, hook, f"redrive-{delivery.seq}")
    else:
        said = EventSubject.parse(delivery.subject)
        tenant, team_id, run = said.tenant, said.team_id, said.run
        id_ = delivery_id(tenant, hook, said.run)
    return DeadLetter(
        id=id_,
        about="hook",
        name=hook,
        tenant=tenant,
        reason=reason,
        died_at=time.time(),
        team_id=team_id,
        run_id=run,
        body=body,
    )
