"""A service as a real process: started, awaited until ready, killed, stopped."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

READY_S = 30.0
STOP_S = 20.0


class Process:
    """`python -P -m <module>` with its log in a file; ready when it says so on the status pipe.

    It watches a pipe of ours, so it never outlives the test.
    """

    def __init__(self, module: str, environment: Mapping[str, str], log: Path) -> None:
        self.module = module
        self.log = log
        self._environment = dict(environment)
        self._process: asyncio.subprocess.Process | None = None
        self._held = -1
        self.facts: dict[str, Any] = {}

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self, **changes: str) -> None:
        """Returns once it is ready; raises with the end of its log when it does not get there."""
        assert not self.running, f"{self.module} runs already"
        self.facts = {}
        watched, self._held = os.pipe()
        status, said = os.pipe()
        own = {"TEAMBUS_WATCH_FD": str(watched), "TEAMBUS_STATUS_FD": str(said)}
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", self.module),
                env={**os.environ, **self._environment, **changes, **own},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(watched, said),
            )
        os.close(watched)
        os.close(said)
        try:
            async with asyncio.timeout(READY_S):
                await self._until_ready(status)
        except TimeoutError:
            raise AssertionError(
                f"{self.module} was not ready in {READY_S} s: {self.tail()}"
            ) from None

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "not started"
        self._process.send_signal(number)

    async def kill(self) -> None:
        """SIGKILL; returns once it is gone."""
        self.signal(signal.SIGKILL)
        await self.ended()

    async def stop(self) -> int:
        """SIGTERM; returns its exit status."""
        self.signal(signal.SIGTERM)
        return await self.ended()

    async def ended(self, *, wait_s: float = STOP_S) -> int:
        assert self._process is not None, "not started"
        async with asyncio.timeout(wait_s):
            status = await self._process.wait()
        self._let_go()
        return status

    async def close(self) -> None:
        if self.running:
            await self.kill()
        self._let_go()

    def tail(self, lines: int = 25) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    async def _until_ready(self, status: int) -> None:
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(status, "rb")
        )
        try:
            while line := await reader.readline():
                self.facts |= json.loads(line)
                if self.facts.get("ready"):
                    return
            assert self._process is not None
            code = await self._process.wait()
            raise AssertionError(f"{self.module} ended with {code} before ready: {self.tail()}")
        finally:
            transport.close()

    def _let_go(self) -> None:
        if self._held != -1:
            os.close(self._held)
            self._held = -1
