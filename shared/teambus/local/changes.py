"""Watching the user's Python files by their times: no extra package, the same on every system."""

import asyncio
import os
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

Snapshot = dict[str, tuple[int, int]]
NOT_THEIRS = {"__pycache__", "node_modules", "site-packages"}


class Changes:
    """The `*.py` files under a folder, compared with how they were when last asked."""

    def __init__(self, folder: Path, *, poll_s: float, files_max: int) -> None:
        self._folder = folder
        self._poll_s = poll_s
        self._files_max = files_max
        self._seen: Snapshot = {}

    async def begin(self) -> None:
        self._seen = await asyncio.to_thread(self._look)

    async def next(self) -> list[str]:
        """Wait for a change that has come to rest; returns the names of the files."""
        before = self._seen
        while (now := await self._look_after(self._poll_s)) == before:
            continue
        while (later := await self._look_after(self._poll_s / 5)) != now:
            now = later
        self._seen = now
        return self._different(before, now)

    async def _look_after(self, wait_s: float) -> Snapshot:
        await asyncio.sleep(wait_s)
        return await asyncio.to_thread(self._look)

    def _different(self, before: Snapshot, now: Snapshot) -> list[str]:
        return sorted(
            os.path.relpath(path, self._folder)
            for path in before.keys() | now.keys()
            if before.get(path) != now.get(path)
        )

    def _look(self) -> Snapshot:
        found: Snapshot = {}
        for folder, folders, files in os.walk(self._folder):
            folders[:] = [name for name in folders if _is_theirs(folder, name)]
            for name in files:
                if name.endswith(".py") and len(found) < self._files_max:
                    _add(found, os.path.join(folder, name))
        return found


def _is_theirs(folder: str, name: str) -> bool:
    is_venv = os.path.exists(os.path.join(folder, name, "pyvenv.cfg"))
    return not (name.startswith(".") or name in NOT_THEIRS or is_venv)


def _add(found: Snapshot, path: str) -> None:
    try:
        facts = os.stat(path)
    except FileNotFoundError:
        return
    found[path] = (facts.st_mtime_ns, facts.st_size)
