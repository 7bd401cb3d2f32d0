"""Identifiers: how they are made, which are accepted, and how any text becomes a subject token."""

import hashlib
import re
import uuid
from typing import TypeAlias

Tenant: TypeAlias = str
TeamId: TypeAlias = str
RunId: TypeAlias = str
SessionId: TypeAlias = str
HookName: TypeAlias = str
EventId: TypeAlias = str

DEFAULT_TENANT: Tenant = "default"
ID_RULE = "1 to 64 of A-Z a-z 0-9 _ -"
TEXT_ID_LENGTH_MAX = 512
TEXT_ID_RULE = f"1 to {TEXT_ID_LENGTH_MAX} characters without NUL"

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_HASHED = "h_"


def is_id(value: str) -> bool:
    """Whether `value` may name a team, member, hook, app or tenant."""
    return _ID.match(value) is not None


def is_text_id(value: str) -> bool:
    """Whether `value` may name a run, session or user. Not every database can keep a NUL."""
    return 1 <= len(value) <= TEXT_ID_LENGTH_MAX and "\x00" not in value


def new_id() -> str:
    return str(uuid.uuid4())


def token(value: str) -> str:
    """A subject token for any text: itself where it can be one, else its hash.

    Text that looks like a hashed token is hashed too, so two different texts never meet.
    """
    if is_id(value) and not value.startswith(_HASHED):
        return value
    return _HASHED + digest(value.encode(), 32)


def keyed_run_id(tenant: Tenant, principal: str, route: str, key: str) -> RunId:
    """The run id of a submission with an `Idempotency-Key`: the same four, the same run."""
    return digest("\x00".join((tenant, principal, route, key)).encode(), 32)


def digest(data: bytes, length: int = 64) -> str:
    """The first `length` characters of the SHA-256 in lower-case hexadecimal."""
    return hashlib.sha256(data).hexdigest()[:length]


def completed_event_id(tenant: Tenant, team_id: TeamId, run_id: RunId) -> EventId:
    return f"{tenant}:{team_id}:{token(run_id)}:completed"
