"""Header names on the bus, and the CloudEvents headers of a message."""

from datetime import UTC, datetime

from teambus.contracts.ids import digest

MSG_ID = "Nats-Msg-Id"
EXPECTED_LAST_SUBJECT_SEQUENCE = "Nats-Expected-Last-Subject-Sequence"
BODY = "Teambus-Body"
"""Set when the body is too large for a message: the object's name in the store of large bodies."""
RUN_ID = "Teambus-Run-Id"
"""Optional on a run request: names the run when the body cannot be read; a subject token."""
NEW = "Teambus-New"
"""Optional on a run request: what the asker has just made, `run` or `run session`. Nobody else
can know such an id yet, so its runner need not look for what there is of it.
"""
NEW_RUN, NEW_SESSION = "run", "session"
ERROR_CODE = "Nats-Service-Error-Code"
ERROR_DETAIL = "Nats-Service-Error"
RETRY_AFTER = "Retry-After"
"""Beside an error that passes: in how many seconds it is worth asking again."""


def plain(value: str) -> str:
    """A header's value for any text: itself where it is plain, else its hash."""
    if value.isascii() and value.isprintable() and value == value.strip():
        return value
    return f"h_{digest(value.encode('utf-8', 'surrogatepass'), 32)}"


def cloud_event(id_: str, kind: str, source: str) -> dict[str, str]:
    """The `ce-*` headers of CloudEvents 1.0, binary mode."""
    return {
        "ce-specversion": "1.0",
        "ce-id": id_,
        "ce-type": f"dev.teambus.{kind}",
        "ce-source": source,
        "ce-time": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        "ce-datacontenttype": "application/json",
    }
