"""What an answer means: taken, not now, not so, or never."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from teambus.app.errors import Permanent
from teambus_hook_runner.failures import NotNow

REDIRECTS = (301, 302, 303, 307, 308)
FOR_EVER = (301, 308)
"""Redirects that say that the address has changed for good."""
NEVER = (405, 410, 413, 414, 415, 422, 501)
"""Refusals of this message, or of all messages; the same one again would be refused again."""
WAIT = (429, 503)
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DATE = re.compile(r"\w{3}, (\d{2}) (\w{3}) (\d{4}) (\d{2}):(\d{2}):(\d{2}) GMT")


class SendFailed(Exception):
    """The receiver did not say that it has taken the message."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`excerpt` is how the body begins, for people."""

    status: int
    retry_after: str | None
    excerpt: str


def settle(answer: Answer, now_s: float) -> None:
    """Return when the message was taken; raise what says whether and when to try again."""
    status = answer.status
    if 200 <= status < 300:
        return
    said = f"answered {status}" + (f": {answer.excerpt}" if answer.excerpt else "")
    if status in REDIRECTS:
        said = f"answered {status}, which is not followed; give the url that it leads to"
    if status in NEVER or status in FOR_EVER:
        raise Permanent(said)
    after_s = retry_after_s(answer.retry_after, now_s) if status in WAIT else 0
    if after_s > 0:
        raise NotNow(said, after_s)
    raise SendFailed(said)


def retry_after_s(text: str | None, now_s: float) -> float:
    """Seconds, or until a date; 0 for what is neither."""
    text = (text or "").strip()
    if text.isdecimal() and text.isascii():
        return float(text[:9])
    if (found := _DATE.fullmatch(text)) is None or found[2] not in MONTHS:
        return 0
    day, year, hour, minute, second = (int(found[n]) for n in (1, 3, 4, 5, 6))
    try:
        at = datetime(year, MONTHS.index(found[2]) + 1, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return 0
    return max(0.0, at.timestamp() - now_s)
