"""Writing the durable facts of a run. Each can be written again: the first stays."""

from dataclasses import dataclass
from typing import TypeVar

from teambus.bus import metrics, reads
from teambus.bus.bodies import Bodies
from teambus.bus.connection import Bus
from teambus.bus.errors import WrongLastSequence
from teambus.bus.publish import Publication, publish
from teambus.bus.topology import DEAD, EVENTS, HOOKS, JOURNAL
from teambus.bus.tracing import carried
from teambus.contracts import headers as names
from teambus.contracts import subjects
from teambus.contracts.hook import DeadLetter, HookOutcome
from teambus.contracts.ids import RunId, TeamId, Tenant
from teambus.contracts.message import Message, decode, encode
from teambus.contracts.run import RunAccepted, RunCompleted, RunRefused

M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class SeenOutcome:
    """How a delivery stood and where that is written (None and 0 = never tried)."""

    outcome: HookOutcome | None
    seq: int


class Events:
    """The events, hook outcomes and dead letters on the bus."""

    def __init__(self, bus: Bus, bodies: Bodies, *, source: str) -> None:
        self._bus = bus
        self._bodies = bodies
        self._source = source

    async def accept(self, event: RunAccepted) -> RunAccepted:
        """Write the acceptance, or return the one that was there first."""
        subject = subjects.event(event.tenant, event.team_id, event.run_id, "accepted")
        if await self._first(subject, event.event_id, event):
            return event
        stored = await self._last(EVENTS, subject, RunAccepted)
        return stored or event

    async def accepted(self, tenant: Tenant, team: TeamId, run: RunId) -> RunAccepted | None:
        return await self._last(EVENTS, subjects.event(tenant, team, run, "accepted"), RunAccepted)

    async def complete(self, event: RunCompleted) -> bool:
        """Write the final word; False when it was already there (then that one stands)."""
        subject = subjects.event(event.tenant, event.team_id, event.run_id, "completed")
        return await self._first(subject, event.event_id, event)

    async def completed(self, tenant: Tenant, team: TeamId, run: RunId) -> RunCompleted | None:
        """The final word on a run, as the stream's leader knows it."""
        return await self._last(
            EVENTS, subjects.event(tenant, team, run, "completed"), RunCompleted
        )

    async def is_completed(self, tenant: Tenant, team: TeamId, run: RunId) -> bool:
        subject = subjects.event(tenant, team, run, "completed")
        return await reads.last(self._bus, EVENTS, subject) is not None

    async def is_begun(self, tenant: Tenant, run: RunId) -> bool:
        """Whether a runner ever took a run of this id."""
        return await reads.last(self._bus, JOURNAL, subjects.journal(tenant, run)) is not None

    async def refuse(self, event: RunRefused) -> None:
        subject = subjects.event(event.tenant, event.team_id, event.run_id, "refused")
        await self._put(subject, event.event_id, event)

    async def outcome(self, tenant: Tenant, run: RunId, hook: str) -> SeenOutcome:
        """How a delivery stands, as the stream's leader knows it."""
        stored = await reads.last(self._bus, HOOKS, subjects.hook(tenant, run, hook))
        if stored is None:
            return SeenOutcome(None, 0)
        data = await self._bodies.load(stored.data, stored.headers)
        return SeenOutcome(decode(HookOutcome, data), stored.seq)

    async def note_outcome(self, outcome: HookOutcome, *, after: int | None = None) -> bool:
        """Write how a delivery stands after an attempt; the same attempt twice is one.

        With `after`, only if nothing was written since that sequence; False when there was.
        """
        subject = subjects.hook(outcome.tenant, outcome.run_id, outcome.hook)
        msg_id = names.plain(_outcome_id(outcome))
        try:
            await self._put(subject, msg_id, outcome, after=after)
        except WrongLastSequence:
            # An earlier try may have been stored with its answer lost: then the tail is ours.
            tail = await reads.last(self._bus, HOOKS, subject)
            return tail is not None and tail.headers.get(names.MSG_ID) == msg_id
        return True

    async def bury(self, letter: DeadLetter) -> bool:
        """Write a dead letter; False when it was already there, or that of a later redrive.

        It takes the place of one from before its delivery was redriven.
        """
        subject = subjects.dead(letter.tenant, letter.about, letter.name, letter.id)
        again = f"@{letter.generation}" if letter.generation else ""
        msg_id = f"dead{again}:{letter.id}"
        after = 0
        while not await self._after(after, subject, msg_id, letter):
            stored = await reads.last(self._bus, DEAD, subject)
            if stored is not None and await self._generation(stored) >= letter.generation:
                return False
            after = 0 if stored is None else stored.seq
        metrics.DEAD_LETTERS.labels(letter.about).inc()
        return True

    async def dead_letter(self, subject: str) -> DeadLetter | None:
        return await self._last(DEAD, subject, DeadLetter)

    async def forget_letter(self, subject: str, *, before: int) -> None:
        """Remove a letter of a generation before this one."""
        stored = await reads.last(self._bus, DEAD, subject)
        if stored is not None and await self._generation(stored) < before:
            await reads.remove(self._bus, DEAD, stored.seq)

    async def _generation(self, stored: reads.Stored) -> int:
        data = await self._bodies.load(stored.data, stored.headers)
        return decode(DeadLetter, data).generation

    async def _first(self, subject: str, msg_id: str, event: Message) -> bool:
        """Publish only if the subject is empty; a repeat of one's own unanswered try counts."""
        return await self._after(0, subject, msg_id, event)

    async def _after(self, seq: int, subject: str, msg_id: str, event: Message) -> bool:
        """Publish only if this is the last sequence of the subject."""
        try:
            await self._put(subject, msg_id, event, after=seq)
        except WrongLastSequence:
            return False
        return True

    async def _put(
        self, subject: str, msg_id: str, event: Message, *, after: int | None = None
    ) -> None:
        data, headers = await self._bodies.fit(encode(event), owner=_owner(event))
        headers |= names.cloud_event(msg_id, str(type(event).__struct_config__.tag), self._source)
        headers |= carried()
        await publish(self._bus, Publication(subject, data, msg_id, after, headers))

    async def _last(self, stream: str, subject: str, kind: type[M]) -> M | None:
        stored = await reads.last(self._bus, stream, subject)
        if stored is None:
            return None
        return decode(kind, await self._bodies.load(stored.data, stored.headers))


def _outcome_id(outcome: HookOutcome) -> str:
    """Of another form when redriven: a run's id may hold anything, and two must never meet."""
    told = f"{outcome.state}:{outcome.attempt}"
    if outcome.generation:
        return f"{told}@{outcome.generation}:{outcome.delivery_id}"
    return f"{outcome.delivery_id}:{told}"


def _owner(event: Message) -> str:
    """The run whose body it is; a request that could not be read has none."""
    return str(getattr(event, "run_id", None) or "unread")
