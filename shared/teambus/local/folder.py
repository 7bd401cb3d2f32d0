"""The data folder: one supervisor at a time, and what it says about itself."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from teambus.local.errors import LocalError

LOCK = "lock"
STATUS = "status.json"


class DataFolder:
    """Held under an exclusive lock, which ends with the process that took it."""

    def __init__(self, path: Path, lock_fd: int) -> None:
        self.path = path
        self._lock_fd = lock_fd
        self._since = datetime.now(UTC).isoformat(timespec="seconds")

    @property
    def since(self) -> str:
        return self._since

    def note_holder(self, **facts: object) -> None:
        """What another one is told that wants this folder."""
        text = json.dumps({"pid": os.getpid(), "since": self._since, **facts})
        os.ftruncate(self._lock_fd, 0)
        os.pwrite(self._lock_fd, text.encode(), 0)

    def write_status(self, status: dict[str, Any]) -> None:
        draft = self.path / f"{STATUS}.new"
        draft.write_text(json.dumps(status, indent=2) + "\n", encoding="utf-8")
        draft.replace(self.path / STATUS)

    def forget_status(self) -> None:
        (self.path / STATUS).unlink(missing_ok=True)


@contextlib.contextmanager
def held(path: Path) -> Iterator[DataFolder]:
    """Raises `LocalError`, which says who holds the folder."""
    path = path.absolute()
    with _permitted(path):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        (path / ".gitignore").write_text("*\n", encoding="utf-8")
        lock_fd = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _lock(lock_fd, path)
        folder = DataFolder(path, lock_fd)
        folder.note_holder()
        try:
            yield folder
        finally:
            folder.forget_status()
    finally:
        os.close(lock_fd)


def read_status(path: Path) -> dict[str, Any] | None:
    """What the supervisor that holds this folder last said; None when there is none."""
    try:
        lock_fd = os.open(path / LOCK, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(path / STATUS) or _read(path / LOCK)
    finally:
        os.close(lock_fd)
    return None


def _lock(lock_fd: int, path: Path) -> None:
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise LocalError(f"{path} is in use {_holder(path)}") from error


def _holder(path: Path) -> str:
    said = _read(path / LOCK)
    port = f", on port {said['port']}" if "port" in said else ""
    return (
        f"by process {said.get('pid', 'unknown')} since {said.get('since', 'just now')}{port};"
        " stop it, or choose another folder with --data-dir (or TEAMBUS_DATA_DIR)"
    )


def _read(file: Path) -> dict[str, Any]:
    try:
        said = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


@contextlib.contextmanager
def _permitted(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LocalError(
            f"the data folder {path} cannot be used: {error.strerror};"
            " choose another with --data-dir (or TEAMBUS_DATA_DIR)"
        ) from error
