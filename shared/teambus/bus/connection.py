"""One connection to NATS, set up so that it outlives any outage and never fails silently."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, TypeVar

import nats
import nats.errors
import structlog
from nats.aio.msg import Msg

from teambus.bus import metrics
from teambus.bus.access import Access
from teambus.bus.admission import explained, is_refusal
from teambus.bus.client import BusClient
from teambus.bus.errors import BusUnavailable
from teambus.bus.identities import inbox
from teambus.bus.replies import Replies
from teambus.bus.servers import RECONNECT_PAUSE_S, Choice, Silence, address, leave_server, public
from teambus.bus.violations import Violations

log = structlog.get_logger(__name__)

T = TypeVar("T")
Asked: TypeAlias = Literal["write", "read", "pull"]

SERVER_FLOOR = (2, 11)


@dataclass(frozen=True, slots=True)
class BusSettings:
    """Where the bus is and how long to wait for it.

    A server is left for another when it has answered nothing for `deaf_s`, and the connection given
    up for good when credentials were refused for `refused_s`. `identity` is who this is in the
    lists of who may do what; the name if nothing else is said.
    """

    urls: tuple[str, ...]
    name: str
    identity: str = ""
    access: Access = field(default_factory=Access)
    connect_timeout_s: float = 10
    request_timeout_s: float = 2
    publish_patience_s: float = 20
    retry_after_s: int = 1
    """What those are told who ask this process too much at once."""
    ping_interval_s: float = 10
    deaf_s: float = 8
    refused_s: float = 10
    pending_bytes_max: int = 16 * 1024 * 1024


@dataclass(slots=True)
class Bus:
    """An open connection. `closed` is set when it is gone for good: the process must end then."""

    client: BusClient
    settings: BusSettings
    replies: Replies
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    reconnect_listeners: set[Callable[[], None]] = field(default_factory=set)
    violations: Violations = field(default_factory=Violations)
    trouble: Exception | None = None
    """What kept this process from being connected, when last something did."""
    told: str = ""
    opened: bool = False
    closing: bool = False
    full_until: float = 0
    silences: dict[Asked, Silence] = field(
        default_factory=lambda: {"write": Silence(), "read": Silence(), "pull": Silence()}
    )
    moving: asyncio.Task[None] | None = None
    reconnected_at: float = float("-inf")

    @property
    def full(self) -> bool:
        """Whether a stream was out of room a moment ago: no time to take new work."""
        return time.monotonic() < self.full_until

    def is_full_for(self, seconds: float) -> None:
        self.full_until = time.monotonic() + seconds

    @property
    def violation(self) -> str | None:
        """The last thing that this process was not permitted to do."""
        return self.violations.last

    @property
    def connected(self) -> bool:
        return self.client.is_connected

    @property
    def message_bytes_max(self) -> int:
        """The largest body a message carries; larger ones go to the store of large bodies."""
        return max(int(self.client.max_payload) - 128 * 1024, int(self.client.max_payload) // 2)

    def answered(self, asked: Asked) -> None:
        """Somebody who leads a stream or consumer has answered."""
        self.silences[asked].end()

    def unanswered(self, asked: Asked) -> None:
        """Nobody who leads has answered; after `deaf_s` of that another server is tried.

        A node cut off from the others keeps its clients, and for a while it answers reads of what
        it led, though it can commit nothing: so each kind of question has a silence of its own.
        """
        if self.silences[asked].lasts(self.settings.deaf_s) and len(self.client.servers) > 1:
            for silence in self.silences.values():
                silence.end()
            log.warning("nothing answers; turning to another server", left=address(self.client))
            self.moving = asyncio.create_task(
                leave_server(self.client), name="turn to another server"
            )

    async def request(
        self, subject: str, data: bytes, headers: dict[str, str] | None = None
    ) -> Msg | None:
        """Ask once; None when nothing answered within `request_timeout_s`.

        Without a connection nothing is sent: what the client keeps for later would arrive after
        the outage, when it may no longer be true. Raises `BusUnavailable` when closed for good.
        """
        wait_s = self.settings.request_timeout_s
        return await self._asked(lambda: self.replies.ask(subject, data, headers, wait_s=wait_s))

    async def request_many(
        self, subject: str, data: bytes, is_last: Callable[[Msg], bool]
    ) -> list[Msg] | None:
        """Like `request`, for an answer in many messages of which the last tells that it is."""
        wait_s = self.settings.request_timeout_s
        return await self._asked(lambda: self.replies.gather(subject, data, is_last, wait_s=wait_s))

    async def _asked(self, ask: Callable[[], Awaitable[T | None]]) -> T | None:
        if self.client.is_closed:
            raise BusUnavailable("the connection to the bus is closed")
        if not self.client.is_connected:
            return None
        try:
            return await ask()
        except nats.errors.OutboundBufferLimitError:
            return None
        except (nats.errors.ConnectionClosedError, nats.errors.ConnectionDrainingError) as error:
            raise BusUnavailable("the connection to the bus is closed") from error

    async def barrier(self) -> None:
        """Return once the server this client is connected to has seen everything sent so far."""
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        try:
            async with asyncio.timeout(self.settings.request_timeout_s):
                await self._pong()
        except (TimeoutError, RuntimeError, nats.errors.Error) as error:
            # uvloop raises a RuntimeError when a connection is used that was just lost.
            raise BusUnavailable(f"no answer to a ping: {error!r}") from error

    async def _pong(self) -> None:
        """Ask for an echo and wait for it.

        Not by the client's `flush`: an echo that came after that had given up would end the
        client's reading without a word, and the connection would be deaf until its pings tell.
        """
        if self.client.is_closed:
            raise nats.errors.ConnectionClosedError
        echo: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        await self.client._send_ping(echo)
        await asyncio.shield(echo)


@asynccontextmanager
async def connect(settings: BusSettings) -> AsyncIterator[Bus]:
    """Connect within `connect_timeout_s` or raise `BusUnavailable`; reconnect for ever after."""
    wants_tls = any(url.startswith("tls://") for url in settings.urls)
    client = BusClient(settings.access, wants_tls=wants_tls)
    bus = Bus(client, settings, Replies(client))
    try:
        await client.connect_within(settings.connect_timeout_s, **_options(bus))
        await bus.replies.listen()
        bus.opened, bus.trouble = True, None
    except (TimeoutError, OSError, nats.errors.Error) as error:
        await bus.client.close()
        raise _unreachable(settings, bus.trouble or error) from error
    try:
        check_version(bus.client.connected_server_version)
        metrics.CONNECTED.set_function(lambda: bus.connected)
        yield bus
    finally:
        await _close(bus)


def _unreachable(settings: BusSettings, why: Exception) -> BusUnavailable:
    where = ", ".join(map(public, settings.urls))
    said = explained(why)
    if isinstance(why, ssl.SSLError | nats.errors.Error) and said:
        return BusUnavailable(f"cannot use NATS at {where}: {said}")
    return BusUnavailable(
        f"cannot reach NATS at {where}: {said}; "
        "is nats-server running there, and is NATS_URL right?"
    )


def check_version(version: object) -> None:
    major, minor = int(getattr(version, "major", 0)), int(getattr(version, "minor", 0))
    if (major, minor) < SERVER_FLOOR:
        raise BusUnavailable(
            f"nats-server {major}.{minor} is too old; teambus needs 2.11 or newer "
            "(older ones lack per-message reads it decides by)"
        )


def _options(bus: Bus) -> dict[str, Any]:
    settings = bus.settings
    return {
        "servers": list(settings.urls),
        "name": settings.name,
        **settings.access.options(),
        "inbox_prefix": inbox(settings.identity or settings.name),
        "connect_timeout": max(1, int(settings.request_timeout_s)),
        "max_reconnect_attempts": -1,
        "reconnect_time_wait": RECONNECT_PAUSE_S,
        "reconnect_to_server_handler": Choice(bus.client),
        "ping_interval": settings.ping_interval_s,
        "max_outstanding_pings": 2,
        "pending_size": settings.pending_bytes_max,
        **_listeners(bus),
    }


def _listeners(bus: Bus) -> dict[str, Callable[..., Awaitable[None]]]:
    refused = Silence()

    async def on_error(error: Exception) -> None:
        # The read loop dies silently when this raises, so it only notes.
        text = str(error)
        if bus.violations.note(text):
            return
        _note_trouble(bus, error)
        if is_refusal(text) and refused.lasts(bus.settings.refused_s):
            log.error("the bus refuses the credentials", error=text)
            bus.closed.set()
            if bus.opened and not bus.client.is_closed:
                # Whoever waits for an answer need not wait any longer.
                bus.moving = asyncio.create_task(bus.client.close(), name="close for good")

    async def on_disconnect() -> None:
        if not bus.closing:
            log.warning("bus connection lost")

    async def on_reconnect() -> None:
        refused.end()
        bus.violations.forget()
        bus.trouble, bus.told, bus.reconnected_at = None, "", time.monotonic()
        metrics.RECONNECTS.inc()
        log.info("bus connection restored", server=address(bus.client))
        for listener in tuple(bus.reconnect_listeners):
            listener()

    async def on_close() -> None:
        if not bus.closing:
            log.error("the bus closed the connection", why=repr(bus.client.last_error))
        bus.closed.set()

    return {
        "error_cb": on_error,
        "disconnected_cb": on_disconnect,
        "reconnected_cb": on_reconnect,
        "closed_cb": on_close,
    }


def _note_trouble(bus: Bus, error: Exception) -> None:
    """A server that refuses somebody may hang up before it has said why. The same trouble is met
    several times a second, and told once.
    """
    if bus.trouble is None or not isinstance(error, ConnectionError | TimeoutError):
        bus.trouble = error
    why = explained(error)
    level = log.debug if why == bus.told else log.warning
    bus.told = why
    level("bus error", why=why, error=type(error).__name__)


async def _close(bus: Bus) -> None:
    """Send what is pending, then close. `drain` is not used: it hangs on pull subscriptions."""
    bus.closing = True
    if bus.client.is_connected:
        try:
            await bus.barrier()
        except BusUnavailable as error:
            log.warning("closing without a last flush", error=str(error))
    with suppress(OSError, RuntimeError):
        # Closing while the connection is being restored raises what its dead socket does.
        await bus.client.close()
