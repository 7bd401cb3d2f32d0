"""Looking at the whole bus at once: what waits where, and who is there to take it.

For sweeps and for people, every few seconds at most: the questions cost the server more than
those about one run.
"""

import asyncio
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from teambus.bus import api, reads, server_api, topology
from teambus.bus.connection import Bus
from teambus.bus.errors import BusUnavailable
from teambus.contracts import subjects
from teambus.contracts.ids import DEFAULT_TENANT
from teambus.contracts.pool_api import RunnerChecked, RunnerFound

POOL = topology.pool_name("")
REQUEST_TOKENS, TENANT_AT = 6, 3
PRESENCE_S = 2.0
"""How long a runner may take to say that it is there; one that is connected but slow counts."""


class _Place(msgspec.Struct, frozen=True):
    consumer_seq: int = 0
    stream_seq: int = 0


class _ConsumerConfig(msgspec.Struct, frozen=True):
    filter_subject: str = ""
    filter_subjects: list[str] = []
    metadata: dict[str, str] = {}


class ConsumerState(msgspec.Struct, frozen=True):
    """A consumer as the server describes it.

    `num_waiting` are pulls that are open, `num_pending` what was never delivered, and
    `num_ack_pending` what is in hand.
    """

    name: str
    config: _ConsumerConfig
    delivered: _Place = _Place()
    ack_floor: _Place = _Place()
    num_pending: int = 0
    num_ack_pending: int = 0
    num_waiting: int = 0

    @property
    def filters(self) -> list[str]:
        config = self.config
        return config.filter_subjects or ([config.filter_subject] if config.filter_subject else [])

    @property
    def title(self) -> str:
        """What people call it: the hook's name, else its own."""
        return self.config.metadata.get(topology.HOOK, self.name)

    @property
    def moves(self) -> tuple[int, int]:
        """Changes whenever something is delivered or settled."""
        return self.delivered.consumer_seq, self.ack_floor.consumer_seq


class StreamState(msgspec.Struct, frozen=True):
    """How full a stream is."""

    messages: int = 0
    bytes: int = 0


class StreamSeen(msgspec.Struct, frozen=True):
    """A stream as the server describes it."""

    config: dict[str, Any] = {}
    state: StreamState = StreamState()


@dataclass(frozen=True, slots=True)
class Unserved:
    """Requests on one subject that nobody is there to take.

    `absent` names who is not: the consumer, or the team and lane where there is none.
    """

    subject: str
    count: int
    absent: str


@dataclass(frozen=True, slots=True)
class Lag:
    """Work that waits at a consumer: how much was never delivered, and since when the oldest."""

    consumer: ConsumerState
    oldest_at: float | None


async def stream(bus: Bus, name: str) -> StreamSeen | None:
    """None when there is no such stream."""
    answer = await server_api.look(bus, f"STREAM.INFO.{name}", missing=reads.STREAM_MISSING)
    return None if answer is None else msgspec.convert(answer, StreamSeen)


async def consumers(bus: Bus, name: str) -> list[ConsumerState]:
    """Every consumer of a stream. Raises `BusRefused` when not all are known just now."""
    return msgspec.convert(await server_api.consumers(bus, name), list[ConsumerState])


async def lag(bus: Bus, stream_name: str, consumer: ConsumerState) -> Lag:
    """How far behind a consumer is."""
    if not consumer.num_pending:
        return Lag(consumer, None)
    start = consumer.delivered.stream_seq + 1
    found = await asyncio.gather(
        *(oldest(bus, stream_name, pattern, start=start) for pattern in consumer.filters)
    )
    times = [stored.stored_at for stored in found if stored is not None]
    return Lag(consumer, min(times, default=None))


async def oldest(
    bus: Bus, stream_name: str, pattern: str, *, start: int = 1
) -> reads.Stored | None:
    """The oldest message that matches, from the sequence `start`."""
    found = reads.history(bus, stream_name, pattern, start=start, until=2**62, messages_max=1)
    return await anext(found, None)


async def runner_of(bus: Bus, app_id: str, *, wait_s: float = PRESENCE_S) -> RunnerFound | None:
    """A runner of an app's pool, or None when none is connected.

    Raises `BusUnavailable` when one is connected that does not answer.
    """
    subject = subjects.api(DEFAULT_TENANT, f"pool.{app_id}")
    try:
        reply = await api.ask(bus, subject, b"{}", wait_s=wait_s)
    except api.NobodyAnswers:
        return None
    if reply.error_code is not None:
        raise BusUnavailable(f"{subject}: {reply.error_detail}")
    return msgspec.json.decode(reply.data, type=RunnerFound)


async def check_runner(bus: Bus, app_id: str, *, wait_s: float) -> RunnerChecked | None:
    """What a runner of the app can reach; None when none answers that, being of an older version.

    Raises `BusUnavailable` when one that could does not answer in time.
    """
    subject = subjects.api(DEFAULT_TENANT, f"pool.{app_id}.check")
    try:
        reply = await api.ask(bus, subject, b"{}", wait_s=wait_s)
    except api.NobodyAnswers:
        return None
    if reply.error_code is not None:
        raise BusUnavailable(f"{subject}: {reply.error_detail}")
    return msgspec.json.decode(reply.data, type=RunnerChecked)


@dataclass(frozen=True, slots=True)
class Clock:
    """How far a server's clock is ahead of this one's, give or take `unsure_s`."""

    server: str
    ahead_s: float
    unsure_s: float


async def clock(bus: Bus, stream_name: str) -> Clock | None:
    """The clock of the server that leads a stream; None where it does not tell."""
    asked_at, asked = time.time(), time.monotonic()
    answer = await server_api.look(bus, f"STREAM.INFO.{stream_name}", missing=reads.STREAM_MISSING)
    took_s = time.monotonic() - asked
    if answer is None or "ts" not in answer:
        return None
    said = datetime.fromisoformat(answer["ts"][:19] + "+00:00").timestamp()
    said += float("0" + answer["ts"][19:].rstrip("Z")) if "." in answer["ts"] else 0
    leader = (answer.get("cluster") or {}).get("leader") or "the server"
    return Clock(leader, said - (asked_at + took_s / 2), took_s / 2)


async def is_pulled(bus: Bus, consumer: ConsumerState) -> bool:
    """Whether somebody is there to take what a consumer of requests has.

    Busy runners have no pull open, so those of a pool are asked for; one that is connected but
    silent is there.
    """
    if consumer.num_waiting:
        return True
    if not consumer.name.startswith(POOL):
        return False
    try:
        return await runner_of(bus, consumer.name.removeprefix(POOL)) is not None
    except BusUnavailable:
        return True


def unserved(
    waiting: Mapping[str, int], consumers_seen: list[ConsumerState], idle: Collection[str]
) -> list[Unserved]:
    """What of the requests that wait nobody serves, when the consumers `idle` have no runner."""
    wanted = _Wanted(consumers_seen)
    found = []
    for subject, count in sorted(waiting.items()):
        consumer = wanted.by(subject)
        if consumer is None:
            asked = subjects.RequestSubject.parse(subject)
            found.append(Unserved(subject, count, f"{asked.team_id}.{asked.lane}"))
        elif consumer in idle:
            found.append(Unserved(subject, count, consumer))
    return found


class _Wanted:
    """Which consumer of requests gets a subject; in a work queue that is one at most.

    There may be as many subjects as tenants and teams, so the filters that provision makes are
    looked up instead of tried.
    """

    def __init__(self, consumers_seen: list[ConsumerState]) -> None:
        self._plain: dict[str, str] = {}
        self._others: list[tuple[str, str]] = []
        for consumer in consumers_seen:
            for pattern in consumer.filters or [">"]:
                self._add(pattern, consumer.name)

    def by(self, subject: str) -> str | None:
        """The name of the consumer."""
        known = self._plain.get(_of_all_tenants(subject))
        if known is not None:
            return known
        return next((name for it, name in self._others if subjects.fits(subject, it)), None)

    def _add(self, pattern: str, name: str) -> None:
        is_plain = pattern.count("*") == 1 and pattern == _of_all_tenants(pattern)
        if is_plain and ">" not in pattern:
            self._plain[pattern] = name
        else:
            self._others.append((pattern, name))


def _of_all_tenants(subject: str) -> str:
    """The filter with which a pool hears this subject and those of all other tenants."""
    tokens = subject.split(".")
    if len(tokens) != REQUEST_TOKENS:
        return ""
    tokens[TENANT_AT] = "*"
    return ".".join(tokens)


def server(bus: Bus) -> str:
    """The server this process is connected to, without what was used to get in."""
    version, url = bus.client.connected_server_version, bus.client.connected_url
    where = "" if url is None else f" at {url.hostname}:{url.port}"
    return f"nats-server {version.major}.{version.minor}.{version.patch}{where}"
