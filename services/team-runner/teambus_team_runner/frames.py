"""Where the frames of a run go: to nobody, or numbered and in order to the bus."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

import msgspec
import structlog

from teambus.contracts.frames import ATTEMPT_STRIDE, Frame, FrameBatch
from teambus.contracts.ids import RunId, TeamId, Tenant
from teambus_team_runner.engine.ports import Frames
from teambus_team_runner.pieces import CONTENT, Pieces

log = structlog.get_logger(__name__)

MIB = 1024 * 1024
FRAME_BYTES = 64
"""What a frame takes besides its data, about."""


class RunFrames(Frames, Protocol):
    """The frames of one attempt at a run; leaving the block stops what is still on its way."""

    @property
    def events(self) -> list[dict[str, Any]] | None:
        """All that was said but for content; None when nobody reads."""

    async def finish(self) -> int:
        """Return once all that was said is durable or given up: the number that comes next."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class UnreadFrames:
    """Frames of a run that nobody reads: they are let go."""

    are_read = False
    events = None

    def emit(self, event: str, data: dict[str, Any]) -> None:
        pass

    async def room(self) -> None:
        pass

    async def finish(self) -> int:
        return 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass


class Log(Protocol):
    """What frames are written to."""

    @property
    def batch_bytes_max(self) -> int: ...

    async def publish(self, batch: FrameBatch, *, patience_s: float) -> None: ...

    async def tail(self, tenant: Tenant, run_id: RunId, *, patience_s: float) -> int | None: ...


@dataclass(frozen=True, slots=True)
class FrameLimits:
    """`coalesce_s`: pieces of content are gathered for so long, 0 = each by itself. `patience_s`:
    a bus that takes no frames for so long gets none any more from this attempt, and the run goes
    on. Over `buffer_bytes_max` unwritten, the next model call waits.
    """

    coalesce_s: float = 0.05
    patience_s: float = 15
    buffer_bytes_max: int = 8 * MIB


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose frames they are. `prove` raises `Fenced` when the run is another runner's by now.
    A later attempt numbers its frames above all that was said before.
    """

    tenant: Tenant
    team_id: TeamId
    run_id: RunId
    attempt: int
    is_first: bool
    prove: Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class _Said:
    event: str
    data: bytes

    @property
    def size(self) -> int:
        return len(self.data) + FRAME_BYTES


class PublishedFrames:
    """Frames of a run that somebody reads. What is said while a batch is written shares the next.

    Everything is encoded when it is said, for it may change after. Whatever the bus does, the run
    is not stopped.
    """

    are_read = True

    def __init__(self, log: Log, origin: Origin, limits: FrameLimits) -> None:
        self._log = log
        self._origin = origin
        self._limits = limits
        self._next: int | None = 0 if origin.is_first else None
        self._kept: list[bytes] = []
        self._pieces = Pieces()
        self._window: asyncio.TimerHandle | None = None
        self._waiting: deque[_Said] = deque()
        self._waiting_bytes = 0
        self._publishing: asyncio.Task[None] | None = None
        self._written = asyncio.Event()
        self._given_up = False

    @property
    def events(self) -> list[dict[str, Any]]:
        return [msgspec.json.decode(data) for data in self._kept]

    def emit(self, event: str, data: dict[str, Any]) -> None:
        if self._pieces.add(event, data):
            self._let_gather()
        else:
            self._flush()
            self._say(event, data)
            self._publish()

    async def room(self) -> None:
        while self._waiting_bytes > self._limits.buffer_bytes_max:
            await self._written.wait()

    async def finish(self) -> int:
        self._flush()
        self._publish()
        while self._publishing is not None:
            await asyncio.wait({self._publishing})
        if self._next is None and not self._given_up:
            # Nothing was said, but an earlier attempt may have.
            await self._attempted(self._begin())
        return self._next or 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._window is not None:
            self._window.cancel()
        if self._publishing is not None:
            self._publishing.cancel()
            await asyncio.gather(self._publishing, return_exceptions=True)

    def _let_gather(self) -> None:
        if not self._limits.coalesce_s or self._pieces.is_much:
            self._close_window()
        elif self._window is None:
            loop = asyncio.get_running_loop()
            self._window = loop.call_later(self._limits.coalesce_s, self._close_window)

    def _close_window(self) -> None:
        self._flush()
        self._publish()

    def _flush(self) -> None:
        if self._window is not None:
            self._window.cancel()
            self._window = None
        for event, data in self._pieces.take():
            self._say(event, data)

    def _say(self, event: str, data: dict[str, Any]) -> None:
        try:
            said = _Said(event, msgspec.json.encode(data))
        except (TypeError, ValueError, RecursionError) as error:
            log.error("an event is left out, JSON cannot carry it", name=event, why=str(error))
            return
        if event not in CONTENT:
            self._kept.append(said.data)
        if not self._given_up:
            self._waiting.append(said)
            self._waiting_bytes += said.size

    def _publish(self) -> None:
        if self._waiting and self._publishing is None:
            work = self._attempted(self._publish_all())
            self._publishing = asyncio.create_task(work, name="publish frames")

    async def _publish_all(self) -> None:
        try:
            await self._begin()
            while self._waiting:
                await self._publish_batch()
        finally:
            self._publishing = None

    async def _publish_batch(self) -> None:
        batch = self._batch()
        async with asyncio.timeout(self._limits.patience_s):
            await self._origin.prove()
            await self._log.publish(batch, patience_s=self._limits.patience_s)
        self._tell()

    async def _begin(self) -> None:
        if self._next is not None:
            return
        origin, patience_s = self._origin, self._limits.patience_s
        tail = await self._log.tail(origin.tenant, origin.run_id, patience_s=patience_s)
        self._next = 0 if tail is None else (tail // ATTEMPT_STRIDE + 1) * ATTEMPT_STRIDE

    def _batch(self) -> FrameBatch:
        """As many as fit a message, numbered; one that is larger goes alone."""
        assert self._next is not None
        origin, frames, size = self._origin, list[Frame](), 0
        while self._waiting and (not frames or size + self._waiting[0].size <= self._bytes_max):
            said = self._waiting.popleft()
            size += said.size
            data = msgspec.Raw(said.data)
            frames.append(Frame(event_index=self._next, event=said.event, data=data))
            self._next += 1
        self._waiting_bytes -= size
        return FrameBatch(
            tenant=origin.tenant,
            team_id=origin.team_id,
            run_id=origin.run_id,
            attempt=origin.attempt,
            frames=frames,
        )

    @property
    def _bytes_max(self) -> int:
        return self._log.batch_bytes_max - 1024

    async def _attempted(self, work: Awaitable[None]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 - whatever it is, the run goes on without readers
            log.error("readers hear no more of this attempt", why=repr(error))
            self._given_up = True
            self._waiting.clear()
            self._waiting_bytes = 0
            self._tell()

    def _tell(self) -> None:
        self._written.set()
        self._written = asyncio.Event()
