"""An answer that comes in pieces: server-sent events to the same answer as a whole body's.

Written against an iterator of byte chunks, so that it is the same for every client.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field

import msgspec

from teambus.contracts.journal import ModelAnswer
from teambus.contracts.output import FunctionCall, ToolCall
from teambus_team_runner.models.wire import (
    ProviderError,
    UnreadableAnswer,
    Usage,
    arguments_text,
    decode_answer,
    error_in,
    metrics_of,
    provider_data_of,
)

DONE = b"[DONE]"
AFTER_DONE_S = 1.0
"""How long the end of a body may take once all is said: a connection read to its end is kept."""


class _FunctionDelta(msgspec.Struct):
    name: str | None = None
    arguments: str | dict[str, object] | None = None


class _CallDelta(msgspec.Struct):
    function: _FunctionDelta | None = None
    index: int | None = None
    id: str | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[_CallDelta] | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    finish_reason: str | None = None
    index: int = 0


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    id: str | None = None
    model: str | None = None
    usage: Usage | None = None
    error: ProviderError | str | None = None
    system_fingerprint: str | None = None


_decoder = msgspec.json.Decoder(_Chunk)


async def read_answer(
    body: AsyncIterator[bytes], model_id: str, heard: Callable[[str], None], started: float
) -> ModelAnswer:
    """Read an answer to its end, handing each piece of its text to `heard`.

    `started` is the clock when it was asked for. A provider that answers in one piece all the
    same is heard at once. Raises `UnreadableAnswer` saying why it is no answer.
    """
    events = _Events(body)
    answer = _Assembly(heard, started)
    async with aclosing(events.data()) as data:
        async for each in data:
            answer.add(_chunk(each))
    if not answer.begun:
        return _in_one_piece(bytes(events.other), model_id, heard, started)
    return answer.finished(model_id)


class _Events:
    """The data of server-sent events, until the provider says that it is done.

    `other` is what stood before the first event: all of a body that has none.
    """

    def __init__(self, body: AsyncIterator[bytes]) -> None:
        self._body = body
        self._data: list[bytes] = []
        self._begun = False
        self.other = bytearray()

    async def data(self) -> AsyncGenerator[bytes, None]:
        async with aclosing(self._lines()) as lines:
            async for line in lines:
                data = self._take(line)
                if data == DONE:
                    await self._end()
                    return
                if data:
                    yield data

    async def _lines(self) -> AsyncGenerator[bytes, None]:
        """All lines, and an empty one at the end, for the last event may lack its own."""
        begun: list[bytes] = []
        async for chunk in self._body:
            first, *others = chunk.split(b"\n")
            begun.append(first)
            for line in others:
                yield b"".join(begun)
                begun = [line]
        yield b"".join(begun)
        yield b""

    def _take(self, line: bytes) -> bytes | None:
        """The data of the event that this line ends, if it ends one."""
        line = line.removesuffix(b"\r")
        if line.startswith(b"data:"):
            self._begun = True
            self._data.append(line[5:].lstrip(b" "))
        elif not line and self._data:
            data, self._data = b"\n".join(self._data), []
            return data
        elif not self._begun:
            self.other += line + b"\n"
        return None

    async def _end(self) -> None:
        # All was said: a line that is cut now, or never closed, takes nothing back.
        with suppress(Exception):
            async with asyncio.timeout(AFTER_DONE_S):
                async for _ in self._body:
                    pass


@dataclass(slots=True)
class _Call:
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)


class _Assembly:
    """An answer in the making."""

    def __init__(self, heard: Callable[[str], None], started: float) -> None:
        self.begun = False
        self._heard = heard
        self._started = started
        self._first_at: float | None = None
        self._text: list[str] = []
        self._calls: dict[int, _Call] = {}
        self._finish_reason: str | None = None
        self._usage: Usage | None = None
        self._model: str | None = None
        self._id: str | None = None
        self._fingerprint: str | None = None

    def add(self, chunk: _Chunk) -> None:
        self.begun = True
        self._id = self._id or chunk.id
        self._model = self._model or chunk.model
        self._fingerprint = self._fingerprint or chunk.system_fingerprint
        self._usage = chunk.usage or self._usage
        for choice in chunk.choices or ():
            if choice.index == 0:
                self._add_choice(choice)

    def finished(self, model_id: str) -> ModelAnswer:
        if self._finish_reason is None:
            raise UnreadableAnswer("it ended before it was finished")
        metrics = metrics_of(self._usage or Usage(), time.perf_counter() - self._started)
        if self._first_at is not None:
            metrics.time_to_first_token = round(self._first_at - self._started, 6)
        return ModelAnswer(
            content="".join(self._text) or None,
            tool_calls=[_call(call) for _, call in sorted(self._calls.items())],
            finish_reason=self._finish_reason,
            metrics=metrics,
            model=self._model or model_id,
            provider_data=provider_data_of(self._id, self._fingerprint),
        )

    def _add_choice(self, choice: _Choice) -> None:
        self._finish_reason = choice.finish_reason or self._finish_reason
        delta = choice.delta
        if delta is None:
            return
        text = delta.content if delta.content is not None else delta.refusal
        if (text or delta.tool_calls) and self._first_at is None:
            self._first_at = time.perf_counter()
        if text is not None:
            self._text.append(text)
            self._heard(text)
        for call in delta.tool_calls or ():
            self._add_call(call)

    def _add_call(self, delta: _CallDelta) -> None:
        call = self._calls.setdefault(self._place(delta), _Call())
        call.id = call.id or delta.id or ""
        if delta.function is not None:
            call.name = call.name or delta.function.name or ""
            if delta.function.arguments:
                call.arguments.append(arguments_text(delta.function.arguments))

    def _place(self, delta: _CallDelta) -> int:
        """Where the call stands; a provider that does not number them begins each with its id."""
        if delta.index is not None:
            return delta.index
        last = max(self._calls, default=-1)
        known = last >= 0 and delta.id in (None, "", self._calls[last].id)
        return last if known else last + 1


def _chunk(data: bytes) -> _Chunk:
    try:
        chunk = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnreadableAnswer(str(error)) from error
    if chunk.error:
        raise UnreadableAnswer(error_in(chunk.error))
    return chunk


def _call(call: _Call) -> ToolCall:
    if not call.name:
        raise UnreadableAnswer("it calls a tool without naming it")
    function = FunctionCall(name=call.name, arguments="".join(call.arguments) or "{}")
    return ToolCall(id=call.id, function=function)


def _in_one_piece(
    body: bytes, model_id: str, heard: Callable[[str], None], started: float
) -> ModelAnswer:
    answer = decode_answer(body, model_id, time.perf_counter() - started)
    if answer.content is not None:
        heard(answer.content)
    return answer
