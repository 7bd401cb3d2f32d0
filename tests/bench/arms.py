"""What is measured side by side: ours, Agno, a bare FastAPI endpoint, raw NATS request-reply."""

import asyncio
import os
import shutil
import socket
import sys
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

HERE = Path(__file__).parent
AGNO_LOCK = HERE.parent / "peers" / "agno.lock"
START_S = 60
INSTALL_S = 600


@dataclass(frozen=True, slots=True)
class Arm:
    """A server to load: where it listens and which processes are its own."""

    name: str
    port: int
    path: str
    pids: dict[str, int]

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds so far, user and system, of each process with its children."""
        return {name: _cpu_s(psutil.Process(pid)) for name, pid in self.pids.items()}


def _cpu_s(process: psutil.Process) -> float:
    family = [process, *process.children(recursive=True)]
    return sum(sum(each.cpu_times()[:2]) for each in family)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def server(
    name: str, python: str, module: str, path: str, *, folder: Path, environment: dict[str, str]
) -> AsyncIterator[Arm]:
    """`uvicorn module:app` in a process of its own, with uvloop and httptools, no access log."""
    port = free_port()
    with (folder / f"{module}.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(python, "-m", "uvicorn", f"{module}:app", "--port", str(port)),
            *("--log-level", "error", "--no-access-log", "--app-dir", str(HERE)),
            cwd=folder,
            env={**os.environ, **environment},
            stdout=log,
            stderr=log,
        )
    try:
        await _listening(port, process)
        yield Arm(name, port, path, {name: process.pid})
    finally:
        process.terminate()
        await process.wait()


async def _listening(port: int, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(START_S):
        while True:
            assert process.returncode is None, "it ended before it listened"
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return


async def agno_python(folder: Path) -> str | None:
    """The Python of a venv with Agno in it, made on the first use; None when it cannot be had."""
    python = folder / "bin" / "python"
    if (folder / "complete").exists():
        return str(python)
    shutil.rmtree(folder, ignore_errors=True)
    steps = [
        (sys.executable, "-m", "venv", str(folder)),
        (str(python), "-m", "pip", "install", "-q", "--require-hashes", "-r", str(AGNO_LOCK)),
    ]
    for step in steps:
        process = await asyncio.create_subprocess_exec(*step, stdout=DEVNULL, stderr=DEVNULL)
        async with asyncio.timeout(INSTALL_S):
            if await process.wait():
                return None
    (folder / "complete").touch()
    return str(python)
