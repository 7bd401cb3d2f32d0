"""The dead letters of a tenant: listed, shown, discarded."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import msgspec
import structlog

from teambus.bus import reads
from teambus.bus.bodies import Bodies, BodyMissing
from teambus.bus.connection import Bus
from teambus.bus.errors import BusError
from teambus.bus.topology import DEAD
from teambus.contracts.hook import DeadLetter, HookFailure
from teambus.contracts.ids import Tenant, is_id, token
from teambus.contracts.message import MalformedMessage, decode
from teambus.contracts.subjects import ROOT

log = structlog.get_logger(__name__)

About: TypeAlias = Literal["hook", "run", "request"]

PAGE_MESSAGES_MAX = 256
PAGE_BYTES_MAX = 4 * 1024 * 1024
LOOKED_AT_MAX = 5_000
"""Letters looked at for one page, whether they fit or not."""


class LetterUnreadable(BusError):
    """a dead letter cannot be read itself; it can be discarded"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterFilter:
    """Which letters: all that fit everything given. `since` is seconds since 1970."""

    about: About | None = None
    name: str | None = None
    team_id: str | None = None
    since: float | None = None

    def subject(self, tenant: Tenant) -> str:
        name = "*" if self.name is None else self.name if is_id(self.name) else token(self.name)
        return f"{ROOT}.dead.{tenant}.{self.about or '*'}.{name}.*"

    def fits(self, letter: "LetterFacts") -> bool:
        if self.team_id is not None and letter.team_id != self.team_id:
            return False
        return self.since is None or letter.died_at >= self.since


class LetterFacts(
    msgspec.Struct, frozen=True, kw_only=True, tag="dead.letter.v1", tag_field="kind"
):
    """A letter without what it carries."""

    id: str
    about: str
    name: str
    reason: str
    died_at: float
    team_id: str | None = None
    run_id: str | None = None
    event_id: str | None = None
    attempts: int = 0
    failures: list[HookFailure] = []
    generation: int = 0

    @property
    def last_error(self) -> str | None:
        return self.failures[-1].error if self.failures else None


@dataclass(frozen=True, slots=True)
class LetterPage:
    """Letters, oldest first. There may be more after the sequence `next`; None: there are none."""

    letters: list[LetterFacts]
    next: int | None


@dataclass(frozen=True, slots=True)
class StoredLetter:
    """A letter and its place in the stream."""

    letter: DeadLetter
    seq: int


_facts = msgspec.json.Decoder(LetterFacts)


class DeadLetters:
    """What was given up, as the stream has it."""

    def __init__(self, bus: Bus, bodies: Bodies) -> None:
        self._bus = bus
        self._bodies = bodies

    async def page(
        self, tenant: Tenant, wanted: LetterFilter, *, after: int, limit: int
    ) -> LetterPage:
        """Up to `limit` letters after the sequence `after`; fewer when many do not fit.

        From any replica: may miss the newest. Raises `BusUnavailable`.
        """
        found: list[LetterFacts] = []
        looked_at = 0
        async for stored in self._walk(wanted.subject(tenant), after):
            facts = await self._facts(stored)
            looked_at += 1
            if wanted.fits(facts):
                found.append(facts)
            if len(found) == limit or looked_at == LOOKED_AT_MAX:
                return LetterPage(found, stored.seq)
        return LetterPage(found, None)

    async def find(self, tenant: Tenant, id_: str) -> StoredLetter | None:
        """The letter with this id, or with this last token of its subject, from the leader.

        Raises `LetterUnreadable`.
        """
        stored = await self._stored(tenant, id_)
        if stored is None:
            return None
        try:
            data = await self._bodies.load(stored.data, stored.headers)
            return StoredLetter(decode(DeadLetter, data), stored.seq)
        except (MalformedMessage, BodyMissing) as error:
            raise LetterUnreadable(f"the dead letter {id_!r} cannot be read: {error}") from error

    async def discard(self, tenant: Tenant, id_: str) -> bool:
        """Remove a letter for good; False when there is none."""
        stored = await self._stored(tenant, id_)
        return stored is not None and await self.remove(stored.seq)

    async def remove(self, seq: int) -> bool:
        """Remove what is at this place: a letter that has taken its place since stays."""
        return await reads.remove(self._bus, DEAD, seq)

    async def _stored(self, tenant: Tenant, id_: str) -> reads.Stored | None:
        for last in dict.fromkeys((token(id_), id_ if is_id(id_) else token(id_))):
            stored = await reads.last(self._bus, DEAD, f"{ROOT}.dead.{tenant}.*.*.{last}")
            if stored is not None:
                return stored
        return None

    async def _walk(self, subject: str, after: int) -> AsyncIterator[reads.Stored]:
        while messages := await reads.page(
            self._bus,
            DEAD,
            subject,
            start=after + 1,
            messages_max=PAGE_MESSAGES_MAX,
            bytes_max=PAGE_BYTES_MAX,
        ):
            for stored in messages:
                yield stored
            after = messages[-1].seq

    async def _facts(self, stored: reads.Stored) -> LetterFacts:
        """One that cannot be read is listed too, under the token that finds it."""
        try:
            return _facts.decode(await self._bodies.load(stored.data, stored.headers))
        except (msgspec.DecodeError, UnicodeDecodeError, BodyMissing) as error:
            log.warning("a dead letter cannot be read", subject=stored.subject, why=str(error))
            _, _, _, _, about, name, id_ = stored.subject.split(".")
            return LetterFacts(
                id=id_,
                about=about,
                name=name,
                reason=f"the letter itself cannot be read: {error}",
                died_at=0,
            )
