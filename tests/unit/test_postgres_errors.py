"""What PostgreSQL's refusals are taken for: which are tried again, and what people are told."""

import psycopg
import pytest
from psycopg import errors
from sqlalchemy.exc import DBAPIError

from teambus_team_runner.sessions.postgres_errors import CommitLost, passes, unavailable

LOST = psycopg.OperationalError("consuming input failed: server closed the connection unexpectedly")
REFUSED = psycopg.OperationalError('FATAL:  password authentication failed for user "ada"')
FULL_HOUSE = psycopg.OperationalError("FATAL:  sorry, too many clients already")

CASES = [
    (errors.SerializationFailure("secret"), True, "others are writing the same"),
    (errors.DeadlockDetected("secret"), True, "others are writing the same"),
    (errors.AdminShutdown("secret"), True, "it cannot be reached"),
    (errors.CannotConnectNow("secret"), True, "it cannot be reached"),
    (errors.ReadOnlySqlTransaction("secret"), True, "it is read-only"),
    (errors.UndefinedTable("secret"), True, "its tables are gone"),
    (LOST, True, "it cannot be reached"),
    (FULL_HOUSE, True, "it takes no more connections"),
    (DBAPIError("secret", {}, LOST), True, "it cannot be reached"),
    (REFUSED, False, "the user or the password is wrong"),
    (CommitLost(), False, "its connection was lost while it was writing"),
    (errors.LockNotAvailable("secret"), False, "what it is to write is locked by another"),
    (errors.QueryCanceled("secret"), False, "it did not answer in time"),
    (errors.DiskFull("secret"), False, "its disk is full"),
    (errors.NotNullViolation("secret"), False, "it failed (NotNullViolation)"),
    (TimeoutError("secret"), False, "it did not answer in time"),
]


@pytest.mark.parametrize(("error", "again", "reason"), CASES, ids=[repr(c[0])[:40] for c in CASES])
def test_a_refusal_is_tried_again_only_where_nothing_was_written_and_it_may_pass(
    error: Exception, again: bool, reason: str
) -> None:
    assert passes(error) is again
    assert unavailable(error).reason == reason
    assert "secret" not in str(unavailable(error))


@pytest.mark.parametrize("error", [errors.DiskFull(), errors.NotNullViolation()])
def test_what_fails_one_save_may_not_fail_another(error: Exception) -> None:
    assert not unavailable(error).shared
    assert unavailable(LOST).shared
