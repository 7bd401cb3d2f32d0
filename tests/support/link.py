"""A TCP link to a nats-server that can go deaf, so that what the server says is lost, or be cut."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class Link:
    """Passes bytes both ways. While deaf, those from the server are swallowed; while cut, nobody
    is connected. `hang_ups` more connections end when the client first says something.
    """

    def __init__(
        self, target_port: int, target_host: str = "127.0.0.1", scheme: str = "nats"
    ) -> None:
        self._scheme = scheme
        self._target = (target_host, target_port)
        self._open: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.deaf = False
        self.is_cut = False
        self.hang_ups = 0
        self.port = 0

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}"

    def mend(self) -> None:
        """Cut what is open, since bytes are missing there, and let new connections pass."""
        self.deaf = self.is_cut = False
        self._abort()

    def cut(self) -> None:
        """End what is open and each new connection at once."""
        self.is_cut = True
        self._abort()

    async def listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def refuse(self) -> None:
        """Cut what is open and let nobody in until `listen`."""
        assert self._server is not None, "not listening"
        self._server.close()
        self.mend()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self.is_cut:
                raise ConnectionRefusedError
            there = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        there_reader, there_writer = there
        for task in (
            asyncio.create_task(self._pump(reader, there_writer, from_server=False)),
            asyncio.create_task(self._pump(there_reader, writer, from_server=True)),
        ):
            self._pumps.add(task)
            task.add_done_callback(self._pumps.discard)

    async def close(self) -> None:
        self.refuse()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    def _abort(self) -> None:
        for writer in tuple(self._open):
            writer.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, from_server: bool
    ) -> None:
        self._open.add(writer)
        # Writing to a connection that was cut meanwhile raises what the loop in use likes.
        with suppress(OSError, RuntimeError):
            while data := await reader.read(65536):
                if self.hang_ups and not from_server:
                    self.hang_ups -= 1
                    break
                if not (from_server and self.deaf):
                    writer.write(data)
                    await writer.drain()
        self._open.discard(writer)
        writer.close()


@asynccontextmanager
async def link_to(port: int, host: str = "127.0.0.1", scheme: str = "nats") -> AsyncIterator[Link]:
    link = Link(port, host, scheme)
    await link.listen()
    try:
        yield link
    finally:
        await link.close()
