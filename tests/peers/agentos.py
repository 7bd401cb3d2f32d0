"""The real AgentOS as a process, in a venv that `make peers` prepares from agno.lock."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from teambus.testing.model import ModelServer

ROOT = Path(__file__).parents[2]
VENV = ROOT / ".peers" / "agno"
"""Where Agno is, unless TEAMBUS_PEERS_AGNO names another venv."""
STOP_S = 10.0


def agno_python() -> str:
    """The Python of the venv with Agno in it."""
    python = Path(os.environ.get("TEAMBUS_PEERS_AGNO", VENV)) / "bin" / "python"
    assert python.exists(), f"{python} is missing: run `make peers`"
    return str(python)


@dataclass(frozen=True, slots=True)
class Served:
    """A server of the office and the model that its teams ask."""

    name: str
    url: str
    model: ModelServer


@asynccontextmanager
async def agentos(
    folder: Path, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Served]:
    """AgentOS with the office. It may still be starting: its socket listens, so requests wait."""
    async with ModelServer(log=folder / "calls.jsonl") as model:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            process = await _start(listening, model, folder, environment or {})
        try:
            yield Served("AgentOS", url, model)
        finally:
            await _stop(process)


async def _start(
    listening: socket.socket, model: ModelServer, folder: Path, more: Mapping[str, str]
) -> asyncio.subprocess.Process:
    environment = {
        "TEST_FOLDER": str(folder),
        "OPENAI_BASE_URL": model.base_url,
        "OPENAI_API_KEY": "scripted",
        "PYTHONPATH": "",
        **more,
    }
    with (folder / "agentos.log").open("wb") as log:
        return await asyncio.create_subprocess_exec(
            *(agno_python(), "-m", "tests.peers.apps.theirs", str(listening.fileno())),
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=asyncio.subprocess.PIPE,
            stdout=log,
            stderr=log,
            pass_fds=[listening.fileno()],
        )


async def _stop(process: asyncio.subprocess.Process) -> None:
    """It ends with its stdin, whatever is still open there."""
    assert process.stdin is not None, "stdin is a pipe"
    process.stdin.close()
    async with asyncio.timeout(STOP_S):
        await process.wait()
