"""Bytes to a provider and back, and how a declaration becomes a model."""

import msgspec
import pytest

from teambus.app.models import OpenAIChat
from teambus.contracts.catalogue import ToolDescription
from teambus.contracts.output import ChatMessage, FunctionCall, ToolCall
from teambus_team_runner.models.catalogue import Models
from teambus_team_runner.models.failures import asked_wait_s
from teambus_team_runner.models.limits import ModelLimits
from teambus_team_runner.models.openai_chat import ROLES
from teambus_team_runner.models.port import ModelRequest, request_digest
from teambus_team_runner.models.wire import UnreadableAnswer, decode_answer, encode_request
from tests.unit.media_fakes import FakeMedia

CALL = ToolCall(id="c1", function=FunctionCall(name="brew", arguments="{"))


def message(
    role: str,
    content: str | None = None,
    *,
    id_: str = "m",
    tool_calls: list[ToolCall] | None = None,
    tool_call_id: str | None = None,
) -> ChatMessage:
    return ChatMessage(
        id=id_,
        role=role,
        from_history=False,
        stop_after_tool_call=False,
        created_at=1,
        content=content,
        tool_calls=tool_calls,
        tool_call_id=tool_call_id,
    )


def test_a_transcript_is_sent_in_the_providers_words() -> None:
    messages = [
        message("system", "lead"),
        message("user", "tea?"),
        message("assistant", tool_calls=[CALL]),
        message("tool", "brewed", tool_call_id="c1"),
        message("assistant"),
    ]
    tool = ToolDescription(name="brew", description="Brews.", parameters={"type": "object"})

    body = msgspec.json.decode(
        encode_request("gpt", {"temperature": 0}, ModelRequest(messages, [tool]), ROLES)
    )

    assert body == {
        "model": "gpt",
        "temperature": 0,
        "stream": False,
        "messages": [
            {"role": "developer", "content": "lead"},
            {"role": "user", "content": "tea?"},
            {"role": "assistant", "tool_calls": [msgspec.to_builtins(CALL)]},
            {"role": "tool", "content": "brewed", "tool_call_id": "c1"},
            {"role": "assistant", "content": ""},
        ],
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "brew",
                    "description": "Brews.",
                    "parameters": {"type": "object"},
                },
            }
        ],
    }


def test_a_parameter_cannot_turn_the_request_into_another() -> None:
    body = encode_request("gpt", {"stream": True, "model": "x"}, ModelRequest([], []), ROLES)

    assert msgspec.json.decode(body) == {"model": "gpt", "messages": [], "stream": False}


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"<html>", "malformed"),
        (b"{}", "no choices"),
        (b'{"choices":[]}', "no choices"),
        (b'{"choices":[{}]}', "message"),
        (b'{"choices":[{"message":{"tool_calls":[{"id":"1"}]}}]}', "function"),
        (b'{"error":{"message":"overloaded"}}', "overloaded"),
        (b'{"error":"overloaded"}', "overloaded"),
        (b"\xff\xfe", "."),
    ],
)
def test_a_body_that_is_no_answer_is_refused_with_the_reason(body: bytes, why: str) -> None:
    with pytest.raises(UnreadableAnswer, match=why):
        decode_answer(body, "gpt", 0)


def test_loose_forms_of_answers_are_understood() -> None:
    parts = b'{"choices":[{"message":{"content":[{"type":"text","text":"a"},{"text":"b"}]}}]}'
    assert decode_answer(parts, "gpt", 0).content == "ab"

    refusal = b'{"choices":[{"message":{"content":null,"refusal":"I will not."}}]}'
    assert decode_answer(refusal, "gpt", 0).content == "I will not."

    objects = (
        b'{"choices":[{"message":{"tool_calls":[{"function":{"name":"f","arguments":{"a":1}}},'
        b'{"id":"x","function":{"name":"g"}}]}}]}'
    )
    first, second = decode_answer(objects, "gpt", 0).tool_calls
    assert (first.id, first.function.arguments) == ("", '{"a":1}')
    assert (second.id, second.function.arguments) == ("x", "{}")


def test_tokens_are_counted_in_all_kinds() -> None:
    body = (
        b'{"choices":[{"message":{"content":"x"}}],"usage":{"prompt_tokens":10,'
        b'"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":4},'
        b'"completion_tokens_details":{"reasoning_tokens":2}}}'
    )

    metrics = decode_answer(body, "gpt", 1.5).metrics

    assert metrics
    assert (metrics.input_tokens, metrics.output_tokens, metrics.total_tokens) == (10, 5, 15)
    assert (metrics.cache_read_tokens, metrics.reasoning_tokens, metrics.duration) == (4, 2, 1.5)


def test_retry_after_is_read_in_seconds_milliseconds_and_as_a_date() -> None:
    assert asked_wait_s({"retry-after": "7"}) == 7
    assert asked_wait_s({"retry-after-ms": "250", "retry-after": "7"}) == 0.25
    assert asked_wait_s({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0
    assert asked_wait_s({"retry-after": "soon"}) is None
    assert asked_wait_s({}) is None


async def test_a_declaration_brings_its_parameters_and_limits() -> None:
    declared = OpenAIChat(
        id="gpt", temperature=0.5, timeout=7, max_retries=0, request_params={"user": "u"}
    )
    async with Models(ModelLimits(), FakeMedia()) as models:
        model = models.of(declared)

    assert (model.id, model.provider) == ("gpt", "OpenAI")
    assert model.parameters == {"temperature": 0.5, "user": "u"}
    assert (model.limits.timeout_s, model.limits.attempts_max) == (7, 1)


async def test_a_digest_sees_what_the_model_sees_and_nothing_else() -> None:
    async with Models(ModelLimits(), FakeMedia()) as models:
        one, other = models.of(OpenAIChat(id="gpt")), models.of(OpenAIChat(id="gpt", seed=1))
    asked = ModelRequest([message("user", "tea")], [])

    same = request_digest(one, ModelRequest([message("user", "tea", id_="n")], []))

    assert same == request_digest(one, asked)
    assert same != request_digest(other, asked)
    assert same != request_digest(one, ModelRequest([message("user", "coffee")], []))
