"""The stored frames of one run, read page by page, and the same batches as they are heard live."""

from dataclasses import dataclass

import structlog
from nats.aio.msg import Msg

from teambus.bus import reads
from teambus.bus.bodies import Bodies, BodyMissing
from teambus.bus.connection import Bus
from teambus.bus.topology import FRAMES
from teambus.bus.waiter import RunKey
from teambus.contracts import subjects
from teambus.contracts.frames import FrameBatch
from teambus.contracts.message import MalformedMessage, decode

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class FeedLimits:
    """`unread_…` is what is kept for a reader that does not read, and for all of them together;
    `page_…` what is read at once.
    """

    unread_max: int = 1_000
    unread_bytes_max: int = 4 * 1024 * 1024
    unread_bytes_max_of_all: int = 256 * 1024 * 1024
    page_max: int = 256
    page_bytes_max: int = 512 * 1024
    look_s: float = 3


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the stream a batch stands, and where the run's batch before it stands."""

    seq: int
    before: int


class FrameStream:
    """Reads the batches of a run. What does not answer raises `BusUnavailable`."""

    def __init__(self, bus: Bus, bodies: Bodies, run: RunKey, limits: FeedLimits) -> None:
        self._bus = bus
        self._bodies = bodies
        self._limits = limits
        self._subject = subjects.frames(run.tenant, run.run_id)

    async def reach(self) -> int:
        """The sequence of the last batch, as the stream's leader knows it; 0: there is none."""
        last = await reads.last(self._bus, FRAMES, self._subject)
        return 0 if last is None else last.seq

    async def confirm(self) -> None:
        """Return once the leader is known to be one: see `reads.confirm`."""
        await reads.confirm(self._bus, FRAMES)

    async def reach_nearby(self) -> int:
        """The same by any replica: for whoever asks again."""
        last = await reads.last_nearby(self._bus, FRAMES, self._subject)
        return 0 if last is None else last.seq

    async def next(self, after: int, *, until: int) -> list[reads.Stored]:
        """The next batches after the sequence `after`, none only when there is none up to `until`.

        What a replica does not have yet the leader has.
        """
        if after >= until:
            return []
        page = await reads.page(
            self._bus,
            FRAMES,
            self._subject,
            start=after + 1,
            messages_max=self._limits.page_max,
            bytes_max=self._limits.page_bytes_max,
        )
        if page:
            return page
        found = reads.history(
            self._bus, FRAMES, self._subject, until=until, messages_max=1, start=after + 1
        )
        return [stored async for stored in found]

    async def batch(self, stored: reads.Stored) -> FrameBatch | None:
        """None for what cannot be read: frames are no promise, the run's end is."""
        try:
            return decode(FrameBatch, await self._bodies.load(stored.data, stored.headers))
        except (BodyMissing, MalformedMessage) as error:
            log.warning("frames cannot be read", subject=self._subject, error=str(error))
            return None


def is_repeated(message: Msg) -> bool:
    """Whether the stream repeats this, and not somebody speaks in its place."""
    return "Nats-Last-Sequence" in (message.headers or {})


def place(message: Msg) -> Place:
    """Where a batch that is repeated live stands in the stream."""
    headers = message.headers or {}
    return Place(int(headers["Nats-Sequence"]), int(headers["Nats-Last-Sequence"]))


def heard(message: Msg) -> reads.Stored:
    """A batch that is repeated live, as it is stored."""
    headers = dict(message.headers or {})
    return reads.Stored(message.subject, int(headers["Nats-Sequence"]), message.data, headers)
