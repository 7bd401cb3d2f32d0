"""Waiting for the end of a run: hear it live, and look it up again in case it was not heard."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Self, TypeAlias

import msgspec
import structlog
from nats.aio.msg import Msg

from teambus.bus import reads
from teambus.bus.bodies import Bodies
from teambus.bus.connection import Bus
from teambus.bus.errors import BusUnavailable
from teambus.bus.topology import EVENTS
from teambus.contracts import headers as names
from teambus.contracts import subjects
from teambus.contracts.ids import RunId, SessionId, TeamId, Tenant
from teambus.contracts.message import MalformedMessage, decode
from teambus.contracts.run import RunRefused

log = structlog.get_logger(__name__)

HEARD_MAX = 64
FRAMES_HEARD = ".frame.batch"

HearFrames: TypeAlias = Callable[[Msg], None]


@dataclass(frozen=True, slots=True)
class RunEnd:
    """A run-completed event as far as a reply needs it.

    `event` is the whole event and `output` the part of it a client reads, both as they were
    written: an answer of megabytes is passed on without being taken apart. `frames` is the number
    of the frame that the event is to readers of a stream.
    """

    session_id: SessionId
    code: str | None
    output: bytes
    event: bytes
    frames: int = 0


class _Completed(msgspec.Struct, tag="run.completed.v1", tag_field="kind"):
    session_id: SessionId
    output: msgspec.Raw
    code: str | None = None
    frames: int = 0


_completed = msgspec.json.Decoder(_Completed)


@dataclass(frozen=True, slots=True)
class RunKey:
    """Which run: one that another team has under the same id is another run."""

    tenant: Tenant
    team_id: TeamId
    run_id: RunId


class Listener:
    """Hears the committed events of one run from the moment it exists.

    What is published later on the same connection, a request say, reaches the server after the
    subscription, so no barrier is needed. Nodes further away may miss: hence the looking up.
    """

    def __init__(self, waiter: "Waiter", run: RunKey, hear_frames: HearFrames | None) -> None:
        self._waiter = waiter
        self._bus = waiter.bus
        self._bodies = waiter.bodies
        self._hear_frames = hear_frames
        self._live = subjects.live(run.tenant, run.run_id, "*" if hear_frames is None else ">")
        self._completed = subjects.event(run.tenant, run.team_id, run.run_id, "completed")
        self._refused = subjects.event(run.tenant, run.team_id, run.run_id, "refused")
        self._heard: asyncio.Queue[Msg | None] = asyncio.Queue(maxsize=HEARD_MAX)
        self._given_up = False

    async def __aenter__(self) -> Self:
        self._subscription = await self._bus.client.listen(self._live, self.on_message)
        self._bus.reconnect_listeners.add(self.wake)
        self._waiter.open.add(self)
        if self._waiter.given_up:
            self.wake(give_up=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._waiter.open.discard(self)
        self._bus.reconnect_listeners.discard(self.wake)
        if not self._bus.client.is_closed:
            await self._subscription.unsubscribe()

    async def ended(
        self, request_seq: int | None, *, wait_s: float, look_s: float
    ) -> RunEnd | RunRefused | None:
        """How the run ended, or None when `wait_s` seconds have passed or waiting was given up.

        A refusal counts only when it is of the request with the sequence `request_seq`. What was
        not heard is looked up every `look_s` seconds and after a lost connection.
        """
        deadline = time.monotonic() + wait_s
        while not self._given_up and (left_s := deadline - time.monotonic()) > 0:
            end = await self._hear(min(look_s, left_s), request_seq)
            end = end or await self.look(request_seq, wait_s=look_s)
            if end is not None:
                return end
        return None

    async def look(self, request_seq: int | None, *, wait_s: float) -> RunEnd | RunRefused | None:
        """How the run ended if the bus says so within `wait_s`; a bus that is away says nothing."""
        try:
            async with asyncio.timeout(wait_s):
                return await self._find(request_seq)
        except (BusUnavailable, TimeoutError) as error:
            log.debug("could not look for the end", error=repr(error))
            return None

    def wake(self, *, give_up: bool = False) -> None:
        """Look at once; `give_up`: for the last time."""
        self._given_up = self._given_up or give_up
        if self._heard.full():
            self._heard.get_nowait()  # what it says is found by looking
        self._heard.put_nowait(None)

    async def _find(self, request_seq: int | None) -> RunEnd | RunRefused | None:
        if (stored := await reads.last_nearby(self._bus, EVENTS, self._completed)) is not None:
            return await _load(self._bodies, stored.data, stored.headers)
        if request_seq is None:
            return None
        if (stored := await reads.last_nearby(self._bus, EVENTS, self._refused)) is not None:
            return _refusal(stored.data, request_seq)
        return None

    async def _hear(self, wait_s: float, request_seq: int | None) -> RunEnd | RunRefused | None:
        """What is heard within `wait_s`; None also when it is time to look."""
        waking = asyncio.get_running_loop().call_later(wait_s, self.wake)
        try:
            while (message := await self._heard.get()) is not None:
                if (end := await self._understand(message, request_seq, wait_s)) is not None:
                    return end
        finally:
            waking.cancel()
        return None

    async def _understand(
        self, message: Msg, request_seq: int | None, wait_s: float
    ) -> RunEnd | RunRefused | None:
        """`live` subjects do not name the team; the header does."""
        headers = message.headers or {}
        subject = headers.get("Nats-Subject")
        if subject == self._refused:
            return _refusal(message.data, request_seq)
        if subject != self._completed:
            return None
        if names.BODY not in headers:
            return _read(message.data)
        try:
            async with asyncio.timeout(wait_s):
                return await _load(self._bodies, message.data, headers)
        except TimeoutError:
            return None

    def on_message(self, message: Msg) -> None:
        if self._hear_frames is not None and message.subject.endswith(FRAMES_HEARD):
            self._hear_frames(message)
        elif message.subject.endswith((".completed", ".refused")) and not self._heard.full():
            self._heard.put_nowait(message)


class Waiter:
    """Opens listeners; one for each caller that waits."""

    def __init__(self, bus: Bus, bodies: Bodies) -> None:
        self.bus = bus
        self.bodies = bodies
        self.open: set[Listener] = set()
        self.given_up = False

    @property
    def waiting(self) -> int:
        return len(self.open)

    def listening(
        self, run: RunKey, *, hear_frames: HearFrames | None = None
    ) -> AbstractAsyncContextManager[Listener]:
        """Listen while a block runs; `hear_frames` is given each batch of frames as it comes."""
        return Listener(self, run, hear_frames)

    async def end_of(self, run: RunKey) -> RunEnd | None:
        """The end of a run, as the stream's leader knows it."""
        subject = subjects.event(run.tenant, run.team_id, run.run_id, "completed")
        stored = await reads.last(self.bus, EVENTS, subject)
        return None if stored is None else await _load(self.bodies, stored.data, stored.headers)

    def give_up(self) -> None:
        """Let every listener look once more and then return, also those that come later."""
        self.given_up = True
        for listener in tuple(self.open):
            listener.wake(give_up=True)


async def _load(bodies: Bodies, data: bytes, headers: dict[str, str]) -> RunEnd:
    return _read(await bodies.load(data, headers))


def _read(event: bytes) -> RunEnd:
    try:
        read = _completed.decode(event)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedMessage(f"not a run.completed.v1: {error}") from error
    return RunEnd(read.session_id, read.code, bytes(read.output), event, read.frames)


def _refusal(data: bytes, request_seq: int | None) -> RunRefused | None:
    refused = decode(RunRefused, data)
    return refused if refused.request_seq == request_seq else None
