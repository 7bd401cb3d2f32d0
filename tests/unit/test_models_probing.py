"""What is found out about providers without asking a model anything."""

from typing import cast

import pytest

from teambus import OpenAIChat
from teambus.contracts.pool_api import ModelsChecked
from teambus_team_runner.models.catalogue import Models
from teambus_team_runner.models.limits import ModelLimits
from teambus_team_runner.models.port import MediaSource
from teambus_team_runner.models.probing import probed
from tests.support.provider import Provider, answer, serving
from tests.support.system import free_port

KEY = "sk-very-secret"
LISTED = b'{"object":"list","data":[{"id":"gpt-5.2"},{"id":"o9"}]}'


async def found(url: str, *names: str, key: str | None = KEY) -> list[ModelsChecked]:
    declared = [OpenAIChat(id=name, base_url=url, api_key=key) for name in names or ("gpt-5.2",)]
    async with Models(ModelLimits(), cast("MediaSource", None)) as models:
        return await probed(models, declared, wait_s=20)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (answer(LISTED), None),
        (answer(b'{"data":[]}'), None),
        (answer(b'{"data":[{"id":"other"}]}'), "missing"),
        (answer(b"<html>"), "unknown"),
        (answer(b"{}", status=b"404 Not Found"), "unknown"),
        (answer(b"{}", status=b"401 Unauthorized"), "refused"),
        (answer(b"{}", status=b"403 Forbidden"), "refused"),
        (answer(b"{}", status=b"500 Oops"), "unreached"),
        (b"not http", "unreached"),
    ],
)
async def test_each_answer_has_its_meaning(said: bytes, code: str | None) -> None:
    async with serving(Provider.answering(said)) as provider:
        (checked,) = await found(provider.base_url)
        assert all(each.startswith(b"GET /v1/models ") for each in provider.requests)
    assert checked.code == code
    assert (checked.detail is None) == (code is None)
    assert KEY not in repr(checked)


async def test_models_of_one_account_are_asked_for_once() -> None:
    async with serving(Provider.answering(answer(LISTED))) as provider:
        (checked,) = await found(provider.base_url, "o9", "gpt-5.2", "o9")
        assert len(provider.requests) == 1
    assert checked.models == ["gpt-5.2", "o9"]


async def test_nobody_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    (away,) = await found(f"http://127.0.0.1:{free_port()}/v1")
    assert away.code == "unreached"
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    (keyless,) = await found("http://127.0.0.1:1/v1", key=None)
    assert keyless.code == "refused"
    assert "OPENAI_API_KEY is not set" in (keyless.detail or "")
