"""The adapter against a scripted provider: what it asks, retries, gives up on, and never says."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import pytest_asyncio

from teambus.contracts.catalogue import ToolDescription
from teambus.contracts.output import ChatMessage
from teambus.testing.model import ModelServer
from teambus_team_runner.models.clients import Account, Clients
from teambus_team_runner.models.limits import ModelLimits
from teambus_team_runner.models.openai_chat import ChatModel
from teambus_team_runner.models.port import ModelError, ModelRequest
from tests.unit.media_fakes import FakeMedia

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "sk-very-secret"
QUICK = ModelLimits(backoff_s=0.001, backoff_max_s=0.01, timeout_s=5, deadline_s=20)


@dataclass
class Tries:
    """Counts the awaits of `before_try`, and fails from the n-th on when told to."""

    count: int = 0
    fail_at: int | None = None
    raised: Exception = field(default_factory=lambda: LookupError("fenced"))

    async def __call__(self) -> None:
        self.count += 1
        if self.fail_at is not None and self.count >= self.fail_at:
            raise self.raised


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def provider() -> AsyncIterator[ModelServer]:
    async with ModelServer() as server:
        yield server


@pytest_asyncio.fixture(loop_scope="module")
async def server(provider: ModelServer) -> AsyncIterator[ModelServer]:
    await provider.reset()
    yield provider
    await provider.reset()


@pytest_asyncio.fixture(loop_scope="module", params=["lean", "sdk"])
async def clients(request: pytest.FixtureRequest) -> AsyncIterator[Clients]:
    clients = Clients(replace(QUICK, client=request.param))
    yield clients
    await clients.aclose()


def model_at(
    base_url: str | None, clients: Clients, limits: ModelLimits = QUICK, **account: Any
) -> ChatModel:
    where = Account(api_key=KEY, base_url=base_url)
    return ChatModel(
        "gpt-test", "OpenAI", {}, replace(where, **account), clients, limits, FakeMedia()
    )


def asking(*texts: str) -> ModelRequest:
    return ModelRequest([message("user", text) for text in texts], [])


def message(role: str, content: str) -> ChatMessage:
    return ChatMessage(
        id="m", role=role, from_history=False, stop_after_tool_call=False, created_at=0,
        content=content,
    )  # fmt: skip


async def test_an_answer_has_text_tokens_and_time(server: ModelServer, clients: Clients) -> None:
    await server.rules([{"match": "tea", "reply": "Green tea."}])

    answer = await model_at(server.base_url, clients).answer(asking("tea?"), Tries())

    assert answer.content == "Green tea."
    assert answer.finish_reason == "stop"
    assert answer.metrics
    assert answer.metrics.total_tokens == answer.metrics.input_tokens + answer.metrics.output_tokens
    assert answer.metrics.duration


async def test_tool_calls_are_read(server: ModelServer, clients: Clients) -> None:
    await server.rules(
        [{"match": "tea", "tool_calls": [{"name": "brew", "arguments": {"minutes": 3}}]}]
    )
    tool = ToolDescription(name="brew", description="Brews.", parameters={"type": "object"})
    request = ModelRequest([message("user", "tea")], [tool])

    answer = await model_at(server.base_url, clients).answer(request, Tries())

    assert answer.content is None
    (call,) = answer.tool_calls
    assert call.id
    assert (call.function.name, call.function.arguments) == ("brew", '{"minutes":3}')


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ({"status": 500}, "model_provider_error"),
        ({"status": 503}, "model_provider_error"),
        ({"status": 429}, "model_rate_limit_error"),
        ({"garbage": True}, "model_answer_error"),
        ({"drop": True}, "model_provider_error"),
    ],
)
async def test_passing_trouble_is_tried_again_each_try_announced(
    server: ModelServer, clients: Clients, rule: dict[str, Any], code: str
) -> None:
    await server.rules([{"match": "", "times": 2, **rule}, {"match": "", "reply": "at last"}])
    tries = Tries()

    answer = await model_at(server.base_url, clients).answer(asking("hello"), tries)

    assert answer.content == "at last"
    assert tries.count == 3
    assert len(await server.calls()) == 3


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ({"status": 500, "error": "boom"}, "model_provider_error"),
        ({"status": 429}, "model_rate_limit_error"),
        ({"garbage": True}, "model_answer_error"),
        ({"drop": True}, "model_provider_error"),
    ],
)
async def test_lasting_trouble_is_an_error_after_the_last_try(
    server: ModelServer, clients: Clients, rule: dict[str, Any], code: str
) -> None:
    await server.rules([{"match": "", **rule}])
    tries = Tries()

    with pytest.raises(ModelError) as caught:
        await model_at(server.base_url, clients).answer(asking("hello"), tries)

    assert caught.value.code == code
    assert tries.count == QUICK.attempts_max
    assert len(await server.calls()) == QUICK.attempts_max


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ({"status": 400, "error": "no such model"}, "model_provider_error"),
        ({"status": 401, "error": f"bad key {KEY}"}, "model_authentication_error"),
        ({"status": 403}, "model_authentication_error"),
        ({"status": 429, "error_code": "insufficient_quota"}, "model_rate_limit_error"),
    ],
)
async def test_hopeless_calls_are_not_tried_again(
    server: ModelServer, clients: Clients, rule: dict[str, Any], code: str
) -> None:
    await server.rules([{"match": "", **rule}])

    with pytest.raises(ModelError) as caught:
        await model_at(server.base_url, clients).answer(asking("hello"), Tries())

    assert caught.value.code == code
    assert len(await server.calls()) == 1


async def test_an_error_says_what_the_provider_said_but_no_secret(
    server: ModelServer, clients: Clients
) -> None:
    await server.rules([{"match": "", "status": 400, "error": f"unknown model, key {KEY}"}])

    with pytest.raises(ModelError) as caught:
        await model_at(server.base_url, clients).answer(asking("hello"), Tries())

    assert "unknown model" in caught.value.message
    assert "HTTP 400" in caught.value.message
    assert KEY not in caught.value.message
    assert KEY not in repr(model_at(server.base_url, clients))


async def test_a_base_url_with_credentials_is_refused_unsaid(clients: Clients) -> None:
    with pytest.raises(ModelError, match="base URL") as caught:
        await model_at("http://name:password@x/v1", clients).answer(asking("hello"), Tries())

    assert "password@" not in caught.value.message


async def test_the_provider_may_ask_for_a_longer_wait_but_not_for_ever(
    server: ModelServer, clients: Clients
) -> None:
    await server.rules(
        [
            {"match": "", "times": 1, "status": 429, "retry_after_s": 0.25},
            {"match": "", "reply": "y"},
        ]
    )
    patient = replace(QUICK, backoff_max_s=10)
    begun = asyncio.get_running_loop().time()
    await model_at(server.base_url, clients, patient).answer(asking("hello"), Tries())
    waited_s = asyncio.get_running_loop().time() - begun
    assert waited_s >= 0.25

    await server.rules(
        [
            {"match": "", "times": 1, "status": 429, "retry_after_s": 3600},
            {"match": "", "reply": "y"},
        ]
    )
    async with asyncio.timeout(5):
        await model_at(server.base_url, clients).answer(asking("hello"), Tries())


async def test_a_model_that_hangs_runs_into_the_timeout(
    server: ModelServer, clients: Clients
) -> None:
    await server.rules([{"match": "", "hang": True}])
    hasty, tries = replace(QUICK, timeout_s=0.05, attempts_max=2), Tries()

    with pytest.raises(ModelError) as caught:
        await model_at(server.base_url, clients, hasty).answer(asking("hello"), tries)

    assert caught.value.code == "model_timeout_error"
    assert tries.count == 2


async def test_the_whole_call_ends_at_its_deadline(server: ModelServer, clients: Clients) -> None:
    await server.rules([{"match": "", "hang": True}])
    limits = replace(QUICK, deadline_s=0.1)

    with pytest.raises(ModelError, match=r"0\.1 s") as caught:
        await model_at(server.base_url, clients, limits).answer(asking("hello"), Tries())

    assert caught.value.code == "model_timeout_error"


async def test_what_before_try_raises_passes_and_nothing_is_asked(
    server: ModelServer, clients: Clients
) -> None:
    await server.rules([{"match": "", "status": 500}])

    with pytest.raises(LookupError, match="fenced"):
        await model_at(server.base_url, clients).answer(asking("hello"), Tries(fail_at=2))
    assert len(await server.calls()) == 1

    late = Tries(fail_at=1, raised=TimeoutError("the fence's own"))
    with pytest.raises(TimeoutError, match="the fence's own"):
        await model_at(server.base_url, clients).answer(asking("hello"), late)
    assert len(await server.calls()) == 1


async def test_a_provider_that_is_not_there_is_named_by_host(clients: Clients) -> None:
    tries = Tries()

    with pytest.raises(ModelError, match=r"127\.0\.0\.1") as caught:
        await model_at("http://127.0.0.1:9/v1", clients).answer(asking("hello"), tries)

    assert caught.value.code == "model_provider_error"
    assert tries.count == QUICK.attempts_max


async def test_an_answer_over_the_size_limit_is_refused(server: ModelServer) -> None:
    small = replace(QUICK, answer_bytes_max=1000, attempts_max=1)
    clients = Clients(small)
    await server.rules([{"match": "", "reply": "x" * 2000}])

    with pytest.raises(ModelError, match="1000 bytes") as caught:
        await model_at(server.base_url, clients, small).answer(asking("hello"), Tries())

    assert caught.value.code == "model_answer_error"
    await clients.aclose()


async def test_a_missing_key_is_said_when_it_is_needed(
    monkeypatch: pytest.MonkeyPatch, server: ModelServer, clients: Clients
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "not for models")
    model = model_at(server.base_url, clients, api_key=None)

    with pytest.raises(ModelError, match="OPENAI_API_KEY") as caught:
        await model.answer(asking("hello"), Tries())
    assert caught.value.code == "model_authentication_error"

    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert (await model.answer(asking("hello"), Tries())).content


async def test_a_key_from_a_file_is_for_models_that_name_none(
    monkeypatch: pytest.MonkeyPatch, server: ModelServer
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    given = Clients(QUICK, api_key=KEY)

    assert (
        await model_at(server.base_url, given, api_key=None).answer(asking("hello"), Tries())
    ).content
    await given.aclose()


@pytest.mark.parametrize("key", ["two\nlines", "schlüssel"])
async def test_a_key_no_header_can_carry_is_refused_unsaid(clients: Clients, key: str) -> None:
    with pytest.raises(ModelError, match="OPENAI_API_KEY") as caught:
        await model_at("http://x", clients, api_key=key).answer(asking("hello"), Tries())

    assert key not in caught.value.message


async def test_the_base_url_of_the_environment_is_respected(
    monkeypatch: pytest.MonkeyPatch, server: ModelServer, clients: Clients
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)

    answer = await model_at(None, clients).answer(asking("hello"), Tries())

    assert answer.content
    assert len(await server.calls()) == 1


async def test_models_of_one_account_share_a_client(clients: Clients) -> None:
    one, two = Account(KEY, "http://one/v1"), Account(KEY, "http://two/v1")

    assert clients.of(one) is clients.of(Account(KEY, "http://one/v1"))
    assert clients.of(one) is not clients.of(two)


async def test_calls_over_the_connection_limit_wait_before_they_are_announced(
    server: ModelServer,
) -> None:
    narrow = replace(QUICK, connections_max=1)
    clients = Clients(narrow)
    model = model_at(server.base_url, clients, narrow)
    await server.rules([{"match": "first", "hold": "gate", "reply": "one"}])
    first, second = Tries(), Tries()

    async with asyncio.TaskGroup() as group:
        group.create_task(model.answer(asking("first"), first))
        await server.wait_for_calls(1)
        group.create_task(model.answer(asking("second"), second))
        await asyncio.sleep(0)
        assert (first.count, second.count) == (1, 0)
        await server.release("gate")

    assert second.count == 1
    await clients.aclose()


async def test_a_cancelled_call_leaves_the_client_usable(
    server: ModelServer, clients: Clients
) -> None:
    await server.rules([{"match": "slow", "hang": True}])
    model = model_at(server.base_url, clients)
    call = asyncio.create_task(model.answer(asking("slow"), Tries()))
    await server.wait_for_calls(1)

    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    assert (await model.answer(asking("hello"), Tries())).content
