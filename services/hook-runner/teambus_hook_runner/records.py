"""What is written of a delivery: its outcome after each attempt, and its dead letter."""

import time
from dataclasses import dataclass

import msgspec

from teambus.contracts.hook import DeadLetter, DeliveryState, HookFailure, HookOutcome, delivery_id
from teambus.contracts.ids import HookName
from teambus.contracts.run import RunCompleted
from teambus.contracts.subjects import EventSubject
from teambus_hook_runner.past import Past
from teambus_hook_runner.wire import Raised

FAILURES_KEPT_MAX = 50
BODY_CHARS_MAX = 64 * 1024


@dataclass(frozen=True, slots=True)
class Addressed:
    """An event on its way to one hook."""

    hook: HookName
    event: RunCompleted

    @property
    def id(self) -> str:
        return delivery_id(self.event.tenant, self.hook, self.event.run_id)

    def outcome(self, past: Past, state: DeliveryState, attempt: int) -> HookOutcome:
        return HookOutcome(
            delivery_id=self.id,
            tenant=self.event.tenant,
            team_id=self.event.team_id,
            run_id=self.event.run_id,
            hook=self.hook,
            state=state,
            attempt=attempt,
            failures=past.failures,
            at=time.time(),
        )

    def failed(self, past: Past, answer: Raised, began_at: float) -> HookOutcome:
        """The outcome after one more failure. Of very many failures the last are kept."""
        outcome = self.outcome(past, "failed", past.attempts + 1)
        failure = HookFailure(
            attempt=outcome.attempt,
            code=answer.code,
            error=answer.error,
            started_at=began_at,
            failed_at=outcome.at,
        )
        kept = [*past.failures, failure][-FAILURES_KEPT_MAX:]
        return msgspec.structs.replace(outcome, failures=kept)

    def letter(self, past: Past, reason: str, traceback: str) -> DeadLetter:
        return DeadLetter(
            id=self.id,
            about="hook",
            name=self.hook,
            tenant=self.event.tenant,
            reason=reason,
            died_at=time.time(),
            team_id=self.event.team_id,
            run_id=self.event.run_id,
            event_id=self.event.event_id,
            event=self.event,
            attempts=past.attempts,
            failures=past.failures,
            traceback=traceback or None,
        )


def unreadable(hook: HookName, subject: str, data: bytes, reason: str) -> DeadLetter:
    """The letter of an event that could not be read; all that is known of it is its subject."""
    said = EventSubject.parse(subject)
    return DeadLetter(
        id=delivery_id(said.tenant, hook, said.run),
        about="hook",
        name=hook,
        tenant=said.tenant,
        reason=reason,
        died_at=time.time(),
        team_id=said.team_id,
        run_id=said.run,
        body=data[:BODY_CHARS_MAX].decode("utf-8", "replace"),
    )
