"""What the engine asks of a model, whoever serves it."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import msgspec

from teambus.app.models import OpenAIChat
from teambus.contracts.catalogue import ToolDescription
from teambus.contracts.ids import digest
from teambus.contracts.journal import ModelAnswer
from teambus.contracts.output import ChatMessage
from teambus_team_runner.models.parts import Contents, has_media, media_of

BeforeTry: TypeAlias = Callable[[], Awaitable[None]]
Heard: TypeAlias = Callable[[str], None]

_encoder = msgspec.json.Encoder(order="sorted")
_outgoing: ContextVar[Mapping[str, str] | None] = ContextVar("outgoing headers", default=None)


@contextmanager
def outgoing(headers: Mapping[str, str]) -> Iterator[None]:
    """Have these headers go with each request of the block; they are plain ASCII."""
    token = _outgoing.set(headers)
    try:
        yield
    finally:
        _outgoing.reset(token)


def outgoing_headers() -> Mapping[str, str] | None:
    return _outgoing.get()


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One turn's question: the whole transcript, and the tools the model may call."""

    messages: list[ChatMessage]
    tools: list[ToolDescription]


class ModelError(Exception):
    """A model that could not answer, after every try it was worth.

    `code` is stable and for programs. The message is for people and never holds a key, a header
    or a URL's credentials.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class MediaSource(Protocol):
    """Where models get the files they are shown."""

    def of(self, messages: Sequence[ChatMessage]) -> AbstractAsyncContextManager[Contents]:
        """What the files of these messages hold, while the block runs. Raises `ModelError`."""


class Model(Protocol):
    """One model as a team declared it."""

    @property
    def id(self) -> str: ...

    @property
    def provider(self) -> str: ...

    @property
    def parameters(self) -> Mapping[str, Any]:
        """What shapes the answer besides the messages, such as the temperature; no secrets."""

    async def answer(
        self, request: ModelRequest, before_try: BeforeTry, heard: Heard | None = None
    ) -> ModelAnswer:
        """Ask. Awaits `before_try` before every paid try, lets its exceptions through.

        With `heard` the answer's text is also given piece by piece, as it comes. What was heard
        before a try was broken off is void: the next one begins anew. Raises `ModelError`.
        """


class ModelSource(Protocol):
    """Where the engine gets the models that teams declare."""

    def of(self, declared: OpenAIChat) -> Model: ...


def request_digest(model: Model, request: ModelRequest) -> str:
    """What makes two requests the same answer: all that the model is shown, no ids or times."""
    shown = [
        (message.role, message.content, message.tool_call_id, message.tool_calls, *_files(message))
        for message in request.messages
    ]
    return digest(_encoder.encode((model.id, model.parameters, shown, request.tools)))


def _files(message: ChatMessage) -> list[str | None]:
    """Which files a message has: their storage keys are made from what is in them."""
    if not has_media(message):
        return []
    references = [(each.media_reference, each.url) for each in media_of(message)]
    return [reference.storage_key if reference else url for reference, url in references]
