"""What the model says when no rule tells it otherwise: a leader delegates, a member answers.

Pure: the same request always gets the same answer.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

import msgspec

from teambus.testing.model.wire import ChatRequest, FinishReason, FunctionCall, Message

DELEGATE = "delegate_task_to_member"
# An agent says the same with each call, so what is read there is remembered.
SYSTEM_TEXTS_MAX = 256

_MEMBER_ID = re.compile(r'<member id="([^"]+)"')
_TAG = re.compile(r"</?[a-z_]+[^>]*>")


@dataclass(frozen=True, slots=True)
class Answer:
    """One assistant turn."""

    text: str | None = None
    calls: tuple[FunctionCall, ...] = ()
    finish_reason: FinishReason = "stop"


class Delegation(msgspec.Struct, frozen=True):
    """What the leader says to `delegate_task_to_member`."""

    member_id: str = ""
    task: str = ""


_encode = msgspec.json.Encoder().encode
_decode_delegation = msgspec.json.Decoder(Delegation).decode


def tool_turn(calls: tuple[FunctionCall, ...], text: str | None = None) -> Answer:
    return Answer(text=text, calls=calls, finish_reason="tool_calls")


def scripted_answer(request: ChatRequest) -> Answer:
    if request.has_tool_results:
        return Answer(text=_summary(request))
    if delegations := _delegations(request):
        return tool_turn(delegations)
    return Answer(text=_sentence(request))


def _delegations(request: ChatRequest) -> tuple[FunctionCall, ...]:
    if DELEGATE not in request.tool_names or request.tool_choice == "none":
        return ()
    question = request.user_text
    return tuple(_delegation(member, question) for member in _members(request.system_text))


@lru_cache(maxsize=SYSTEM_TEXTS_MAX)
def _members(system_text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_MEMBER_ID.findall(system_text)))


def _delegation(member: str, question: str) -> FunctionCall:
    delegation = Delegation(member, f"As {member}, work on this: {question}")
    return FunctionCall(DELEGATE, _encode(delegation).decode())


def _summary(request: ChatRequest) -> str:
    """Says every result in full, so that a reader can see that each one arrived."""
    recent = request.recent
    authors = _authors(recent)
    results = [
        f"- {authors.get(message.tool_call_id or '', 'a tool')}: {message.text}"
        for message in recent
        if message.role == "tool"
    ]
    return "\n".join([f'Together we found this about "{request.user_text}":', *results])


def _authors(messages: list[Message]) -> dict[str, str]:
    return {
        call.id: _author(call.function) for message in messages for call in message.tool_calls or ()
    }


def _author(call: FunctionCall) -> str:
    try:
        return _decode_delegation(call.arguments).member_id or call.name
    except msgspec.DecodeError:
        return call.name


def _sentence(request: ChatRequest) -> str:
    asked = request.user_text or "nothing in particular"
    instruction = _first_instruction(request.system_text)
    if instruction:
        return f'Following the instruction "{instruction}", my answer to "{asked}" is ready.'
    return f'My answer to "{asked}" is ready.'


@lru_cache(maxsize=SYSTEM_TEXTS_MAX)
def _first_instruction(system_text: str) -> str:
    lines = (_TAG.sub("", line).strip(" -*\t") for line in system_text.splitlines())
    return next((line for line in lines if line), "")
