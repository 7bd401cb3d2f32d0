"""An exception of a hook, in words that fit a frame."""

import contextlib
import sys
import traceback
from pathlib import Path

from teambus.app.errors import Permanent
from teambus_hook_runner.wire import Raised

ERROR_CHARS_MAX = 1000
TRACEBACK_BYTES_MAX = 32 * 1024
_OURS = str(Path(__file__).parent)


class NotNow(Exception):
    """Raised where a hook is told to come again, and when: not before `retry_after_s`."""

    def __init__(self, reason: str, retry_after_s: float) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


def failure(number: int, error: BaseException) -> Raised:
    code = "permanent" if isinstance(error, Permanent) else "raised"
    after_s = error.retry_after_s if isinstance(error, NotNow) else 0
    return Raised(number, code, describe(error), _traceback(error), after_s)


def describe(error: BaseException) -> str:
    name = type(error).__name__
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - an exception of the user's may fail at this too
        text = "(it cannot be shown)"
    return _sayable(f"{name}: {text}" if text else name)[:ERROR_CHARS_MAX]


def flush_prints() -> None:
    """Lines reach stdout as they are printed; this is for what has no end of line yet."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()


def _traceback(error: BaseException) -> str:
    try:
        shown = traceback.TracebackException.from_exception(error)
        shown.stack = _users_own(shown.stack)
        text = "".join(shown.format())
    except Exception:  # noqa: BLE001 - an exception of the user's may fail at this too
        return describe(error)
    # The end of a traceback says most.
    return _sayable(text).encode()[-TRACEBACK_BYTES_MAX:].decode("utf-8", "ignore")


def _sayable(text: str) -> str:
    """Half a character, as a broken file name has, cannot be sent."""
    return text.encode("utf-8", "replace").decode()


def _users_own(stack: traceback.StackSummary) -> traceback.StackSummary:
    return traceback.StackSummary.from_list([f for f in stack if not f.filename.startswith(_OURS)])
