"""Turns an answer into the bytes of a completion, whole or as server-sent events."""

from collections.abc import Sequence

import msgspec

from teambus.testing.model.script import Answer
from teambus.testing.model.wire import (
    ChatRequest,
    FinishReason,
    FunctionCall,
    ToolCall,
    conversation_digest,
)

# A clock would make two identical requests differ.
CREATED = 1_700_000_000
_GAP = "the words go here"


class Usage(msgspec.Struct):
    """Tokens are words."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class CompletionMessage(msgspec.Struct):
    role: str
    content: str | None
    tool_calls: list[ToolCall] | msgspec.UnsetType = msgspec.UNSET
    refusal: None = None


class Choice(msgspec.Struct):
    index: int
    message: CompletionMessage
    finish_reason: FinishReason
    logprobs: None = None


class Completion(msgspec.Struct):
    id: str
    model: str
    choices: list[Choice]
    usage: Usage
    object: str = "chat.completion"
    created: int = CREATED


class FunctionDelta(msgspec.Struct, omit_defaults=True):
    arguments: str
    name: str | None = None


class ToolCallDelta(msgspec.Struct, omit_defaults=True):
    index: int
    function: FunctionDelta
    id: str | None = None
    type: str | None = None


class Delta(msgspec.Struct):
    role: str | msgspec.UnsetType = msgspec.UNSET
    content: str | msgspec.UnsetType | None = msgspec.UNSET
    tool_calls: list[ToolCallDelta] | msgspec.UnsetType = msgspec.UNSET


class DeltaChoice(msgspec.Struct):
    index: int
    delta: Delta
    finish_reason: FinishReason | None = None
    logprobs: None = None


class Chunk(msgspec.Struct):
    id: str
    model: str
    choices: list[DeltaChoice]
    usage: Usage | msgspec.UnsetType | None = msgspec.UNSET
    object: str = "chat.completion.chunk"
    created: int = CREATED


_encode = msgspec.json.Encoder().encode


def completion(request: ChatRequest, answer: Answer) -> bytes:
    digest = conversation_digest(request)
    calls = tool_calls(digest, answer) if answer.calls else msgspec.UNSET
    choice = Choice(0, CompletionMessage("assistant", answer.text, calls), answer.finish_reason)
    return _encode(Completion(_id(digest), request.model, [choice], usage_of(request, answer)))


def sse_chunks(request: ChatRequest, answer: Answer) -> list[bytes]:
    """One event per word of text and per half of each tool call's arguments."""
    digest = conversation_digest(request)
    answer_id, spare = _id(digest), None if request.wants_usage else msgspec.UNSET
    chunk = Chunk(answer_id, request.model, [], spare)
    events = [_event_of(chunk, DeltaChoice(0, Delta(role="assistant", content=_opening(answer))))]
    events += _text_events(chunk, answer.text or "")
    for at, call in enumerate(tool_calls(digest, answer)):
        deltas = (Delta(tool_calls=[part]) for part in _call_parts(at, call))
        events += [_event_of(chunk, DeltaChoice(0, delta)) for delta in deltas]
    events.append(_event_of(chunk, DeltaChoice(0, Delta(), answer.finish_reason)))
    if request.wants_usage:
        chunk.usage = usage_of(request, answer)
        events.append(_event_of(chunk))
    return [*events, b"data: [DONE]\n\n"]


def tool_calls(digest: str, answer: Answer) -> list[ToolCall]:
    """Ids follow from the conversation so far, so a longer one never repeats an earlier id."""
    return [ToolCall(f"call_{digest[:20]}{at:04x}", call) for at, call in enumerate(answer.calls)]


def usage_of(request: ChatRequest, answer: Answer) -> Usage:
    """Counts spaces: prompts are long, and nobody bills for these tokens."""
    asked = sum([_words(message.text) for message in request.messages])
    called = [call.function for message in request.messages for call in message.tool_calls or ()]
    asked += _words_of_calls(called)
    said = _words_of_calls(answer.calls) if answer.calls else 0
    said += _words(answer.text or "")
    return Usage(asked, said, asked + said)


def _opening(answer: Answer) -> str | None:
    return None if answer.text is None else ""


def _text_events(chunk: Chunk, text: str) -> list[bytes]:
    """Encodes the envelope once for all words."""
    envelope = _event_of(chunk, DeltaChoice(0, Delta(content=_GAP)))
    before, after = envelope.rsplit(_encode(_GAP), 1)
    return [before + _encode(piece) + after for piece in _pieces(text)]


def _event_of(chunk: Chunk, *choices: DeltaChoice) -> bytes:
    chunk.choices = list(choices)
    return b"data: " + _encode(chunk) + b"\n\n"


def _call_parts(at: int, call: ToolCall) -> list[ToolCallDelta]:
    arguments, middle = call.function.arguments, len(call.function.arguments) // 2
    return [
        ToolCallDelta(at, FunctionDelta("", call.function.name), call.id, "function"),
        ToolCallDelta(at, FunctionDelta(arguments[:middle])),
        ToolCallDelta(at, FunctionDelta(arguments[middle:])),
    ]


def _pieces(text: str) -> list[str]:
    """The words with the space before each; joined they are the text again."""
    if not text:
        return []
    first, *others = text.split(" ")
    pieces = [first, *(" " + word for word in others)]
    return [piece for piece in pieces if piece]


def _words(text: str) -> int:
    return text.count(" ") + 1 if text else 0


def _words_of_calls(calls: Sequence[FunctionCall]) -> int:
    return sum([2 + call.arguments.count(" ") for call in calls])


def _id(digest: str) -> str:
    return f"chatcmpl-{digest[:24]}"
