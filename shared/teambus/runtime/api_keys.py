"""API keys: how one is made, and the file that says who has one. The file has only their hashes.

It is here because the command that makes keys and the gateway that checks them share it.
"""

import hashlib
import secrets
from datetime import UTC, datetime
from typing import Annotated

import msgspec

from teambus.contracts.ids import DEFAULT_TENANT, ID_RULE, TEXT_ID_LENGTH_MAX, Tenant, is_id

PREFIX = "tbk_"
"""With which every key begins: it is told from a token, and found where it does not belong."""
SECRET_BYTES = 32

Hash = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
Scope = Annotated[str, msgspec.Meta(min_length=1, max_length=512)]


class ApiKey(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """Who has a key, and what it is good for. `sha256` is the hash of the whole key."""

    id: str
    sha256: Hash
    scopes: Annotated[list[Scope], msgspec.Meta(min_length=1)]
    tenant: Tenant = DEFAULT_TENANT
    user_id: Annotated[str, msgspec.Meta(min_length=1, max_length=TEXT_ID_LENGTH_MAX)] | None = None
    expires_at: datetime | None = None


class ApiKeys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of the file."""

    keys: list[ApiKey]


def hash_of(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def new_secret() -> str:
    return PREFIX + secrets.token_urlsafe(SECRET_BYTES)


def read_api_keys(data: bytes) -> ApiKeys:
    """Raises `ValueError` that says what is wrong, and no hash."""
    try:
        found = msgspec.json.decode(data, type=ApiKeys)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"not a file of keys: {error}") from error
    for key in found.keys:
        check_api_key(key)
    ids = [key.id for key in found.keys]
    for twice, what in (([key.sha256 for key in found.keys], "hash"), (ids, "id")):
        if len(set(twice)) < len(twice):
            raise ValueError(f"two keys have the same {what}")
    return found


def check_api_key(key: ApiKey) -> None:
    """Raises `ValueError`."""
    for what, value in (("id of a key", key.id), ("tenant", key.tenant)):
        if not is_id(value):
            raise ValueError(f"{value!r} is no {what}: {ID_RULE}")
    if key.expires_at is not None and key.expires_at.tzinfo is None:
        raise ValueError(f"expires_at of the key {key.id!r} has no time zone; end it with Z")


def is_expired(key: ApiKey, now: float) -> bool:
    return key.expires_at is not None and datetime.fromtimestamp(now, UTC) >= key.expires_at


def write_api_keys(keys: ApiKeys) -> bytes:
    return msgspec.json.format(msgspec.json.encode(keys), indent=2) + b"\n"
