"""Keys of the gateway's callers: made, listed and taken away in the file the gateway reads."""

import argparse
import os
import sys
import time
from pathlib import Path

import msgspec

from teambus.cli.options import UsageError
from teambus.runtime.api_keys import (
    ApiKey,
    ApiKeys,
    check_api_key,
    hash_of,
    is_expired,
    new_secret,
    read_api_keys,
    write_api_keys,
)

READABLE_BY_OWNER = 0o600


def run(options: argparse.Namespace) -> int:
    acts = {"new": _new, "list": _list, "remove": _remove}
    acts[options.act](options)
    return 0


def _new(options: argparse.Namespace) -> None:
    """The key is shown this once: nobody can tell it from its hash."""
    before = _read(options.file) if options.file and options.file.exists() else ApiKeys([])
    if any(key.id == options.id for key in before.keys):
        raise UsageError(f"there is a key {options.id!r}; remove it, or choose another id")
    secret = new_secret()
    key = _made(options, secret)
    if options.file is None:
        _say("the first line is the key, the rest its entry for TEAMBUS_API_KEYS_FILE")
        print(secret)
        print(msgspec.json.format(msgspec.json.encode(key), indent=2).decode())
        return
    _write(options.file, ApiKeys([*before.keys, key]))
    _say(f"its hash is in {options.file}; the key itself is shown only here:")
    print(secret)


def _list(options: argparse.Namespace) -> None:
    for key in _read(options.file).keys:
        until = "" if key.expires_at is None else f" until {key.expires_at.isoformat()}"
        late = " (expired)" if is_expired(key, time.time()) else ""
        user = "" if key.user_id is None else f" as {key.user_id}"
        print(f"{key.id}  {key.tenant}{user}: {' '.join(key.scopes)}{until}{late}")


def _remove(options: argparse.Namespace) -> None:
    keys = _read(options.file).keys
    left = [key for key in keys if key.id != options.id]
    if len(left) == len(keys):
        raise UsageError(f"{str(options.file)!r} has no key {options.id!r}")
    _write(options.file, ApiKeys(left))


def _made(options: argparse.Namespace, secret: str) -> ApiKey:
    try:
        key = ApiKey(
            id=options.id,
            sha256=hash_of(secret),
            scopes=options.scopes,
            tenant=options.tenant,
            user_id=options.user,
            expires_at=options.expires,
        )
        check_api_key(key)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return key


def _read(file: Path) -> ApiKeys:
    try:
        return read_api_keys(file.read_bytes())
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {str(file)!r}: {error}") from error


def _write(file: Path, keys: ApiKeys) -> None:
    """At once, so that the gateway never reads a half."""
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        # Made for nobody else to read before anything is in it.
        beside.touch(READABLE_BY_OWNER, exist_ok=False)
        beside.write_bytes(write_api_keys(keys))
        beside.replace(file)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise UsageError(f"cannot write {str(file)!r}: {error.strerror}") from error


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
