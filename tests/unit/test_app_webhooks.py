"""A webhook as it is declared: what it is like, what is refused, and what is never shown."""

import base64
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from teambus import DefinitionError, WebhookHook
from teambus.app.describe import describe
from teambus.app.hooks import background_hooks
from teambus.app.webhooks import signing_keys
from tests.unit.app_parts import agent, app, team

declare: Any = WebhookHook
"""For what a type checker would not let pass."""
URL = "https://hooks.example.com/in?token=hush"


def secret(size: int = 32) -> str:
    return "whsec_" + base64.b64encode(b"s" * size).decode()


def test_a_webhook_is_a_background_hook_of_each_team_it_is_on() -> None:
    webhook = WebhookHook(URL, secret(), attempts_max=3, on=("ERROR",))
    bus = app(team(name="B", post_hooks=[webhook]), team(name="A", post_hooks=[webhook]))
    [hook] = background_hooks(bus)
    assert (hook.name, hook.teams) == ("app-webhook-hooks-example-com", ("a", "b"))
    assert (hook.is_async, hook.needs_session, hook.webhook) == (True, False, webhook)
    assert (hook.options.attempts_max, hook.options.on) == (3, ("ERROR",))


def test_a_webhook_with_a_name_has_that_name() -> None:
    bus = app(team(post_hooks=[WebhookHook(url=URL, secret=secret(), name="books")]))
    assert [hook.name for hook in background_hooks(bus)] == ["books"]


def test_a_webhook_on_a_member_is_a_hook_of_that_members_runs() -> None:
    member = agent(post_hooks=[WebhookHook(URL, secret(), name="books")])
    [hook] = background_hooks(app(team(members=[member])))
    assert hook.members == ("writer",)


def test_it_is_tried_for_the_better_part_of_an_hour_unless_told_otherwise() -> None:
    [hook] = background_hooks(app(team(post_hooks=[WebhookHook(URL, secret())])))
    assert 45 * 60 < hook.options.retry_budget_s < 60 * 60


def test_neither_url_nor_secret_is_in_what_is_said_of_it() -> None:
    webhook = WebhookHook(URL, [secret(24), secret(64)])
    said = msgspec.json.encode(describe(app(team(post_hooks=[webhook])))).decode()
    for text in (said, repr(webhook), str(webhook)):
        for hidden in ("hush", "/in", "whsec_", "c3Nz"):
            assert hidden not in text
    assert '"function":"WebhookHook"' in said


def test_several_secrets_are_several_keys() -> None:
    keys = [b"s" * 24, b"s" * 64]
    assert signing_keys([secret(24), secret(64)]) == keys
    assert signing_keys(f"  {secret(24)}\n{secret(64)}\n") == keys


async def test_it_is_called_by_nobody() -> None:
    with pytest.raises(RuntimeError, match="not called but sent, by the hook-runner"):
        await WebhookHook(URL, secret())()


def two_to_one_host() -> None:
    hooks = [WebhookHook(URL, secret()), WebhookHook(URL, secret())]
    app(team(post_hooks=hooks))


WRONG: list[tuple[str, Callable[[], object], str]] = [
    ("no url", WebhookHook, 'webhook: the url must be like "https://example.com/path"'),
    ("no host", lambda: WebhookHook("https:///x", secret()), "the url must be like"),
    ("no scheme", lambda: WebhookHook("example.com", secret()), "the url must be like"),
    ("another scheme", lambda: WebhookHook("ftp://example.com", secret()), "the url must be like"),
    ("a wrong port", lambda: WebhookHook("https://a:99999/", secret()), "the url cannot be read"),
    ("a wrong host", lambda: WebhookHook("https://[::1/", secret()), "the url cannot be read"),
    ("a space", lambda: WebhookHook("https://a/b c", secret()), "the url has spaces"),
    ("a line end", lambda: WebhookHook("https://a/b\r\nx: y", secret()), "the url has spaces"),
    ("a letter", lambda: WebhookHook("https://ä.de/", secret()), "beyond ASCII"),
    ("a user", lambda: WebhookHook("https://me@a/", secret()), "the url has a user or password"),
    ("no secret", lambda: WebhookHook(URL), "it has no secret; give one of secret, secret_env"),
    ("an empty secret", lambda: WebhookHook(URL, ""), "it has no secret"),
    ("blank secrets", lambda: WebhookHook(URL, [" "]), "the secret is empty"),
    (
        "two sources",
        lambda: WebhookHook(URL, secret(), secret_env="BOOKS"),
        "it has secret and secret_env; give one of",
    ),
    ("no prefix", lambda: WebhookHook(URL, "hush" * 9), "a secret must begin with whsec_"),
    ("no base64", lambda: WebhookHook(URL, "whsec_hush!"), "a secret must be base64 after whsec_"),
    ("a short one", lambda: WebhookHook(URL, secret(23)), "must be 24 to 64 bytes, one is 23"),
    ("a long one", lambda: WebhookHook(URL, [secret(), secret(65)]), "one is 65"),
    ("a secret that is none", lambda: declare(URL, 7), "secret is of type int"),
    (
        "an address for a network",
        lambda: WebhookHook(URL, secret(), networks_allowed=["10.0.0.1/8"]),
        "networks_allowed has '10.0.0.1/8': 10.0.0.1/8 has host bits set",
    ),
    (
        "an unknown option",
        lambda: declare(URL, secret(), timeout=3),
        "did you mean 'timeout_s'",
    ),
    ("a third by place", lambda: declare(URL, secret(), "x"), "options are given by name"),
    ("a url twice", lambda: declare(URL, url=URL), "options are given by name"),
    ("a wrong option", lambda: WebhookHook(URL, secret(), timeout_s=0), "timeout_s=0 must be"),
    (
        "too long a time",
        lambda: WebhookHook(URL, secret(), attempts_max=1000, backoff_s=0),
        "its attempts could take 7.2 days, at most 7 are allowed",
    ),
    (
        "ahead of the run",
        lambda: team(pre_hooks=[WebhookHook(URL, secret())]),
        "'webhook-hooks-example-com' is marked run_in_background",
    ),
    ("two of one name", two_to_one_host, "give one of them a name with WebhookHook(..., name="),
    (
        "too long a name",
        lambda: app(team(post_hooks=[WebhookHook(f"https://{'a.' * 40}com", secret())])),
        "give one with WebhookHook(..., name=...)",
    ),
]


@pytest.mark.parametrize(("wrong", "said"), [each[1:] for each in WRONG], ids=[w[0] for w in WRONG])
def test_what_is_wrong_is_said_and_no_secret_with_it(
    wrong: Callable[[], object], said: str
) -> None:
    with pytest.raises(DefinitionError) as caught:
        wrong()
    text = str(caught.value)
    assert said in text
    for hidden in ("hush", "me@", "c3Nz"):
        assert hidden not in text
