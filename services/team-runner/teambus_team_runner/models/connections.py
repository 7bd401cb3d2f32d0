"""The connections to one provider: opened when needed, kept for a while, last used first."""

import asyncio
import functools
import socket
import ssl
from collections.abc import Sequence

import httpx2
from aiohappyeyeballs import AddrInfoType, start_connection

from teambus_team_runner.models.http import Connection
from teambus_team_runner.models.limits import ModelLimits

PORTS = {"http": 80, "https": 443}
ADDRESSES_KNOWN_S = 10
NEXT_ADDRESS_AFTER_S = 0.25


class Connections:
    """As many as are taken at once; its user bounds these.

    A kept connection that the provider has closed is not taken. One that closes just as a request
    goes out fails the request: nobody can tell whether it was read, and repeating it might pay
    twice, so that is for those to decide who count the tries.
    """

    def __init__(self, url: httpx2.URL, limits: ModelLimits) -> None:
        self._loop = asyncio.get_running_loop()
        self._host = url.raw_host.decode()
        self._port = url.port or PORTS[url.scheme]
        self._tls = _tls() if url.scheme == "https" else None
        self._limits = limits
        self._open: set[Connection] = set()
        self._idle: list[Connection] = []
        self._closing: asyncio.TimerHandle | None = None
        self._lookup = asyncio.Lock()
        self._addresses: Sequence[AddrInfoType] = ()
        self._known_until = 0.0

    async def take(self) -> Connection:
        """A connection for one exchange; to be given back whatever comes of it."""
        while self._idle:
            connection = self._idle.pop()
            if self._is_fresh(connection):
                return connection
            self._drop(connection)
        async with asyncio.timeout(self._limits.connect_timeout_s):
            return await self._connect()

    def give_back(self, connection: Connection) -> None:
        """Keep it, or close it if its answer is not whole: this aborts what is in flight."""
        if not connection.reusable:
            self._drop(connection)
            return
        connection.idle_since = self._loop.time()
        self._idle.append(connection)
        if self._closing is None:
            self._closing = self._loop.call_later(self._limits.keepalive_s, self._close_expired)

    def close(self) -> None:
        if self._closing is not None:
            self._closing.cancel()
        self._idle.clear()
        while self._open:
            self._open.pop().abort()

    async def _connect(self) -> Connection:
        line = await start_connection(
            await self._known_addresses(), happy_eyeballs_delay=NEXT_ADDRESS_AFTER_S
        )
        _, connection = await self._loop.create_connection(
            lambda: Connection(self._limits.answer_bytes_max),
            sock=line,
            ssl=self._tls,
            server_hostname=self._host if self._tls else None,
        )
        self._open.add(connection)
        return connection

    async def _known_addresses(self) -> Sequence[AddrInfoType]:
        async with self._lookup:  # Many connect at once; one asks for all.
            if self._loop.time() >= self._known_until:
                self._addresses = await self._loop.getaddrinfo(
                    self._host, self._port, type=socket.SOCK_STREAM
                )
                self._known_until = self._loop.time() + ADDRESSES_KNOWN_S
            return self._addresses

    def _is_fresh(self, connection: Connection) -> bool:
        age_s = self._loop.time() - connection.idle_since
        return connection.reusable and age_s < self._limits.keepalive_s

    def _close_expired(self) -> None:
        fresh = [connection for connection in self._idle if self._is_fresh(connection)]
        for connection in set(self._idle).difference(fresh):
            self._drop(connection)
        self._idle, self._closing = fresh, None
        if fresh:
            expiry = fresh[0].idle_since + self._limits.keepalive_s
            self._closing = self._loop.call_at(expiry, self._close_expired)

    def _drop(self, connection: Connection) -> None:
        self._open.discard(connection)
        connection.abort()


@functools.cache
def _tls() -> ssl.SSLContext:
    """Reads the system's certificates, which takes too long to be done for each account."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
