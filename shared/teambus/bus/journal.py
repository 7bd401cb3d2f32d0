"""The journal of one leg of a run: appended by one holder, in groups, by compare-and-set.

Whoever appended last holds the run. An append that another holder's record refuses raises
`Fenced`, and so does everything after it: a fenced holder writes nothing more.
"""

import asyncio
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog
from prometheus_client import Counter

from teambus.bus import reads
from teambus.bus.bodies import Bodies, BodyMissing
from teambus.bus.connection import Bus
from teambus.bus.errors import BusUnavailable, StreamFull, WrongLastSequence
from teambus.bus.publish import Publication, publish
from teambus.bus.topology import JOURNAL
from teambus.contracts.ids import RunId
from teambus.contracts.journal import JournalEntry, Record, encode_entry, encode_record
from teambus.contracts.message import MalformedMessage, decode

log = structlog.get_logger(__name__)

APPENDS = Counter("teambus_journal_appends", "Appends to journals that became durable")
RECORDS = Counter("teambus_journal_records", "Records in those appends")

ENTRY_HEAD_BYTES = 256
"""More than an entry has beside its records."""
FULL_PAUSE_S = 0.5
SLOW_PROOF_S = 1.0


class Fenced(Exception):
    """another runner holds the run"""


@dataclass(frozen=True, slots=True)
class Tail:
    """The last entry of a journal; sequence 0 and no nonce when it is empty."""

    seq: int = 0
    nonce: str | None = None


async def read_tail(bus: Bus, subject: str, *, patience_s: float | None = None) -> Tail:
    found = await reads.last(bus, JOURNAL, subject, patience_s=patience_s)
    if found is None:
        return Tail()
    return Tail(found.seq, found.headers.get("Nats-Msg-Id"))


@dataclass(slots=True)
class Read:
    """The entries of a journal, oldest first; `unreadable` says why some are missing."""

    entries: list[JournalEntry] = field(default_factory=list)
    unreadable: str | None = None


async def read_entries(
    bus: Bus, bodies: Bodies, subject: str, tail: Tail, *, entries_max: int
) -> Read:
    """Every entry up to `tail` that can be read; the last one, which may be the end, even when
    there are more than `entries_max`.
    """
    read = Read()
    if tail.seq == 0:
        return read
    stored = reads.history(bus, JOURNAL, subject, until=tail.seq, messages_max=entries_max)
    reached = 0
    async for message in stored:
        reached = message.seq
        await _add(read, bodies, message)
    if reached != tail.seq:
        read.unreadable = f"more than {entries_max} entries"
        last = await reads.at(bus, JOURNAL, tail.seq)
        if last is not None:
            await _add(read, bodies, last)
    return read


async def _add(read: Read, bodies: Bodies, message: reads.Stored) -> None:
    try:
        data = await bodies.load(message.data, message.headers)
        read.entries.append(decode(JournalEntry, data))
    except (BodyMissing, MalformedMessage) as error:
        read.unreadable = str(error)


class Journal:
    """The appending end. Records added while an append is in flight share the next one, as many as
    `entry_bytes_max` takes.

    It is lost when no further append is possible: fenced, or the bus away for longer than
    `patience_s`. Close it when the work is let go: what is unwritten by then stays so.
    """

    def __init__(
        self,
        bus: Bus,
        bodies: Bodies,
        subject: str,
        *,
        run_id: RunId,
        tail: Tail,
        patience_s: float = 300,
        entry_bytes_max: int = 16 * 1024 * 1024,
    ) -> None:
        self.attempt = uuid.uuid4().hex
        self.first_seq = 0
        """The sequence of its first entry, by which of two attempts the newer is known."""
        self._bus = bus
        self._bodies = bodies
        self._subject = subject
        self._run_id = run_id
        self._seq = tail.seq
        self._patience_s = patience_s
        self._entry_bytes_max = entry_bytes_max
        self._n = 0
        self._waiting: list[bytes] = []
        self._added = 0
        self._durable = 0
        self._listening: list[asyncio.Future[None]] = []
        self._appending: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None
        self._in_flight = ""
        self._proven_at = 0.0
        self._when_lost: Callable[[], None] | None = None

    def add(self, record: Record) -> None:
        """Note a record; `settled` says when it is durable."""
        self.add_encoded(encode_record(record))

    def add_encoded(self, record: bytes) -> None:
        self._raise_failure()
        self._waiting.append(record)
        self._added += 1
        if self._appending is None:
            self._appending = asyncio.create_task(self._append_all(), name="journal append")

    async def append(self, record: Record) -> None:
        """Note a record and return once it is durable; raises `Fenced` when the run was lost."""
        self.add(record)
        await self.settled()

    async def settled(self) -> None:
        """Return once everything added so far is durable; what others add meanwhile is not waited
        for, or branches side by side would wait for each other and append one by one.
        """
        goal = self._added
        while self._durable < goal and self.ours:
            appended = asyncio.get_running_loop().create_future()
            self._listening.append(appended)
            await appended
        self._raise_failure()

    @property
    def ours(self) -> bool:
        """Whether nothing is known that says the run was lost."""
        return self._failure is None

    async def prove(self, fresh_s: float) -> None:
        """Return only if this holder held the run at most `fresh_s` ago; else raise `Fenced`.

        Every durable append is a proof; without a fresh one the tail is read from the leader,
        beside an append in flight: that may be the tail, and need not be over.
        """
        self._raise_failure()
        limit_s = fresh_s
        while time.monotonic() - self._proven_at > limit_s:
            await self._look_at_tail()
            # Read by a process that was stopped meanwhile, the answer says nothing about now.
            limit_s = max(fresh_s, SLOW_PROOF_S)

    async def _look_at_tail(self) -> None:
        asked_at = time.monotonic()
        tail = await read_tail(self._bus, self._subject, patience_s=self._patience_s)
        self._raise_failure()
        if tail.seq > self._seq and tail.nonce != self._in_flight:
            self._fail(Fenced(f"{self._subject}: the tail is {tail.seq}, not {self._seq}"))
        self._raise_failure()
        self._proven_at = max(self._proven_at, asked_at)

    async def close(self) -> None:
        """Let go of an append in flight; its outcome no longer matters."""
        self._when_lost = None
        if self._appending is not None:
            self._appending.cancel()
            await asyncio.gather(self._appending, return_exceptions=True)
            self._fail(BusUnavailable("the journal was closed"))

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def when_lost(self, call: Callable[[], None]) -> None:
        """Call it once as soon as the journal is lost."""
        self._when_lost = call
        if not self.ours:
            self._say_lost()

    def _say_lost(self) -> None:
        call, self._when_lost = self._when_lost, None
        if call is not None:
            call()

    def _fail(self, error: Exception) -> None:
        self._failure = self._failure or error
        self._say_lost()
        self._tell()

    def _tell(self) -> None:
        listening, self._listening = self._listening, []
        for one in listening:
            if not one.done():
                one.set_result(None)

    async def _append_all(self) -> None:
        try:
            while self._waiting and self.ours:
                records, self._waiting = self._waiting, []
                self._durable += await self._append_entry(records)
                self._tell()
        except Exception as error:  # noqa: BLE001 - kept for whoever waits, who raises it
            self._fail(error)
        finally:
            self._appending = None

    async def _append_entry(self, records: list[bytes]) -> int:
        """How many of the records it took: as many as fit, and one at least."""
        self._in_flight = nonce = f"{self.attempt}-{self._n}"
        count = max(1, _count_within(records, self._entry_bytes_max))
        records, self._waiting[:0] = records[:count], records[count:]
        encoded = encode_entry(records, nonce=nonce, attempt=self.attempt, n=self._n)
        data, headers = await self._bodies.fit(encoded, owner=self._run_id)
        asked_at = time.monotonic()
        message = Publication(self._subject, data, nonce, after=self._seq, headers=headers)
        self._seq = await self._publish(message)
        self.first_seq = self.first_seq or self._seq
        self._n += 1
        self._proven_at = asked_at
        APPENDS.inc()
        RECORDS.inc(count)
        return count

    async def _publish(self, message: Publication) -> int:
        """Paid work is not given up because a stream is full: wait for room, taking no new work."""
        while True:
            try:
                return await self._publish_once(message)
            except StreamFull as full:
                log.warning("no room in the journal; waiting", subject=self._subject, why=str(full))
                self._bus.is_full_for(2 * FULL_PAUSE_S)
            await asyncio.sleep(FULL_PAUSE_S)

    async def _publish_once(self, message: Publication) -> int:
        try:
            return (await publish(self._bus, message, patience_s=self._patience_s)).seq
        except WrongLastSequence as refusal:
            # An earlier try may have been stored with its answer lost: then the tail is ours.
            tail = await read_tail(self._bus, self._subject, patience_s=self._patience_s)
            if tail.nonce == message.msg_id:
                return tail.seq
            raise Fenced(f"{self._subject}: {refusal}") from refusal


def _count_within(records: list[bytes], bytes_max: int) -> int:
    """How many of the records an entry of so many bytes takes."""
    left = bytes_max - ENTRY_HEAD_BYTES
    for count, record in enumerate(records):
        left -= len(record) + 1
        if left < 0:
            return count
    return len(records)
