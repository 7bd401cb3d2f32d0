"""Leases: work that only one process does at a time, whichever it is.

A lease says who should act; it does not prove it, for its holder may be stopped and woken. So
whatever is done under a lease must be harmless when it is done twice.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import structlog

from teambus.bus import reads
from teambus.bus.connection import Bus
from teambus.bus.errors import BusError, WrongLastSequence
from teambus.bus.publish import Publication, publish
from teambus.bus.topology import LEASES
from teambus.contracts import headers as names
from teambus.contracts import subjects
from teambus.contracts.ids import new_id
from teambus.contracts.lease import LeaseRecord
from teambus.contracts.message import MalformedMessage, decode, encode

log = structlog.get_logger(__name__)

RENEWALS = 3
"""A lease is renewed so many times before it would run out."""


@dataclass(frozen=True, slots=True)
class SeenLease:
    """A lease and where it stood when it was read (0 = never held)."""

    record: LeaseRecord
    seq: int


async def read_lease(bus: Bus, name: str, *, patience_s: float | None = None) -> SeenLease:
    """The lease as the stream's leader knows it; a record that nobody can read is nobody's."""
    stored = await reads.last(bus, LEASES, subjects.lease(name), patience_s=patience_s)
    if stored is None:
        return SeenLease(LeaseRecord(name=name), 0)
    try:
        return SeenLease(decode(LeaseRecord, stored.data), stored.seq)
    except MalformedMessage as error:
        log.warning("a lease cannot be read", lease=name, why=str(error))
        return SeenLease(LeaseRecord(name=name), stored.seq)


class Candidacy:
    """One process standing for a lease, all the time. `holder` is a name that no other has.

    Nobody's clock is compared with another's: a rival waits until a record has not changed for
    its whole `lease_s`, counted from when the rival saw it first; the holder counts from before
    it wrote it.
    """

    def __init__(self, bus: Bus, name: str, holder: str, *, lease_s: float) -> None:
        self.notes: dict[str, Any] = {}
        """Written with each renewal; on taking the lease, what its last holder left."""
        self.taken = asyncio.Event()
        self._bus = bus
        self._name = name
        self._holder = holder
        self._lease_s = lease_s
        self._seen: SeenLease | None = None
        self._seen_at = 0.0
        self._mine: SeenLease | None = None
        self._held_until = 0.0

    @property
    def held(self) -> bool:
        """Whether no other can have the lease, as far as clocks run."""
        return self._mine is not None and time.monotonic() < self._held_until

    async def stand(self) -> None:
        """Take the lease when it is free, renew it while held. Ends only by cancellation."""
        while True:
            await self._try_turn()
            await asyncio.sleep(self._lease_s / RENEWALS)

    async def resign(self) -> None:
        """Leave the lease to whoever wants it, now."""
        if self._mine is None:
            return
        try:
            await self._write(self._mine, holder=None, term=self._mine.record.term)
        except BusError as error:
            log.warning("could not give up a lease", lease=self._name, why=str(error))
        self._lose()

    async def _try_turn(self) -> None:
        try:
            await (self._renew() if self._mine is not None else self._look())
        except BusError as error:
            log.warning("could not see to a lease", lease=self._name, why=str(error))
        if self._mine is not None and not self.held:
            self._lose()

    async def _renew(self) -> None:
        assert self._mine is not None
        written = await self._write(self._mine, self._holder, self._mine.record.term)
        if written is None:
            log.warning("lost a lease to another", lease=self._name)
            self._lose()
        else:
            self._mine = written

    async def _look(self) -> None:
        seen = await read_lease(self._bus, self._name, patience_s=self._patience_s)
        if self._seen is None or self._seen.seq != seen.seq:
            self._seen, self._seen_at = seen, time.monotonic()
        if not self._is_free(seen.record):
            return
        self.notes = dict(seen.record.notes)
        self._mine = await self._write(seen, self._holder, seen.record.term + 1)
        if self._mine is not None:
            log.info("took a lease", lease=self._name, term=self._mine.record.term)
            self.taken.set()

    def _is_free(self, record: LeaseRecord) -> bool:
        """Nobody's, run out, or written by this process and not heard to be."""
        if record.holder in (None, self._holder):
            return True
        return time.monotonic() - self._seen_at > record.lease_s

    async def _write(self, over: SeenLease, holder: str | None, term: int) -> SeenLease | None:
        """Write the record if nobody did since; None when somebody did."""
        asked_at = time.monotonic()
        nonce = new_id()
        record = LeaseRecord(
            name=self._name,
            term=term,
            holder=holder,
            lease_s=self._lease_s,
            renewed_at=time.time(),
            notes=self.notes,
        )
        message = Publication(subjects.lease(self._name), encode(record), nonce, after=over.seq)
        seq = await self._put(message)
        self._held_until = asked_at + self._lease_s
        return None if seq is None else SeenLease(record, seq)

    async def _put(self, message: Publication) -> int | None:
        try:
            return (await publish(self._bus, message, patience_s=self._patience_s)).seq
        except WrongLastSequence:
            # An earlier try may have been stored with its answer lost: then the tail is ours.
            tail = await reads.last(self._bus, LEASES, message.subject, patience_s=self._patience_s)
            mine = tail is not None and tail.headers.get(names.MSG_ID) == message.msg_id
            return tail.seq if tail is not None and mine else None

    @property
    def _patience_s(self) -> float:
        return self._lease_s / RENEWALS

    def _lose(self) -> None:
        self._mine = self._seen = None
        self.taken.clear()
