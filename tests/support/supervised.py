"""A supervisor as a real process, seen from outside: its children, its story, what it says."""

import asyncio
import json
import os
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from teambus.local.child import Child, launch, watched_pipe
from teambus.local.plan import ServiceSpec

ROOT = Path(__file__).parents[2]
START_S = 30
END_S = 20
POLL_S = 0.02


class Supervised:
    """`folder` holds the app (app/), the data (data/), the story and what was said (said).

    `abandon` closes the pipe it watches, as the end of whoever started it would.
    """

    def __init__(self, folder: Path, child: Child, abandon: Callable[[], None]) -> None:
        self.folder = folder
        self.child = child
        self.abandon = abandon

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def said(self) -> str:
        return (self.folder / "said").read_text()

    def story(self) -> list[str]:
        """What happened to the stand-ins, without their process ids."""
        return [line.rpartition(" ")[0] for line in self._story()]

    def pids(self, name: str) -> list[int]:
        """The processes a stand-in had, in order."""
        return [int(x.split()[2]) for x in self._story() if x.startswith(f"{name} started")]

    def status(self) -> dict[str, Any]:
        said: dict[str, Any] = json.loads((self.data / "status.json").read_text())
        return said

    def family(self) -> set[int]:
        """Every process below the supervisor now."""
        return below(self.child.pid)

    async def ready(self) -> None:
        ended = asyncio.ensure_future(self.child.ended())
        ready = asyncio.ensure_future(self.child.ready.wait())
        await asyncio.wait({ended, ready}, timeout=START_S, return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        ready.cancel()
        assert self.child.ready.is_set(), self.said()

    async def ended(self) -> int:
        async with asyncio.timeout(END_S):
            return await self.child.ended()

    def signal(self, number: int) -> None:
        os.kill(self.child.pid, number)

    def _story(self) -> list[str]:
        story = self.folder / "story"
        return story.read_text().splitlines() if story.exists() else []


@asynccontextmanager
async def supervised(
    folder: Path, *options: str, module: str = "tests.support.standin_supervisor", **variables: str
) -> AsyncIterator[Supervised]:
    """Started, not awaited; gone when the block ends."""
    app = folder / "app"
    app.mkdir(exist_ok=True)
    (app / "app.py").touch()
    options = ("--app", "app", "--app-dir", str(app), "--data-dir", str(folder / "data"), *options)
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {
        **os.environ,
        "PYTHONPATH": paths,
        "STANDIN_FOLDER": str(folder),
        "TEAMBUS_RELOAD_POLL_S": "0.1",
        "TEAMBUS_KILL_AFTER_S": "1",
        **variables,
    }
    with ExitStack() as held, (folder / "said").open("ab") as said:
        watch_fd = held.enter_context(watched_pipe())
        arguments = ("-m", module, *options, "--watch-fd", str(watch_fd))
        spec = ServiceSpec("supervisor", arguments, environment, drain_s=0, folder=folder)
        child = await launch(spec, watch_fd, stdout=said.fileno(), stderr=said.fileno())
        try:
            yield Supervised(folder, child, abandon=held.close)
        finally:
            child.kill()
            await child.ended()


async def until(holds: Callable[[], Any], within_s: float, what: str) -> None:
    """Ask until it holds; fails with `what` when it does not in time."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
        await asyncio.sleep(POLL_S)


def below(pid: int) -> set[int]:
    """The children of a process, and theirs."""
    children = {child for child, parent in _living().items() if parent == pid}
    return children.union(*(below(child) for child in children))


def parent_of(pid: int) -> int:
    return _living()[pid]


def all_gone(pids: Iterable[int]) -> bool:
    return not set(pids) & _living().keys()


def _living() -> dict[int, int]:
    """The parent of every process that has not ended, even if nobody has asked how it ended."""
    listed = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid=,stat="], check=True, capture_output=True, text=True
    )
    rows = (line.split() for line in listed.stdout.splitlines())
    return {int(pid): int(parent) for pid, parent, state in rows if not state.startswith("Z")}


async def get(port: int) -> str:
    """The status line of a plain GET."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
    line = await reader.readline()
    writer.close()
    return line.decode().strip()


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return probe.connect_ex(("127.0.0.1", port)) != 0
