"""The function that stands in for a `WebhookHook` where hooks are called."""

import ipaddress
import os
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from teambus.app.contexts import Delivery
from teambus.app.errors import DefinitionError
from teambus.app.hooks import BackgroundHook
from teambus.app.webhooks import WebhookHook, network, signing_keys
from teambus.contracts.output import RunOutput, TeamRunOutput
from teambus.contracts.run import RunCompleted
from teambus_hook_runner.webhooks import message
from teambus_hook_runner.webhooks.answers import settle
from teambus_hook_runner.webhooks.exchange import Place, post, refusal

PORTS = {"http": 80, "https": 443}
FIXED_HEADERS = {
    "content-type": "application/json",
    "accept-encoding": "identity",
    "user-agent": "teambus",
}


class Sender:
    """Sends one message for each run the webhook is called for.

    Raises `DefinitionError` when it is made, if its secret cannot be had or its url leads where a
    webhook may not go, as far as that can be known without asking the network.
    """

    def __init__(self, name: str, webhook: WebhookHook, networks: Iterable[str]) -> None:
        self._place = _place(name, webhook, networks)
        self._keys = _keys(name, webhook)

    async def __call__(
        self, *, completed: RunCompleted, run_output: TeamRunOutput | RunOutput, delivery: Delivery
    ) -> None:
        body = message.body(completed, run_output)
        id_ = message.webhook_id(delivery.idempotency_key)
        signed = message.signed(id_, body, self._keys, int(time.time()))
        answer = await post(self._place, {**FIXED_HEADERS, **signed}, body)
        settle(answer, time.time())


def sending(hook: BackgroundHook, networks: Iterable[str]) -> BackgroundHook:
    """The hook with a function that sends, if it is a webhook."""
    if hook.webhook is None:
        return hook
    return replace(hook, function=Sender(hook.name, hook.webhook, networks))


def _place(name: str, webhook: WebhookHook, networks: Iterable[str]) -> Place:
    url = webhook.address
    place = Place(
        host=url.hostname or "",
        port=url.port or PORTS[url.scheme],
        authority=url.netloc,
        target=(url.path or "/") + (f"?{url.query}" if url.query else ""),
        is_https=url.scheme == "https",
        networks=tuple(network(each) for each in (*webhook.networks_allowed, *networks)),
    )
    fixed = "127.0.0.1" if place.host == "localhost" else place.host
    if _is_address(fixed) and not place.may_reach(fixed):
        raise DefinitionError(f"webhook {name!r}: {place} {refusal(fixed)}")
    if not place.is_https and not place.networks:
        raise DefinitionError(
            f"webhook {name!r}: {place} is not https; use https, or allow the network it is in"
            " with WebhookHook(..., networks_allowed=[...])"
        )
    return place


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _keys(name: str, webhook: WebhookHook) -> list[bytes]:
    label = f"webhook {name!r}"
    secret: str | list[str] | None = webhook.secret
    if webhook.secret_env:
        label = f"{label}: the variable {webhook.secret_env}"
        secret = os.environ.get(webhook.secret_env)
        if secret is None:
            raise DefinitionError(f"{label} is not set; set it for the hook-runner")
    if webhook.secret_file:
        label = f"{label}: the file {webhook.secret_file}"
        secret = _read(label, webhook.secret_file)
    try:
        return signing_keys(secret or "")
    except ValueError as error:
        raise DefinitionError(f"{label}: {error}") from None


def _read(label: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise DefinitionError(f"{label} cannot be read: {why}") from None
