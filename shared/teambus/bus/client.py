"""nats-py's client with a shorter way for what is published, and for the answers to it.

The client hands each message to tasks of its own, which come to it a turn of the loop later, and
under load a turn is long: a run asks the bus a dozen times, one after the other.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from teambus.bus.access import Access
from teambus.bus.admission import AdmittedClient

HEAD = "NATS/1.0\r\n"


class BusClient(AdmittedClient):
    """Writes what is published without a task, and tells answers as soon as they are read."""

    def __init__(self, access: Access, *, wants_tls: bool) -> None:
        super().__init__(access, wants_tls=wants_tls)
        self._listeners: dict[int, Callable[[Msg], None]] = {}
        self._going = False

    async def listen(self, subject: str, tell: Callable[[Msg], None]) -> Subscription:
        """Subscribe without a task and a queue. `tell` is called while the connection is being
        read, so it must be quick.
        """
        nobody: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        nobody.cancel()
        subscription = await self.subscribe(subject, future=nobody)
        self._listeners[subscription._id] = tell
        return subscription

    async def publish(
        self,
        subject: str,
        payload: bytes = b"",
        reply: str = "",
        headers: dict[str, str] | None = None,
    ) -> None:
        """As the client's own; what is published in one turn of the loop goes out together."""
        command = _command(subject, payload, reply, headers)
        if command is None or not self._is_free(len(payload)):
            await super().publish(subject, payload, reply, headers)
            return
        self.stats["out_msgs"] += 1
        self.stats["out_bytes"] += len(payload)
        self._pending.append(command)
        self._pending_data_size += len(command)
        self._go_soon()

    def _is_free(self, size: int) -> bool:
        """Whether the server is there and takes what is sent: else the client bounds it."""
        if not self.is_connected or size > self._max_payload:
            return False
        writer = getattr(self._transport, "_io_writer", None)
        if writer is None:
            return False
        lag: int = writer.transport.get_write_buffer_size() + self._pending_data_size
        return lag <= self._max_pending_size

    def _go_soon(self) -> None:
        if not self._going:
            self._going = True
            asyncio.get_running_loop().call_soon(self._go)

    async def _send(self, force_flush: bool = False) -> Any:
        """What else the client says goes the same way."""
        if not force_flush and self._is_free(0):
            return self._go_soon()
        return await super()._flush_pending(force_flush)

    def _go(self) -> None:
        self._going = False
        if not (self.is_connected and self._pending and self._transport):
            return  # the client sends it when it has a connection again
        commands, self._pending, self._pending_data_size = self._pending, [], 0
        # The connection may just be lost, and this with it, as all that is on its way.
        with suppress(RuntimeError):
            self._transport.writelines(commands)

    async def _hear(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes
    ) -> None:
        tell = self._listeners.get(sid)
        if tell is None:
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        self.stats["in_msgs"] += 1
        self.stats["in_bytes"] += len(data)
        parsed = await self._process_headers(headers)
        message: Any = self._build_message(sid, subject, reply, data, parsed)
        try:
            tell(message)
        except Exception as error:  # noqa: BLE001 - the client would stop reading without a word
            await self._error_cb(error)

    @staticmethod
    def _read_head(raw: bytes) -> dict[str, str]:
        """As the client's own, whose look at each character of a name costs more than the rest."""
        found: dict[str, str] = {}
        for line in raw.decode("utf-8", "replace").split("\r\n"):
            name, colon, value = line.partition(":")
            name = name.strip()
            if colon and name.isascii() and name.isprintable() and " " not in name:
                found[name] = value.strip(" \t\r\n\v\f")
        return found

    def _forget(self, sid: int, max_msgs: int = 0) -> None:
        super()._remove_sub(sid, max_msgs)
        self._listeners.pop(sid, None)

    async def _take_echo(self) -> None:
        """As the client's own, which would end its reading without a word when nobody waits for
        the echo any more.
        """
        if not (self._pongs and self._pongs[0].done()):
            await super()._process_pong()
            return
        del self._pongs[0]
        self._pongs_received += 1
        self._pings_outstanding = 0

    # Under these names the client calls them.
    _process_msg = _hear
    _parse_header_lines = _read_head
    _remove_sub = _forget
    _flush_pending = _send
    _process_pong = _take_echo


def _command(
    subject: str, payload: bytes, reply: str, headers: dict[str, str] | None
) -> bytes | None:
    """None when there is something in it that only the client may mend or refuse."""
    if not (_is_subject(subject) and (not reply or _is_subject(reply))):
        return None
    if headers is None:
        return b"PUB %b %b %d\r\n%b\r\n" % (subject.encode(), reply.encode(), len(payload), payload)
    head = "".join([HEAD, *[f"{name}: {value}\r\n" for name, value in headers.items()], "\r\n"])
    if not len(headers) + 2 == head.count("\n") == head.count("\r"):
        return None
    encoded = head.encode()
    size = len(encoded)
    return b"HPUB %b %b %d %d\r\n%b%b\r\n" % (
        *(subject.encode(), reply.encode(), size, size + len(payload), encoded, payload),
    )


def _is_subject(text: str) -> bool:
    """Whether no character of it ends it; those that cannot be printed are left to the client."""
    return bool(text) and " " not in text and text.isprintable()
