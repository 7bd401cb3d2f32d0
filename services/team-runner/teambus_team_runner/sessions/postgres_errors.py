"""What PostgreSQL's refusals mean: which pass, and each in words for people."""

import psycopg
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from teambus_team_runner.sessions.errors import StoreUnavailable


class CommitLost(Exception):
    """The connection was lost during a commit: all of it was written, or nothing."""


# All that using the database may raise.
ERRORS = (SQLAlchemyError, psycopg.Error, CommitLost, OSError, TimeoutError)

_BUSY = "others are writing the same"
_AWAY = "it cannot be reached"
_READ_ONLY = "it is read-only"
_LATE = "it did not answer in time"
_GONE = "its tables are gone"
_FULL = "its disk is full"

_REASONS = {
    "40001": _BUSY,
    "40P01": _BUSY,
    "55P03": "what it is to write is locked by another",
    "57014": _LATE,
    "53100": _FULL,
    "53200": "it has no memory left",
    "53300": "it takes no more connections",
    "25006": _READ_ONLY,
    "42P01": _GONE,
    "3F000": _GONE,
    "42501": "its user may not do this",
    "25P03": _LATE,
}
_OF_ONE_SAVE = {"53100"}  # another save, a smaller one, may succeed
_PASS = {"40001", "40P01", "53300", "25006", "42P01", "3F000", "25P03"}
_PASS_CLASSES = {"08", "57"}  # of connections; of an operator's doing
_NEVER_PASS = {"57014"}  # a statement that took too long takes as long again

# The text is all there is of what happens before a connection is made.
_REFUSALS = {
    "password authentication failed": "the user or the password is wrong",
    "no password supplied": "it asks for a password, and none is given",
    "pg_hba.conf": "it lets this user in from nowhere, or not from here",
    "certificate": "its certificate, or this one, is not accepted",
    "does not exist": "it has no such database, or no such user",
    "not permitted to log in": "its user may not log in",
    "permission denied for database": "its user may not use this database",
}
_NOT_NOW = {
    "too many clients": "it takes no more connections",
    "too many connections": "it takes no more connections",
    "connection slots": "it takes no more connections",
    "session is read-only": _READ_ONLY,
    "server is in hot standby mode": _READ_ONLY,
}


def is_refusal(error: psycopg.OperationalError) -> bool:
    """Whether it was reached, and will not let this user in."""
    return _said(error, _REFUSALS) is not None


def passes(error: Exception) -> bool:
    cause = error.orig if isinstance(error, DBAPIError) else error
    if not isinstance(cause, psycopg.Error):
        return False
    if (state := cause.sqlstate) is None:
        lost = isinstance(cause, (psycopg.OperationalError, psycopg.InterfaceError))
        return lost and _said(cause, _REFUSALS) is None
    return state in _PASS or (state[:2] in _PASS_CLASSES and state not in _NEVER_PASS)


def unavailable(error: Exception) -> StoreUnavailable:
    match error:
        case (psycopg.Error() as cause) | DBAPIError(orig=psycopg.Error() as cause):
            return _refused(cause)
        case CommitLost():
            return StoreUnavailable("its connection was lost while it was writing")
        case TimeoutError():
            return StoreUnavailable(_LATE)
        case OSError():
            return StoreUnavailable(_AWAY)
        case _:
            return StoreUnavailable(f"it failed ({type(error).__name__})", shared=False)


def _refused(cause: psycopg.Error) -> StoreUnavailable:
    state = cause.sqlstate
    if state is None and isinstance(cause, (psycopg.OperationalError, psycopg.InterfaceError)):
        return StoreUnavailable(_said(cause, _REFUSALS | _NOT_NOW) or _AWAY)
    if state in _REASONS:
        return StoreUnavailable(_REASONS[state], shared=state not in _OF_ONE_SAVE)
    if state is not None and state[:2] in _PASS_CLASSES:
        return StoreUnavailable(_AWAY)
    return StoreUnavailable(f"it failed ({type(cause).__name__})", shared=False)


def _said(error: psycopg.Error, reasons: dict[str, str]) -> str | None:
    text = str(error)
    return next((reason for part, reason in reasons.items() if part in text), None)
