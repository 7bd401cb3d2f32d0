"""What rules make the scripted model server do, seen through the real OpenAI client."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
import pytest_asyncio

from teambus.testing.model import ModelServer, ModelServerError, Rule

TEA: list[Any] = [
    {"role": "system", "content": "You know drinks"},
    {"role": "user", "content": "tea"},
]
COFFEE: list[Any] = [{"role": "user", "content": "coffee"}]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_model() -> AsyncIterator[ModelServer]:
    async with ModelServer() as server:
        yield server


@pytest_asyncio.fixture
async def model(shared_model: ModelServer) -> ModelServer:
    await shared_model.reset()
    return shared_model


@pytest_asyncio.fixture
async def client(model: ModelServer) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=model.base_url, api_key="a key", max_retries=0, timeout=20
    ) as sdk:
        yield sdk


async def say(client: openai.AsyncOpenAI, messages: list[Any] = TEA, **more: Any) -> Any:
    return await client.chat.completions.create(model="gpt-test", messages=messages, **more)


async def text(client: openai.AsyncOpenAI, messages: list[Any] = TEA) -> str:
    return str((await say(client, messages)).choices[0].message.content)


async def outcomes(model: ModelServer, n: int = 1) -> list[str | None]:
    return [call.outcome for call in await model.wait_for_ended(n)]


async def test_a_reply_is_given_only_where_the_rule_matches(
    client: openai.AsyncOpenAI, model: ModelServer
) -> None:
    await model.rules([Rule(match="tea", reply="Green.")])
    assert await text(client) == "Green."
    assert await text(client, COFFEE) != "Green."


async def test_every_text_of_a_match_must_occur_somewhere(
    client: openai.AsyncOpenAI, model: ModelServer
) -> None:
    await model.rules([{"match": ["drinks", "tea"], "reply": "Both."}])
    assert await text(client) == "Both."
    assert await text(client, [{"role": "user", "content": "tea"}]) != "Both."


async def test_the_first_unspent_rule_wins(client: openai.AsyncOpenAI, model: ModelServer) -> None:
    await model.rules(
        [
            {"match": "tea", "reply": "late", "skip": 2, "times": 1},
            {"match": "tea", "reply": "once", "times": 1},
            {"match": "", "reply": "always"},
        ]
    )
    assert [await text(client) for _ in range(4)] == ["once", "always", "late", "always"]


async def test_a_rule_can_ask_for_a_model_and_for_tool_results(
    client: openai.AsyncOpenAI, model: ModelServer
) -> None:
    await model.rules(
        [
            {"match": "tea", "model": "another", "reply": "wrong"},
            {"match": "tea", "has_tool_results": True, "reply": "after"},
            {"match": "tea", "has_tool_results": False, "tool_calls": [{"name": "boil"}]},
        ]
    )
    turn = (await say(client)).choices[0].message
    result = {"role": "tool", "tool_call_id": turn.tool_calls[0].id, "content": "hot"}
    assert await text(client, [*TEA, turn.model_dump(exclude_none=True), result]) == "after"


async def test_tool_calls_come_as_the_rule_gives_them(
    client: openai.AsyncOpenAI, model: ModelServer
) -> None:
    calls = [{"name": "boil", "arguments": {"ml": 200}}, {"name": "pour", "arguments": "{not json"}]
    await model.rules([{"match": "tea", "tool_calls": calls, "reply": "A moment."}])
    choice = (await say(client)).choices[0]
    first, second = choice.message.tool_calls
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", "A moment.")
    assert json.loads(first.function.arguments) == {"ml": 200}
    assert second.function.arguments == "{not json"
    assert first.id != second.id


async def test_a_finish_reason_can_be_told(client: openai.AsyncOpenAI, model: ModelServer) -> None:
    await model.rules([{"match": "tea", "reply": "Gre", "finish_reason": "length"}])
    assert (await say(client)).choices[0].finish_reason == "length"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, openai.AuthenticationError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
    ],
)
async def test_a_status_is_answered_as_the_api_says_it(
    client: openai.AsyncOpenAI, model: ModelServer, status: int, error: type[openai.APIStatusError]
) -> None:
    await model.rules(
        [{"match": "", "status": status, "error": "not today", "retry_after_s": 0.25}]
    )
    with pytest.raises(error) as refused:
        await say(client)
    assert refused.value.body["message"] == "not today"  # type: ignore[index]  # a JSON object
    assert refused.value.response.headers["retry-after"] == "0.25"
    assert await outcomes(model) == [f"status {status}"]


async def test_a_client_that_retries_gets_past_a_spent_rule(
    client: openai.AsyncOpenAI, model: ModelServer
) -> None:
    await model.rules([{"match": "", "status": 429, "retry_after_s": 0.01, "times": 2}])
    await say(client.with_options(max_retries=3))
    assert await outcomes(model) == ["status 429", "status 429", "answered"]


async def test_garbage_is_not_json(client: openai.AsyncOpenAI, model: ModelServer) -> None:
    await model.rules([{"match": "", "garbage": True}])
    response = await client.chat.completions.with_raw_response.create(
        model="gpt-test", messages=TEA
    )
    with pytest.raises(json.JSONDecodeError):
        json.loads(response.text)
    assert await outcomes(model) == ["garbage"]


async def test_a_dropped_call_gets_no_response(
    client: openai.AsyncOpenAI, model: ModelServer
) -> None:
    await model.rules([{"match": "", "drop": True}])
    with pytest.raises(openai.APIConnectionError):
        await say(client)
    assert await outcomes(model) == ["dropped"]


async def test_a_reply_can_break_off_midway(client: openai.AsyncOpenAI, model: ModelServer) -> None:
    await model.rules([{"match": "", "reply": "one two three four", "drop_midway": True}])
    with pytest.raises(openai.APIConnectionError):
        await say(client)
    assert await outcomes(model) == ["dropped"]


async def test_a_stream_can_break_off_midway(
    client: openai.AsyncOpenAI, model: ModelServer
) -> None:
    await model.rules([{"match": "", "reply": "one two three four", "drop_midway": True}])
    heard = ""

    async def listen() -> None:
        nonlocal heard
        async for chunk in await say(client, stream=True):
            heard += chunk.choices[0].delta.content or ""

    with pytest.raises(openai.APIConnectionError):
        await listen()
    assert heard == "one two"
    assert await outcomes(model) == ["dropped"]


async def test_a_delay_goes_on_with_the_answer(
    client: openai.AsyncOpenAI, model: ModelServer
) -> None:
    usual = await text(client)
    await model.rules([{"match": "", "delay_ms": 80}])
    began = time.perf_counter()
    assert await text(client) == usual
    assert time.perf_counter() - began >= 0.08


async def test_a_slow_stream_arrives_piece_by_piece(
    client: openai.AsyncOpenAI, model: ModelServer
) -> None:
    await model.rules([{"match": "", "reply": "one two three", "chunk_delay_ms": 30}])
    # From before it is asked for: a busy client may be late for the first piece.
    began = time.perf_counter()
    times = [time.perf_counter() async for _ in await say(client, stream=True)]
    assert len(times) == 5
    assert times[-1] - began >= 0.09


async def test_a_held_call_is_answered_once_released(
    client: openai.AsyncOpenAI, model: ModelServer
) -> None:
    await model.rules([{"match": "tea", "hold": "kettle", "reply": "Now."}])
    held = asyncio.create_task(text(client))
    await model.wait_for_calls(1)
    assert await text(client, COFFEE)
    assert not held.done()
    await model.release("kettle")
    assert await held == "Now."
    assert await text(client) == "Now."  # an open gate stays open


async def test_new_rules_close_the_gates_and_leave_the_waiting_to_be_released(
    client: openai.AsyncOpenAI, model: ModelServer
) -> None:
    rule = {"match": "tea", "hold": "kettle", "reply": "Now."}
    await model.rules([rule])
    await model.release("kettle")
    assert await text(client) == "Now."
    await model.rules([rule])
    held = asyncio.create_task(text(client))
    await model.wait_for_calls(2)
    await model.rules([])
    await model.release("kettle")
    assert await held == "Now."


async def test_releasing_what_nothing_holds_is_a_mistake(model: ModelServer) -> None:
    with pytest.raises(ModelServerError, match="no rule holds 'ketle'"):
        await model.release("ketle")


@pytest.mark.parametrize(
    "action", [{"hang": True}, {"hold": "x"}, {"delay_ms": 60_000}, {"chunk_delay_ms": 60_000}]
)
async def test_a_client_that_goes_while_it_waits_is_seen(
    client: openai.AsyncOpenAI, model: ModelServer, action: dict[str, object]
) -> None:
    async def listen() -> None:
        async for _ in await say(client, stream=True):
            pass

    await model.rules([{"match": "", **action}])
    waiting = asyncio.create_task(listen())
    await model.wait_for_calls(1)
    waiting.cancel()
    assert await outcomes(model) == ["client gone"]


@pytest.mark.parametrize(
    ("rule", "mistake"),
    [
        ({"match": "x", "repyl": "y"}, "unknown field `repyl`"),
        ({"reply": "y"}, "missing required field `match`"),
        ({"match": "x"}, "it has no action"),
        ({"match": "x", "status": 200}, "400"),
        ({"match": "x", "status": 500, "drop": True}, "`status` and `drop` exclude each other"),
        ({"match": "x", "hang": True, "reply": "y"}, "`hang` and `reply` exclude each other"),
        ({"match": "x", "reply": "y", "retry_after_s": 1}, "`retry_after_s` needs `status`"),
        ({"match": "x", "reply": "y", "times": 0}, ">= 1"),
        ({"match": "x", "hold": "two words"}, "hold"),
    ],
)
async def test_a_malformed_rule_is_refused_and_the_old_rules_stay(
    client: openai.AsyncOpenAI, model: ModelServer, rule: dict[str, object], mistake: str
) -> None:
    await model.rules([{"match": "", "reply": "old"}])
    with pytest.raises(ModelServerError, match=mistake):
        await model.rules([rule])
    assert await text(client) == "old"
