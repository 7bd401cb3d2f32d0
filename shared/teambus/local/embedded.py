"""The bus of one machine: a nats-server of our own, kept running, or the one `NATS_URL` names."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import structlog

from teambus.local.errors import LocalError
from teambus.local.nats_server import NatsServer
from teambus.local.service import Backoff
from teambus.local.settings import ServeSettings

log = structlog.get_logger(__name__)


class Bus(Protocol):
    @property
    def url(self) -> str: ...

    async def keep(self) -> None:
        """Until cancelled, it runs or soon will."""

    def status(self) -> dict[str, Any]: ...


@asynccontextmanager
async def bus_of(
    settings: ServeSettings, data: Path, changed: Callable[[], None]
) -> AsyncIterator[Bus]:
    """When the block ends, a server of our own has closed its store."""
    if settings.nats_url:
        yield ElsewhereBus(settings.nats_url)
        return
    async with NatsServer(data / "nats") as server:
        yield EmbeddedBus(server, Backoff(settings), changed)


class ElsewhereBus:
    """Somebody else keeps it running."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def keep(self) -> None:
        await asyncio.Event().wait()

    def status(self) -> dict[str, Any]:
        return {"url": self.url, "pid": None}


class EmbeddedBus:
    """Services reconnect by themselves, so they are left alone when it has to be started again."""

    def __init__(self, server: NatsServer, backoff: Backoff, changed: Callable[[], None]) -> None:
        self._server = server
        self._backoff = backoff
        self._changed = changed

    @property
    def url(self) -> str:
        return self._server.url

    async def keep(self) -> None:
        while True:
            started_at = time.monotonic()
            code = await self._server.ended()
            log.error("nats-server ended unasked", code=code)
            await self._start_again(time.monotonic() - started_at)

    def status(self) -> dict[str, Any]:
        return {"url": self.url, "pid": self._server.pid}

    async def _start_again(self, lasted_s: float) -> None:
        while not await self._started():
            await asyncio.sleep(self._backoff.after(lasted_s))
            lasted_s = 0

    async def _started(self) -> bool:
        try:
            await self._server.start()
        except LocalError as error:
            log.error("nats-server does not start", error=str(error))
            return False
        log.info("nats-server runs again", url=self.url)
        self._changed()
        return True
