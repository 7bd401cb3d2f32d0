"""Asking for deliveries again: of dead letters, and of any event, to one hook only.

Order: the redrive is stored, then the outcome says so, then the letter goes. A death in between
leaves a letter that was redriven; redriving it again is found out or, before the outcome says so,
the same message once more. Nothing is lost; at worst the hook is called twice.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from teambus.bus import catalogue, reads
from teambus.bus.bodies import Bodies, BodyMissing
from teambus.bus.connection import Bus
from teambus.bus.dead_letters import DeadLetters, LetterFilter, LetterUnreadable, StoredLetter
from teambus.bus.events import Events, SeenOutcome
from teambus.bus.publish import Publication, publish
from teambus.bus.topology import EVENTS
from teambus.bus.tracing import carried
from teambus.contracts import headers as names
from teambus.contracts import subjects
from teambus.contracts.catalogue import HookDescription
from teambus.contracts.hook import DeadLetter, HookOutcome, RedriveDelivery, delivery_id
from teambus.contracts.ids import HookName, Tenant, token
from teambus.contracts.message import MalformedMessage, decode, encode
from teambus.contracts.run import RunCompleted
from teambus.domain.redrive import Refusal, refusal, unwanted

CRASHED = "crashed"


class NotRedriven(Exception):
    """this dead letter cannot be redriven"""

    def __init__(self, id_: str, why: Refusal) -> None:
        super().__init__(why.detail)
        self.id = id_
        self.code = why.code
        self.detail = why.detail


@dataclass(frozen=True, slots=True)
class Sweep:
    """What became of many letters. There may be more after the sequence `next`."""

    redriven: list[str]
    refused: list[NotRedriven]
    next: int | None


class Redrives:
    """Deliveries asked for again. Each begins a new generation, with attempts counted anew."""

    def __init__(self, bus: Bus, bodies: Bodies, *, source: str) -> None:
        self._bus = bus
        self._bodies = bodies
        self._source = source
        self._events = Events(bus, bodies, source=source)
        self.letters = DeadLetters(bus, bodies)

    async def hooks(self) -> dict[HookName, HookDescription]:
        """Every hook there is."""
        return {hook.name: hook for app in await catalogue.read(self._bus) for hook in app.hooks}

    async def one(self, tenant: Tenant, id_: str) -> bool:
        """Redrive a letter; False when there is none.

        Raises `NotRedriven`, `LetterUnreadable`, or `BusError` when it may not have been done:
        then do it again.
        """
        stored = await self.letters.find(tenant, id_)
        if stored is None:
            return False
        await self._redrive(stored, await self.hooks())
        return True

    async def many(
        self, tenant: Tenant, wanted: LetterFilter, *, after: int, limit: int, until: int = 2**63
    ) -> Sweep:
        """Redrive a page of letters, those up to the sequence `until`."""
        hooks = await self.hooks()
        page = await self.letters.page(tenant, wanted, after=after, limit=limit)
        redriven: list[str] = []
        refused: list[NotRedriven] = []
        for facts in page.letters:
            try:
                stored = await self.letters.find(tenant, facts.id)
                if stored is not None and stored.seq <= until:
                    await self._redrive(stored, hooks)
                    redriven.append(facts.id)
            except NotRedriven as error:
                refused.append(error)
            except LetterUnreadable as error:
                why = Refusal("letter_unreadable", str(error))
                refused.append(NotRedriven(facts.id, why))
        return Sweep(redriven, refused, page.next)

    async def ask(self, order: RedriveDelivery, seen: SeenOutcome) -> None:
        """Have an event delivered to a hook once more. The same generation twice is one.

        Raises `StreamFull` when too many wait to be delivered already.
        """
        data, headers = await self._bodies.fit(encode(order), owner=order.event.run_id)
        # Another form than an outcome's: a run's id may hold anything, and two must never meet.
        msg_id = names.plain(f"redrive@{order.generation}:{order.delivery_id}")
        headers |= names.cloud_event(msg_id, "hook.redrive.v1", self._source)
        headers |= carried()
        headers[names.RUN_ID] = token(order.event.run_id)
        subject = subjects.redrive(order.tenant, order.hook)
        await publish(self._bus, Publication(subject, data, msg_id, headers=headers))
        await self._mark(order, seen)

    async def _redrive(
        self, stored: StoredLetter, hooks: Mapping[HookName, HookDescription]
    ) -> None:
        letter = stored.letter
        hook = hooks.get(letter.name)
        if why := refusal(letter, hook):
            raise NotRedriven(letter.id, why)
        assert hook is not None, letter
        event = letter.event or await self._event(letter)
        if why := unwanted(hook, event):
            raise NotRedriven(letter.id, why)
        seen = await self._events.outcome(letter.tenant, event.run_id, hook.name)
        if seen.outcome is not None and seen.outcome.generation > letter.generation:
            await self.letters.remove(stored.seq)
            raise NotRedriven(letter.id, _ALREADY)
        await self.ask(_order(letter, event), seen)
        await self.letters.remove(stored.seq)

    async def _event(self, letter: DeadLetter) -> RunCompleted:
        """What nobody could read then: by now it may be there, or understood.

        Of such a letter only the token of the run is known.
        """
        subject = (
            f"{subjects.ROOT}.event.{letter.tenant}.{letter.team_id or '-'}"
            f".{letter.run_id or '-'}.completed"
        )
        stored = await reads.last(self._bus, EVENTS, subject)
        if stored is None:
            raise NotRedriven(letter.id, _EVENT_GONE)
        try:
            return decode(RunCompleted, await self._bodies.load(stored.data, stored.headers))
        except (MalformedMessage, BodyMissing) as error:
            why = Refusal("event_unreadable", f"its event still cannot be read: {error}")
            raise NotRedriven(letter.id, why) from error

    async def _mark(self, order: RedriveDelivery, seen: SeenOutcome) -> None:
        """Say that it was redriven, unless it was tried already."""
        event = order.event
        outcome = HookOutcome(
            delivery_id=order.delivery_id,
            tenant=order.tenant,
            team_id=event.team_id,
            run_id=event.run_id,
            hook=order.hook,
            state="redriven",
            attempt=0,
            at=order.asked_at,
            generation=order.generation,
            replay=order.replay,
        )
        while not await self._events.note_outcome(outcome, after=seen.seq):
            seen = await self._events.outcome(order.tenant, event.run_id, order.hook)
            if seen.outcome is not None and seen.outcome.generation >= order.generation:
                return


_ALREADY = Refusal(
    "already_redriven", "it was redriven before, and only its letter was left; now that is gone too"
)
_EVENT_GONE = Refusal(
    "event_gone",
    "its event could not be read then and is gone by now, so there is nothing to deliver; "
    "discard the letter",
)


def _order(letter: DeadLetter, event: RunCompleted) -> RedriveDelivery:
    return RedriveDelivery(
        delivery_id=delivery_id(letter.tenant, letter.name, event.run_id),
        tenant=letter.tenant,
        hook=letter.name,
        event=event,
        generation=letter.generation + 1,
        asked_at=time.time(),
        suspect=bool(letter.failures) and letter.failures[-1].code == CRASHED,
    )
