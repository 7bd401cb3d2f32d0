"""Delivering completed events to one hook, and recording what became of each.

A hook-runner may die between any two of these lines. What is written is written in an order in
which whoever takes the delivery over finds out what was done, and at worst calls the hook again.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

import msgspec
import structlog

from teambus.bus.bodies import Bodies, BodyMissing
from teambus.bus.connection import Bus
from teambus.bus.errors import BusError
from teambus.bus.events import Events
from teambus.contracts import subjects
from teambus.contracts.catalogue import HookDescription
from teambus.contracts.hook import HookOutcome
from teambus.contracts.message import MalformedMessage
from teambus.domain.hearing import wants
from teambus.domain.retry import GiveUp, RetrySchedule
from teambus.runtime.tracing import Tracer
from teambus_hook_runner.asked import Asked
from teambus_hook_runner.calling import Calling
from teambus_hook_runner.in_hand import Held
from teambus_hook_runner.metrics import CALL_SECONDS, DELIVERIES
from teambus_hook_runner.parcel import Parcel, opened
from teambus_hook_runner.past import Past
from teambus_hook_runner.records import failed_outcome, letter_of, outcome_of, unreadable
from teambus_hook_runner.sessions import SessionSource, SessionUnavailable
from teambus_hook_runner.traced import delivering
from teambus_hook_runner.wire import Raised, Returned

log = structlog.get_logger(__name__)


class Caller(Protocol):
    """Calls a hook, in whichever process."""

    async def call(self, asked: Asked, *, suspect: bool) -> Returned | Raised: ...


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a delivery may come without a record, how long waits may be."""

    crash_max: int
    backoff_max_s: float
    record_retry_s: float


@dataclass(frozen=True, slots=True)
class Desk:
    """What couriers of all hooks share: the bus and what is read and written there."""

    bus: Bus
    bodies: Bodies
    events: Events
    sessions: SessionSource
    patience: Patience
    calling: Calling
    tracer: Tracer | None = None


class Courier:
    """Delivers to one hook."""

    def __init__(self, desk: Desk, hook: HookDescription, caller: Caller) -> None:
        self._desk = desk
        self._hook = hook
        self._caller = caller
        self._schedule = RetrySchedule(
            hook.attempts_max, hook.backoff_s, desk.patience.backoff_max_s
        )
        self._call_seconds = CALL_SECONDS.labels(hook.name)
        self._delivered = DELIVERIES.labels(hook.name, "delivered")

    async def deliver(self, held: Held) -> None:
        """Settle one delivery: done, to be tried again, buried, or given back.

        Raises `Unavailable` when the hook could not be called, `BusError` when nothing could be
        read; neither is an attempt.
        """
        try:
            parcel = await self._open(held)
        except (MalformedMessage, BodyMissing) as error:
            await self._refuse(held, error)
            return
        # Whoever redrives has seen to it that the hook wants it.
        if parcel.addressed.generation == 0 and not wants(self._hook, parcel.event.output):
            await held.ack()
            self._count("not wanted")
            return
        # A first delivery has no past, and most deliveries are first ones.
        past = Past() if parcel.is_first else await self._past(parcel)
        if not await self._is_over(parcel, past):
            await self._attempt(parcel, past)

    async def _open(self, held: Held) -> Parcel:
        parcel = await opened(held, self._hook.name, self._desk.bodies)
        event = parcel.event
        structlog.contextvars.bind_contextvars(
            run_id=event.run_id,
            team_id=event.team_id,
            tenant=event.tenant,
            hook=self._hook.name,
            delivery=held.delivery.attempt,
            redriven=parcel.addressed.generation,
        )
        return parcel

    async def _past(self, parcel: Parcel) -> Past:
        event, hook = parcel.event, self._hook.name
        seen, letter = await asyncio.gather(
            self._desk.events.outcome(event.tenant, event.run_id, hook),
            self._desk.events.dead_letter(_letter_subject(parcel)),
        )
        return Past.of(parcel, seen.outcome, seen.seq, letter)

    async def _is_over(self, parcel: Parcel, past: Past) -> bool:
        """Finish what needs no call: it was delivered, it is dead, or it is not time yet."""
        held, patience = parcel.held, self._desk.patience
        unrecorded = held.delivery.attempt - 1 - past.attempts
        if past.overtaken:
            await held.ack()
            self._count("redriven since")
        elif past.is_delivered:
            await self._settle(parcel, past)
            self._count("delivered before")
        elif past.is_dead:
            await self._bury(parcel, past, "it was given up before", "")
        elif (wait_s := past.wait_s(patience.backoff_max_s)) > 0:
            await held.nak(wait_s)
        elif unrecorded > patience.crash_max:
            reason = f"delivered {unrecorded} times without an outcome"
            await self._bury(parcel, past, reason, "")
        else:
            return False
        return True

    async def _attempt(self, parcel: Parcel, past: Past) -> None:
        began_at, began = time.time(), time.monotonic()
        self._desk.calling.begin(parcel.addressed, past.attempts + 1)
        try:
            with delivering(self._desk.tracer, parcel, past.attempts + 1) as called:
                answer = called.answer = await self._call(parcel, past, called.traceparent)
        finally:
            self._desk.calling.end(parcel.addressed)
        self._call_seconds.observe(time.monotonic() - began)
        if isinstance(answer, Returned):
            await self._settle_delivered(parcel, past)
        else:
            await self._settle_failed(parcel, past, answer, began_at)

    async def _call(self, parcel: Parcel, past: Past, traceparent: str) -> Returned | Raised:
        session = None
        if self._hook.needs_session:
            try:
                session = await self._desk.sessions.session(parcel.event)
            except SessionUnavailable as error:
                return Raised(0, "raised", f"its session could not be read: {error}")
        asked = Asked(
            self._hook.name,
            parcel.addressed.id,
            past.attempts + 1,
            parcel.body,
            self._hook.timeout_s,
            session,
            traceparent,
        )
        return await self._caller.call(asked, suspect=past.was_crash)

    async def _settle_delivered(self, parcel: Parcel, past: Past) -> None:
        """The record comes before the ack: were the ack lost, the hook would be called again."""
        outcome = outcome_of(parcel.addressed, past, "delivered", past.attempts + 1)
        await self._note(outcome, after=None)
        await self._settle(parcel, past)
        self._delivered.inc()
        log.debug("delivered", attempt=outcome.attempt)

    async def _settle(self, parcel: Parcel, past: Past) -> None:
        """Take away a letter whose redriver died before it could: it speaks of nothing dead."""
        if past.old_letter:
            now = parcel.addressed.generation
            await self._forget(_letter_subject(parcel), before=now)
        await parcel.held.ack()

    async def _settle_failed(
        self, parcel: Parcel, past: Past, answer: Raised, began_at: float
    ) -> None:
        failed = failed_outcome(parcel.addressed, past, answer, began_at)
        verdict = self._schedule.after(
            failed.attempt,
            draw=random.random(),
            permanent=answer.code == "permanent",
            asked_s=answer.retry_after_s,
        )
        if isinstance(verdict, GiveUp):
            now = msgspec.structs.replace(past, outcome=failed)
            await self._bury(parcel, now, f"{verdict.reason}: {answer.error}", answer.traceback)
            return
        failed = msgspec.structs.replace(failed, retry_at=time.time() + verdict.delay_s)
        if not await self._note(failed, after=past.seq):
            await self._think_again(parcel, answer, began_at)
            return
        await parcel.held.nak(verdict.delay_s)
        self._count("failed")
        log.warning(
            "hook failed",
            attempt=failed.attempt,
            attempts_max=self._hook.attempts_max,
            code=answer.code,
            error=answer.error,
            next_try_in_s=round(verdict.delay_s, 3),
        )

    async def _think_again(self, parcel: Parcel, answer: Raised, began_at: float) -> None:
        """Another hook-runner wrote an outcome meanwhile; a delivered one must not be undone."""
        past = await self._past(parcel)
        if not await self._is_over(parcel, past):
            await self._settle_failed(parcel, past, answer, began_at)

    async def _bury(self, parcel: Parcel, past: Past, reason: str, traceback: str) -> None:
        """The letter comes first. Found without its outcome it means the same; the other way
        round an event would be given up without a trace.
        """
        if past.letter is None:
            letter = letter_of(parcel.addressed, past, reason, traceback)
            await self._recorded(lambda: self._desk.events.bury(letter))
            log.error("hook given up, dead letter written", reason=reason, attempts=past.attempts)
        dead = outcome_of(parcel.addressed, past, "dead", past.attempts)
        await self._note(dead, after=past.seq)
        await parcel.held.term(reason)
        self._count("dead")

    async def _refuse(self, held: Held, error: Exception) -> None:
        """Nobody will ever be able to read it. Done again, the letter is simply there."""
        letter = unreadable(self._hook.name, held.delivery, str(error))
        await self._recorded(lambda: self._desk.events.bury(letter))
        await held.term(letter.reason)
        self._count("dead")
        log.error("malformed event, dead letter written", hook=self._hook.name, error=str(error))

    async def _note(self, outcome: HookOutcome, *, after: int | None) -> bool:
        return await self._recorded(lambda: self._desk.events.note_outcome(outcome, after=after))

    async def _recorded(self, write: Callable[[], Awaitable[bool]]) -> bool:
        """Try until the bus has taken it. The hook was called; forgotten, it would be called again.

        The hand stays full meanwhile, so a bus that takes nothing is not asked for more work.
        """
        while True:
            if (written := await self._tried(write)) is not None:
                return written
            await asyncio.sleep(self._desk.patience.record_retry_s)

    async def _tried(self, write: Callable[[], Awaitable[bool]]) -> bool | None:
        try:
            return await write()
        except BusError as error:
            if self._desk.bus.closed.is_set():
                raise
            log.error("outcome cannot be written, trying again", error=str(error))
            return None

    async def _forget(self, letter_subject: str, *, before: int) -> None:
        try:
            await self._desk.events.forget_letter(letter_subject, before=before)
        except BusError as error:
            log.warning("a redriven letter could not be removed", error=str(error))

    def _count(self, result: str) -> None:
        DELIVERIES.labels(self._hook.name, result).inc()


def _letter_subject(parcel: Parcel) -> str:
    addressed = parcel.addressed
    return subjects.dead(addressed.event.tenant, "hook", addressed.hook, addressed.id)
