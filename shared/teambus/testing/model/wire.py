"""The part of the chat completions API that the server understands, and what it refuses.

Conversations are checked as strictly as the real API checks them, so that a client which loses
or misplaces a tool result fails here and not first in production.
"""

import hashlib
from collections.abc import Sequence
from typing import Literal

import msgspec

from teambus.testing.model.parts import Part, SeenFile

Role = Literal["system", "developer", "user", "assistant", "tool"]
FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


class FunctionCall(msgspec.Struct, frozen=True):
    name: str
    arguments: str


class ToolCall(msgspec.Struct, frozen=True):
    id: str
    function: FunctionCall
    type: str = "function"


class Message(msgspec.Struct, frozen=True):
    role: Role
    content: str | list[Part] | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content or () if part.text)


class FunctionSpec(msgspec.Struct, frozen=True):
    name: str


class ToolSpec(msgspec.Struct, frozen=True):
    type: str
    function: FunctionSpec | None = None


class StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool = False


class ChatRequest(msgspec.Struct, frozen=True):
    model: str
    messages: list[Message]
    tools: list[ToolSpec] | None = None
    tool_choice: str | dict[str, object] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    @property
    def files(self) -> list[SeenFile]:
        """What all messages show besides text, in order."""
        found = [part.seen() for _, parts in _in_parts(self.messages) for part in parts]
        return [seen for seen in found if seen is not None]

    @property
    def system_text(self) -> str:
        texts = [m.text for m in self.messages if m.role in ("system", "developer")]
        return texts[0] if len(texts) == 1 else "\n".join(texts)

    @property
    def user_text(self) -> str:
        """The last user message, or nothing when there is none."""
        at = self._last_user_index()
        return self.messages[at].text if at >= 0 else ""

    @property
    def recent(self) -> list[Message]:
        """The messages after the last user message."""
        return self.messages[self._last_user_index() + 1 :]

    @property
    def has_tool_results(self) -> bool:
        for message in reversed(self.messages):
            if message.role in ("tool", "user"):
                return message.role == "tool"
        return False

    @property
    def tool_names(self) -> list[str]:
        return [tool.function.name for tool in self.tools or () if tool.function]

    @property
    def wants_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    def _last_user_index(self) -> int:
        at = len(self.messages) - 1
        while at >= 0 and self.messages[at].role != "user":
            at -= 1
        return at


class ApiError(Exception):
    """An answer that is an error, in the API's own form."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind, usual_code = _KINDS.get(status, _UNKNOWN_KIND[status >= 500])
        self.code = code or usual_code
        self.retry_after_s = retry_after_s

    def body(self) -> bytes:
        error = {"message": self.message, "type": self.kind, "param": None, "code": self.code}
        return msgspec.json.encode({"error": error})


_UNKNOWN_KIND: dict[bool, tuple[str, str | None]] = {
    False: ("invalid_request_error", None),
    True: ("server_error", None),
}
_KINDS: dict[int, tuple[str, str | None]] = {
    401: ("invalid_request_error", "invalid_api_key"),
    404: ("invalid_request_error", "not_found"),
    429: ("requests", "rate_limit_exceeded"),
}

_decode_request = msgspec.json.Decoder(ChatRequest).decode
_encode = msgspec.json.Encoder().encode
_encode_canonical = msgspec.json.Encoder(order="deterministic").encode


def parse_request(body: bytes) -> ChatRequest:
    try:
        request = _decode_request(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ApiError(400, f"the request body is not a chat completion request: {error}") from None
    if mistake := _conversation_mistake(request.messages) or _part_mistake(request.messages):
        raise ApiError(400, mistake)
    return request


def digest_of(body: bytes) -> str:
    """The sha256 of the body with its keys sorted; of the bytes themselves if they are not JSON."""
    try:
        canonical = _encode_canonical(msgspec.json.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError):
        canonical = body
    return hashlib.sha256(canonical).hexdigest()


def conversation_digest(request: ChatRequest) -> str:
    """The same for a conversation whether or not its answer is to be streamed."""
    return hashlib.sha256(_encode((request.model, request.messages))).hexdigest()


def _conversation_mistake(messages: Sequence[Message]) -> str | None:
    if not messages:
        return "'messages' is empty; give at least one message"
    open_calls: set[str] = set()
    for at, message in enumerate(messages):
        if message.role == "tool":
            if message.tool_call_id not in open_calls:
                return (
                    f"messages[{at}] has role 'tool' but answers no open tool call: "
                    f"tool_call_id is {message.tool_call_id!r}"
                )
            open_calls.discard(message.tool_call_id)
        elif open_calls:
            return _unanswered(at, open_calls)
        if message.tool_calls:
            open_calls = {call.id for call in message.tool_calls}
    return _unanswered(len(messages), open_calls) if open_calls else None


def _part_mistake(messages: Sequence[Message]) -> str | None:
    for at, parts in _in_parts(messages):
        for part in parts:
            if mistake := part.mistake():
                return f"messages[{at}]: {mistake}"
    return None


def _in_parts(messages: Sequence[Message]) -> list[tuple[int, list[Part]]]:
    """Those that are not just text, by their index."""
    return [
        (at, message.content)
        for at, message in enumerate(messages)
        if isinstance(message.content, list)
    ]


def _unanswered(at: int, open_calls: set[str]) -> str:
    return (
        "an assistant message with 'tool_calls' must be followed by one tool message for each "
        f"'tool_call_id'; missing before messages[{at}]: {', '.join(sorted(open_calls))}"
    )
