"""What spans say of models and messages, in the words of OpenTelemetry's conventions for GenAI."""

from typing import Any, TypeAlias

import msgspec

from teambus.contracts.journal import ModelAnswer
from teambus.contracts.output import ChatMessage, Metrics, ToolCall
from teambus.runtime.tracing import Value
from teambus_team_runner.models.port import Model, ModelRequest

Part: TypeAlias = dict[str, Any]

OPERATION = "gen_ai.operation.name"
PARAMETERS = {
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "max_tokens": "gen_ai.request.max_tokens",
    "max_completion_tokens": "gen_ai.request.max_tokens",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "presence_penalty": "gen_ai.request.presence_penalty",
    "seed": "gen_ai.request.seed",
}


def asked_of(model: Model) -> dict[str, Value]:
    """Which model is asked, and how."""
    given = {
        name: model.parameters[parameter]
        for parameter, name in PARAMETERS.items()
        if isinstance(model.parameters.get(parameter), int | float)
    }
    return {
        OPERATION: "chat",
        "gen_ai.provider.name": model.provider.lower(),
        "gen_ai.request.model": model.id,
        **given,
    }


def tokens(metrics: Metrics | None) -> dict[str, Value]:
    """What was paid for, where the provider says so."""
    if metrics is None or not metrics.total_tokens:
        return {}
    return {
        "gen_ai.usage.input_tokens": metrics.input_tokens,
        "gen_ai.usage.output_tokens": metrics.output_tokens,
    }


def said(request: ModelRequest, answer: ModelAnswer) -> dict[str, Value]:
    """What a model was shown and what it answered."""
    asked = [(each.role, _parts(each)) for each in request.messages]
    answered = [*_texts(answer.content), *map(_call, answer.tool_calls)]
    return {
        "gen_ai.input.messages": _told(*asked),
        "gen_ai.output.messages": _told(("assistant", answered)),
    }


def exchanged(asked: str, answer: str) -> dict[str, Value]:
    """What a run was asked and what it answered."""
    return {
        "gen_ai.input.messages": _told(("user", [_text(asked)])),
        "gen_ai.output.messages": _told(("assistant", [_text(answer)])),
    }


def _told(*messages: tuple[str, list[Part]]) -> str:
    """As the conventions have them: each a role and its parts."""
    told = [{"role": role, "parts": parts} for role, parts in messages]
    return msgspec.json.encode(told).decode()


def _parts(message: ChatMessage) -> list[Part]:
    if message.role == "tool":
        id_, response = message.tool_call_id, message.content
        return [{"type": "tool_call_response", "id": id_, "response": response}]
    return [*_texts(message.content), *map(_call, message.tool_calls or ())]


def _texts(text: str | None) -> list[Part]:
    return [_text(text)] if text else []


def _text(text: str) -> Part:
    return {"type": "text", "content": text}


def _call(call: ToolCall) -> Part:
    function = call.function
    return {
        "type": "tool_call",
        "id": call.id,
        "name": function.name,
        "arguments": function.arguments,
    }
