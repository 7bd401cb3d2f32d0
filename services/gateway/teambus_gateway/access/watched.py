"""Files of keys that are looked at again while the gateway runs, so that keys are exchanged without
a restart.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

import structlog

log = structlog.get_logger(__name__)

T = TypeVar("T")
_Look: TypeAlias = tuple[int, int, int]

FILE_BYTES_MAX = 8 * 1024 * 1024


class Watched(Generic[T]):
    """What a file says. One that has become unreadable or wrong still says what it said before:
    a key that is to be withdrawn is withdrawn by a file that can be read.
    """

    def __init__(self, path: Path, read: Callable[[bytes], T], *, look_s: float) -> None:
        """Raises `OSError`, or what `read` raises, when it cannot be read now."""
        self._path = path
        self._read = read
        self._look_s = look_s
        self._seen = self._look()
        self._value = read(self._content())
        self._looked_at = time.monotonic()
        self.version = 1

    def current(self) -> T:
        """Looks at the file at most every `look_s`."""
        now = time.monotonic()
        if now - self._looked_at >= self._look_s:
            self._looked_at = now
            self._refresh()
        return self._value

    def _refresh(self) -> None:
        try:
            seen = self._look()
            if seen == self._seen:
                return
            self._value = self._read(self._content())
        except (OSError, ValueError) as error:
            log.error("a file of keys cannot be read again", file=str(self._path), why=str(error))
            return
        self._seen = seen
        self.version += 1
        log.info("a file of keys was read again", file=str(self._path))

    def _look(self) -> _Look:
        """Through links: Kubernetes exchanges a secret by turning a link."""
        found = os.stat(self._path)
        return found.st_mtime_ns, found.st_ino, found.st_size

    def _content(self) -> bytes:
        if self._seen[2] > FILE_BYTES_MAX:
            raise ValueError(f"larger than {FILE_BYTES_MAX} bytes")
        return self._path.read_bytes()
