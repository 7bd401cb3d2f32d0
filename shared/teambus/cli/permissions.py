"""`teambus permissions`: who may do what on the bus, as a part of nats-server's configuration."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from teambus.bus.permissions import Rights

ACCOUNT = "TEAMBUS"
ANSWER_WITHIN = "1h"
"""How late a question may be answered: longer than any service waits."""
VARIABLE = re.compile(r'"(\$NKEY_\w+)"')


def accounts(everybody: Iterable[Rights], keys: Mapping[str, list[str]]) -> dict[str, Any]:
    """The accounts with their users, as nats-server takes them.

    Programs of a tenant's are kept in an account of their own: who may ask a server anything names
    where the answer goes, and within one account that may be any subject. Between two, only what
    is exported passes.
    """
    services: list[dict[str, Any]] = []
    exports: list[dict[str, Any]] = []
    found: dict[str, Any] = {
        ACCOUNT: {"jetstream": "enabled", "users": services, "exports": exports}
    }
    for rights in everybody:
        if rights.tenant is None:
            services += _users(rights, keys)
            continue
        name = f"{ACCOUNT}_{rights.tenant}"
        exports += [
            {"service": subject, "accounts": [name], "response_threshold": ANSWER_WITHIN}
            for subject in rights.asks
        ]
        exports += [{"stream": subject, "accounts": [name]} for subject in rights.hears]
        found[name] = {"users": _users(rights, keys), "imports": _imports(rights)}
    return found


def user(rights: Rights, key: str) -> dict[str, Any]:
    return {"nkey": key, **permissions(rights)}


def permissions(rights: Rights) -> dict[str, Any]:
    listed: dict[str, Any] = {
        "publish": {"allow": list(rights.publish)},
        "subscribe": {"allow": list(rights.subscribe)},
    }
    if rights.answers:
        listed["allow_responses"] = {"max": 1, "expires": ANSWER_WITHIN}
    return {"permissions": listed}


def variable(identity: str) -> str:
    """What stands for a key that is not known: nats-server takes it from its environment."""
    return "$NKEY_" + re.sub(r"\W", "_", identity).upper()


def as_configuration(found: Mapping[str, Any]) -> str:
    """For `include`; with variables for the keys that were not given."""
    listed = VARIABLE.sub(r"\1", json.dumps(found, indent=2))
    return f"accounts: {listed}\n"


def as_json(everybody: Iterable[Rights]) -> str:
    """The rights alone, by identity: for whoever makes JWTs of them."""
    listed = {
        rights.identity: {
            "account": ACCOUNT if rights.tenant is None else f"{ACCOUNT}_{rights.tenant}",
            **permissions(rights)["permissions"],
        }
        for rights in everybody
    }
    return json.dumps(listed, indent=2)


def _users(rights: Rights, keys: Mapping[str, list[str]]) -> list[dict[str, Any]]:
    """One for each key: while a key is replaced there are two."""
    return [user(rights, key) for key in keys.get(rights.identity) or [variable(rights.identity)]]


def _imports(rights: Rights) -> list[dict[str, Any]]:
    return [
        *({"service": {"account": ACCOUNT, "subject": subject}} for subject in rights.asks),
        *({"stream": {"account": ACCOUNT, "subject": subject}} for subject in rights.hears),
    ]
