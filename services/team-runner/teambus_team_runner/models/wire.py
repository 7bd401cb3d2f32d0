"""The chat completions format: a request to bytes, bytes to an answer."""

from collections.abc import Mapping
from typing import Any

import msgspec

from teambus.contracts.catalogue import ToolDescription
from teambus.contracts.journal import ModelAnswer
from teambus.contracts.output import ChatMessage, FunctionCall, Metrics, ToolCall
from teambus_team_runner.models.parts import Contents, Part, has_media, parts_of
from teambus_team_runner.models.port import ModelRequest

_ERROR_TEXT_LENGTH_MAX = 500


class UnreadableAnswer(ValueError):
    """The provider's body is not an answer."""


class _Message(msgspec.Struct, omit_defaults=True):
    role: str
    content: str | list[Part] | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None


class _Function(msgspec.Struct):
    name: str
    arguments: str | dict[str, Any] | None = None


class _ToolCall(msgspec.Struct):
    function: _Function
    id: str | None = None


class _Part(msgspec.Struct):
    text: str | None = None


class _Reply(msgspec.Struct):
    content: str | list[_Part] | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(msgspec.Struct):
    message: _Reply
    finish_reason: str | None = None


class _InputDetails(msgspec.Struct):
    cached_tokens: int | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: _InputDetails | None = None
    completion_tokens_details: _OutputDetails | None = None


class ProviderError(msgspec.Struct):
    message: str | None = None
    code: str | int | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice] | None = None
    id: str | None = None
    model: str | None = None
    usage: Usage | None = None
    error: ProviderError | str | None = None
    system_fingerprint: str | None = None


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Completion)


def encode_request(
    model_id: str,
    parameters: Mapping[str, Any],
    request: ModelRequest,
    roles: Mapping[str, str],
    *,
    stream: bool = False,
    contents: Contents | None = None,
) -> bytes:
    """The body of a request; `roles` maps our names of roles to the provider's, `contents` are
    those of the messages' files.
    """
    body: dict[str, Any] = {
        **parameters,
        "model": model_id,
        "messages": [_message(each, roles, contents or {}) for each in request.messages],
        "stream": stream,
    }
    if stream:
        body.setdefault("stream_options", {"include_usage": True})
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
    return _encoder.encode(body)


def decode_answer(data: bytes, model_id: str, duration_s: float) -> ModelAnswer:
    """Read an answer; raises `UnreadableAnswer` saying why it is none."""
    try:
        completion = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnreadableAnswer(str(error)) from error
    if not completion.choices:
        raise UnreadableAnswer(_why_no_choice(completion))
    choice = completion.choices[0]
    return ModelAnswer(
        content=_text(choice.message),
        tool_calls=[_call(call) for call in choice.message.tool_calls or []],
        finish_reason=choice.finish_reason,
        metrics=metrics_of(completion.usage or Usage(), duration_s),
        model=completion.model or model_id,
        provider_data=provider_data_of(completion.id, completion.system_fingerprint),
    )


def error_text(data: bytes) -> tuple[str | None, str | None]:
    """The code and the message of a provider's error body, as far as it has them."""
    try:
        error = _decoder.decode(data).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None, None
    if isinstance(error, ProviderError):
        return (str(error.code) if error.code is not None else None), error.message
    return None, error


def _message(message: ChatMessage, roles: Mapping[str, str], contents: Contents) -> _Message:
    content: str | list[Part] | None = message.content
    if has_media(message):
        content = parts_of(message, contents)
    if content is None and not message.tool_calls:
        content = ""
    return _Message(
        role=roles.get(message.role, message.role),
        content=content,
        tool_calls=message.tool_calls or None,
        tool_call_id=message.tool_call_id,
    )


def _tool(tool: ToolDescription) -> dict[str, Any]:
    return {"type": "function", "function": tool}


def _text(reply: _Reply) -> str | None:
    if isinstance(reply.content, list):
        return "".join(part.text or "" for part in reply.content) or reply.refusal
    return reply.content or reply.refusal


def _call(call: _ToolCall) -> ToolCall:
    arguments = arguments_text(call.function.arguments or "{}")
    function = FunctionCall(name=call.function.name, arguments=arguments)
    return ToolCall(id=call.id or "", function=function)


def arguments_text(arguments: str | dict[str, Any]) -> str:
    """JSON text, whichever of the two ways of writing arguments a provider has."""
    return arguments if isinstance(arguments, str) else _encoder.encode(arguments).decode()


def metrics_of(usage: Usage, duration_s: float) -> Metrics:
    given, made = usage.prompt_tokens or 0, usage.completion_tokens or 0
    cached = usage.prompt_tokens_details or _InputDetails()
    reasoned = usage.completion_tokens_details or _OutputDetails()
    return Metrics(
        input_tokens=given,
        output_tokens=made,
        total_tokens=usage.total_tokens or given + made,
        cache_read_tokens=cached.cached_tokens or 0,
        reasoning_tokens=reasoned.reasoning_tokens or 0,
        duration=round(duration_s, 6),
    )


def provider_data_of(id_: str | None, fingerprint: str | None) -> dict[str, Any] | None:
    data = {"id": id_, "system_fingerprint": fingerprint}
    return {key: value for key, value in data.items() if value is not None} or None


def error_in(error: ProviderError | str) -> str:
    """What an answer that is an error says."""
    text = error.message if isinstance(error, ProviderError) else error
    return f"it is an error: {(text or 'without a text')[:_ERROR_TEXT_LENGTH_MAX]}"


def _why_no_choice(completion: _Completion) -> str:
    return error_in(completion.error) if completion.error else "it has no choices"
