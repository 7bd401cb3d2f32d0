"""Which server of a cluster to talk to: when to leave one, and for which other."""

import asyncio
import time
from typing import Any

from nats.aio.client import Client, Server

RECONNECT_PAUSE_S = 0.2


class Silence:
    """Since when nothing was answered."""

    def __init__(self) -> None:
        self._since: float | None = None

    def end(self) -> None:
        self._since = None

    def lasts(self, limit_s: float) -> bool:
        """It begins when this is first asked."""
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        return now - self._since >= limit_s


class Choice:
    """Which server to connect to again: the one that failed least, and not the one just left."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def __call__(self, servers: list[Server], _: dict[str, Any]) -> tuple[Server, float]:
        if self._client.is_closed:
            # It was told to stop, and may have taken that for an attempt that failed.
            raise asyncio.CancelledError
        # Of an attempt that failed halfway the client forgets the connection without closing it.
        _drop_connection(self._client)
        left = address(self._client)
        chosen = min(
            servers, key=lambda each: each.reconnects + 2 * (public(each.uri.netloc) == left)
        )
        return chosen, RECONNECT_PAUSE_S


def address(client: Client) -> str:
    """The server that a client is or was connected to."""
    last = client._current_server
    return "" if last is None else public(last.uri.netloc)


def public(url: str) -> str:
    """Without the password that may stand in it."""
    scheme, slashes, place = url.rpartition("//")
    return f"{scheme}{slashes}{place.rpartition('@')[2]}"


async def leave_server(client: Client) -> None:
    """What was not sent is dropped: the client would wait for a dead link to take it."""
    await client.force_reconnect()
    _drop_connection(client)


def _drop_connection(client: Client) -> None:
    writer = getattr(client._transport, "_io_writer", None)
    if writer is not None:
        writer.transport.abort()
