"""`teambus permissions`: read what apps there are, and print who may do what on their bus."""

import argparse
import re
from collections.abc import Iterable, Mapping

from teambus.bus.permissions import Rights, everybody
from teambus.cli import permissions
from teambus.cli.describing import described, read_descriptions
from teambus.cli.options import UsageError
from teambus.contracts.ids import ID_RULE, is_id

NKEY = re.compile(r"U[A-Z2-7]{55}\Z")


def run(options: argparse.Namespace, variables: Mapping[str, str]) -> int:
    if wrong := [tenant for tenant in options.tenants if not is_id(tenant)]:
        raise UsageError(f"{wrong[0]!r} is no tenant: {ID_RULE}")
    apps = read_descriptions(options.description) or [described(variables)]
    found = everybody(apps, options.tenants)
    keys = _keys(options.key, found)
    if options.format == "json":
        print(permissions.as_json(found))
    else:
        print(permissions.as_configuration(permissions.accounts(found, keys)), end="")
    return 0


def _keys(given: Iterable[str], found: Iterable[Rights]) -> dict[str, str]:
    """The public keys by identity."""
    known = {rights.identity for rights in found}
    keys = {}
    for text in given:
        identity, _, key = text.partition("=")
        if identity not in known:
            raise UsageError(f"nobody is called {identity!r}; there are {', '.join(sorted(known))}")
        if not NKEY.match(key):
            raise UsageError(f"the key of {identity} is no public NKey of a user (U...)")
        keys[identity] = key
    return keys
