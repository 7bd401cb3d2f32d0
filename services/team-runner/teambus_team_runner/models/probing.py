"""Asking providers whether they are there and accept the key, by the list of their models."""

import asyncio
from collections.abc import Iterable

import msgspec

from teambus.app.models import OpenAIChat
from teambus.contracts.pool_api import ModelsChecked
from teambus_team_runner.models.catalogue import Models
from teambus_team_runner.models.clients import Account, Client
from teambus_team_runner.models.failures import AUTHENTICATION, TRY_FAILURES, failure_of
from teambus_team_runner.models.port import ModelError

LISTLESS = ("404", "405", "501")
NAMED_MAX = 20


class _Listed(msgspec.Struct):
    id: str


class _List(msgspec.Struct):
    data: list[_Listed]


async def probed(
    models: Models, declared: Iterable[OpenAIChat], *, wait_s: float
) -> list[ModelsChecked]:
    """One finding for each account that these models are called as."""
    accounts: dict[Account, set[str]] = {}
    for each in declared:
        model = models.of(each)
        accounts.setdefault(model.account, set()).add(model.id)
    found = [_probe(models, account, sorted(names), wait_s) for account, names in accounts.items()]
    return list(await asyncio.gather(*found))


async def _probe(
    models: Models, account: Account, names: list[str], wait_s: float
) -> ModelsChecked:
    checked = ModelsChecked(where=account.base_url or "the model provider", models=names)
    try:
        client = models.client_of(account)
    except ModelError as error:
        checked.code, checked.detail = "refused", error.message
        return checked
    checked.where = client.where
    checked.code, checked.detail = await _asked(client, names, wait_s)
    return checked


async def _asked(client: Client, names: list[str], wait_s: float) -> tuple[str | None, str | None]:
    """A code and its detail; Nones where all is well."""
    try:
        async with asyncio.timeout(wait_s):
            listed = msgspec.json.decode(await client.listed(), type=_List)
    except TimeoutError:
        return "unreached", f"no answer within {wait_s:g} s"
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "unknown", "it answers, but with no list of models"
    except TRY_FAILURES as error:
        return _failed(failure_of(error, client.where).error)
    there = {each.id for each in listed.data}
    missing = [name for name in names if there and name not in there][:NAMED_MAX]
    if missing:
        return "missing", f"it does not list {', '.join(missing)}"
    return None, None


def _failed(error: ModelError) -> tuple[str, str]:
    if error.code == AUTHENTICATION:
        return "refused", error.message
    if any(f"HTTP {status}" in error.message for status in LISTLESS):
        return "unknown", "it answers, but lists no models, so whether the key is accepted is open"
    return "unreached", error.message
