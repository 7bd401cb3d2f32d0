"""What the server refused this process: a right it lacks, which no repeating mends."""

import re

import structlog

log = structlog.get_logger(__name__)

PERMISSIONS = "permissions violation"
REPLIES = ("_inbox.", "_r_.")
KEPT_MAX = 100
MEND = "compare its rights with what `teambus permissions` prints"


class Violations:
    """Those since the last connection: with a new one the rights may be others."""

    def __init__(self) -> None:
        self.last: str | None = None
        self._refused: set[str] = set()

    def note(self, text: str) -> bool:
        """Whether this is one; then it is in the log.

        A reply may be given once, on the connection that was asked; one that comes later is lost
        to who asked, and no sign that this process lacks a right.
        """
        if PERMISSIONS not in text.lower():
            return False
        kind, subject = _read(text)
        if kind == "publish" and subject.startswith(REPLIES):
            log.warning("a reply came too late to be let through", subject=subject)
            return True
        self.last = text
        if len(self._refused) < KEPT_MAX:
            self._refused.add(subject)
        log.error("not permitted on the bus", subject=subject, error=text)
        return True

    def has(self, subject: str) -> bool:
        """Whether saying something there was refused. The server tells it in small letters."""
        return bool(self._refused) and subject.lower() in self._refused

    def forget(self) -> None:
        self.last = None
        self._refused.clear()


def _read(text: str) -> tuple[str, str]:
    found = re.search(r'for (\w+) to "([^"]+)"', text, re.IGNORECASE)
    return ("", "") if found is None else (found[1].lower(), found[2].lower())
