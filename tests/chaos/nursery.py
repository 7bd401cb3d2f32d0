"""The services as processes that are born quickly and die often."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

BIRTH_S = 60.0
READY_S = 60.0


class NotReady(Exception):
    """a service ended, or said nothing, before it was ready"""


class Cradle:
    """One service, imported once; use as a context. All who were born go when it goes."""

    def __init__(self, module: str, environment: Mapping[str, str], log: Path) -> None:
        self._module = module
        self._environment = {**os.environ, **environment}
        self._log = log
        self._births: asyncio.Queue[int] = asyncio.Queue()
        self._asking = asyncio.Lock()
        self._deaths: dict[int, asyncio.Future[int]] = {}
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._line.setblocking(False)
        with theirs, self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "tests.chaos.cradle"),
                *(self._module, str(theirs.fileno())),
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(theirs.fileno(),),
            )
        asyncio.get_running_loop().add_reader(self._line.fileno(), self._hear)
        return self

    async def __aexit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._line.fileno())
        self._line.close()
        assert self._process is not None
        await self._process.wait()

    async def bear(self, environment: Mapping[str, str], descriptors: list[int]) -> int:
        """The process id of a new one."""
        async with self._asking, asyncio.timeout(BIRTH_S):
            message = json.dumps({**self._environment, **environment}).encode()
            socket.send_fds(self._line, [message], descriptors)
            return await self._births.get()

    async def died(self, pid: int) -> int:
        return await asyncio.shield(self._deaths[pid])

    def is_dead(self, pid: int) -> bool:
        return self._deaths[pid].done()

    def _hear(self) -> None:
        with suppress(BlockingIOError):
            while data := self._line.recv(4096):
                self._understand(json.loads(data))
            asyncio.get_running_loop().remove_reader(self._line.fileno())

    def _understand(self, said: dict[str, int]) -> None:
        if "born" in said:
            self._deaths[said["born"]] = asyncio.get_running_loop().create_future()
            self._births.put_nowait(said["born"])
        else:
            self._deaths[said["died"]].set_result(said["code"])


class Service:
    """One place in the house, where one process at a time lives."""

    def __init__(
        self, name: str, cradle: Cradle, environment: Mapping[str, str], folder: Path
    ) -> None:
        self.name = name
        self.pid = 0
        self.pids: list[int] = []
        self.log = folder / f"{name}.log"
        self._cradle = cradle
        self._environment = dict(environment)
        self._held = -1

    @property
    def running(self) -> bool:
        return self.pid != 0

    @property
    def gone(self) -> bool:
        """Whether it ended and nobody has noticed yet."""
        return self.running and self._cradle.is_dead(self.pid)

    async def start(self) -> None:
        """Returns once it is ready; raises `NotReady`, and then it does not run."""
        assert not self.running, f"{self.name} runs already"
        watched, self._held = os.pipe()
        status, said = os.pipe()
        with self.log.open("ab") as log:
            self.pid = await self._cradle.bear(self._environment, [watched, said, log.fileno()])
        self.pids.append(self.pid)
        os.close(watched)
        os.close(said)
        try:
            async with asyncio.timeout(READY_S):
                await self._until_ready(status)
        except (NotReady, TimeoutError) as error:
            await self.kill()
            raise NotReady(f"{self.name} was not ready: {error!r}") from error

    def signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    async def kill(self) -> None:
        if self.running:
            self.signal(signal.SIGKILL)
            await self.ended()

    async def ended(self) -> int:
        """Wait for its end; its exit status."""
        code = await self._cradle.died(self.pid)
        self.pid = 0
        held, self._held = self._held, -1
        assert held != -1, f"two wait for the end of {self.name}"
        os.close(held)
        return code

    async def _until_ready(self, status: int) -> None:
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(status, "rb")
        )
        try:
            facts: dict[str, Any] = {}
            while line := await reader.readline():
                facts |= json.loads(line)
                if facts.get("ready"):
                    return
            raise NotReady(f"it ended; its last words are in {self.log}")
        finally:
            transport.close()
