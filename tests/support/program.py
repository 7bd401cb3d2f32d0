"""A user's program that serves itself, as a real process in folders of its own."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2

from tests.support.supervised import below, until

READY_S = 90
END_S = 30
REPLY_S = 60
GONE_S = 5


class Program:
    """One life of `command` in `folder`. Its data is in `.teambus` there, its words in `said`."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path) -> None:
        self.process = process
        self.folder = folder

    def said(self) -> str:
        return _text(self.folder / "said")

    def status(self) -> dict[str, Any]:
        """Empty until it serves."""
        text = _text(self.folder / ".teambus" / "status.json")
        status: dict[str, Any] = json.loads(text) if text else {}
        return status if _is_ready(status) else {}

    def family(self) -> set[int]:
        """It and every process below it."""
        return {self.process.pid, *below(self.process.pid)}

    async def ready(self) -> None:
        def holds() -> bool:
            assert self.process.returncode is None, self.said()
            return bool(self.status())

        await until(holds, READY_S, f"it serves; {self.said()}")

    async def post(self, message: str, team: str = "their-team") -> httpx2.Response:
        async with httpx2.AsyncClient(base_url=self.status()["url"], timeout=REPLY_S) as client:
            form = {"message": message, "stream": "false"}
            return await client.post(f"/teams/{team}/runs", data=form)

    async def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        async with asyncio.timeout(END_S):
            return await self.process.wait()


@asynccontextmanager
async def program(*command: str, folder: Path, **variables: str) -> AsyncIterator[Program]:
    """It serves when the block begins; killed, if it still runs, when the block ends."""
    async with _started(command, folder, variables) as started:
        await started.ready()
        yield started


@asynccontextmanager
async def _started(
    command: tuple[str, ...], folder: Path, variables: Mapping[str, str]
) -> AsyncIterator[Program]:
    with (folder / "said").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *command, env=shell(folder, **variables), cwd=folder, stdout=log, stderr=log
        )
    try:
        yield Program(process, folder)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def shell(folder: Path, **variables: str) -> dict[str, str]:
    """As a user's shell: no key, no bus, and a folder of its own for temporary data."""
    named = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "NATS_URL")
    kept = {name: value for name, value in os.environ.items() if name not in named}
    return {**kept, "TMPDIR": str(folder), **variables}


def _is_ready(status: dict[str, Any]) -> bool:
    services = {each["name"]: each["ready"] for each in status.get("services", [])}
    return "gateway" in services and all(services.values())


def _text(file: Path) -> str:
    return file.read_text() if file.exists() else ""
