"""The management port: is it alive, is it ready, what does it count."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import prometheus_client

from teambus.runtime.loop_lag import watching_the_loop

Check = Callable[[], str | None]
STATUS_FD = "TEAMBUS_STATUS_FD"
REQUEST_BYTES_MAX = 8192
READ_TIMEOUT_S = 5

prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # as it is


@dataclass(slots=True)
class Readiness:
    """Why a service is not ready, if it is not. A check returns the reason or None."""

    checks: dict[str, Check] = field(default_factory=dict)

    def reasons(self) -> dict[str, str]:
        found = {name: check() for name, check in self.checks.items()}
        return {name: reason for name, reason in found.items() if reason is not None}


@asynccontextmanager
async def management_port(readiness: Readiness, *, host: str, port: int) -> AsyncIterator[int]:
    """Serve `/livez`, `/readyz` and `/metrics`; yields the port (asked 0: a free one)."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
            writer.write(_reply(head.split(b" ", 2)[1].decode("ascii", "replace"), readiness))
            await writer.drain()
        except (TimeoutError, ConnectionError, EOFError, asyncio.LimitOverrunError, IndexError):
            pass  # Whoever asked is gone or does not speak HTTP; there is nobody to tell.
        finally:
            writer.close()

    server = await asyncio.start_server(answer, host, port, limit=REQUEST_BYTES_MAX)
    async with server, watching_the_loop():
        bound: int = server.sockets[0].getsockname()[1]
        report(management_port=bound)
        yield bound


def report(**facts: object) -> bool:
    """Tell the supervisor something; False when none listens on `TEAMBUS_STATUS_FD`."""
    if not (descriptor := os.environ.get(STATUS_FD)):
        return False
    os.write(int(descriptor), json.dumps(facts).encode() + b"\n")
    return True


def _reply(path: str, readiness: Readiness) -> bytes:
    status, kind, body = _content(path.partition("?")[0], readiness)
    head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n"
    return head.encode() + b"connection: close\r\n\r\n" + body


def _content(path: str, readiness: Readiness) -> tuple[str, str, bytes]:
    if path == "/livez":
        return "200 OK", "application/json", b'{"status":"ok"}'
    if path == "/readyz":
        reasons = readiness.reasons()
        status = "503 Service Unavailable" if reasons else "200 OK"
        body = {"status": "unready" if reasons else "ready", "reasons": reasons}
        return status, "application/json", json.dumps(body).encode()
    if path == "/metrics":
        return "200 OK", prometheus_client.CONTENT_TYPE_LATEST, prometheus_client.generate_latest()
    return "404 Not Found", "application/json", b'{"detail":"Not Found"}'
