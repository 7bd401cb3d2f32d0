"""An answer in pieces comes to the same as a whole one, however the line cuts it or fails."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from teambus.contracts.catalogue import ToolDescription
from teambus.contracts.journal import ModelAnswer
from teambus.testing.model import ModelServer
from teambus_team_runner.models.clients import Clients, LeanClient
from teambus_team_runner.models.port import ModelError, ModelRequest
from teambus_team_runner.models.streaming import read_answer
from teambus_team_runner.models.wire import UnreadableAnswer
from tests.unit.test_models_openai_chat import QUICK, Tries, asking, message, model_at

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Ear:
    """Remembers every piece of text."""

    def __init__(self) -> None:
        self.pieces: list[str] = []

    def __call__(self, text: str) -> None:
        self.pieces.append(text)

    @property
    def text(self) -> str:
        return "".join(self.pieces)


def event(**chunk: Any) -> bytes:
    return b"data: " + msgspec.json.encode({"id": "x", "model": "gpt-7", **chunk}) + b"\n\n"


def says(finish_reason: str | None = None, **delta: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return event(choices=[choice])


def calls(**call: Any) -> bytes:
    return says(tool_calls=[call])


SPOKEN = b"".join(
    [
        b": a comment\n\n",
        says(role="assistant", content=""),
        says(content="Grüner "),
        says(content="Tee."),
        says("stop"),
        event(choices=[], usage={"prompt_tokens": 3, "completion_tokens": 2}),
        b"data: [DONE]\n\n",
    ]
)


async def read(body: bytes, *, size: int = 10_000, ear: Ear | None = None) -> ModelAnswer:
    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(body), size):
            yield body[at : at + size]

    return await read_answer(chunks(), "gpt", ear or Ear(), time.perf_counter())


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
async def test_the_pieces_are_the_same_however_the_line_cuts_them(
    size: int, line_end: bytes
) -> None:
    ear = Ear()

    answer = await read(SPOKEN.replace(b"\n", line_end), size=size, ear=ear)

    assert ear.pieces == ["", "Grüner ", "Tee."]
    assert (answer.content, answer.finish_reason, answer.model) == ("Grüner Tee.", "stop", "gpt-7")
    assert answer.provider_data == {"id": "x"}
    assert answer.metrics
    assert (answer.metrics.input_tokens, answer.metrics.total_tokens) == (3, 5)
    assert answer.metrics.time_to_first_token is not None
    assert answer.metrics.duration is not None
    assert answer.metrics.time_to_first_token <= answer.metrics.duration


async def test_tool_calls_are_put_together_side_by_side() -> None:
    body = b"".join(
        [
            calls(index=0, id="a", type="function", function={"name": "brew", "arguments": ""}),
            calls(index=1, id="b", type="function", function={"name": "stir", "arguments": '{"n"'}),
            calls(index=0, function={"arguments": '{"m":'}),
            calls(index=1, function={"arguments": ":1}"}),
            calls(index=0, function={"arguments": "3}"}),
            says("tool_calls"),
        ]
    )
    ear = Ear()

    answer = await read(body, ear=ear)

    brew, stir = answer.tool_calls
    assert (brew.id, brew.function.name, brew.function.arguments) == ("a", "brew", '{"m":3}')
    assert (stir.id, stir.function.name, stir.function.arguments) == ("b", "stir", '{"n":1}')
    assert (answer.content, ear.pieces) == (None, [])


async def test_tool_calls_without_numbers_begin_with_their_ids() -> None:
    body = b"".join(
        [
            calls(id="a", function={"name": "brew", "arguments": {"m": 3}}),
            calls(id="b", function={"name": "stir", "arguments": '{"n"'}),
            calls(function={"arguments": ":1}"}),
            says("tool_calls"),
        ]
    )

    answer = await read(body)

    assert [(call.id, call.function.arguments) for call in answer.tool_calls] == [
        ("a", '{"m":3}'),
        ("b", '{"n":1}'),
    ]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (says(content="Green"), "ended before it was finished"),
        (says(content="Green") + b"data: {nonsense\n\n", "malformed"),
        (says(content="Green") + event(error={"message": "overloaded"}), "error: overloaded"),
        (event(error="overloaded"), "error: overloaded"),
        (event(error={"code": 1}), "error: without a text"),
        (calls(index=0, function={"arguments": "{}"}) + says("tool_calls"), "without naming"),
        (b"<html>sorry</html>", "malformed"),
        (b"", "truncated"),
    ],
)
async def test_what_is_no_answer_says_why(body: bytes, why: str) -> None:
    with pytest.raises(UnreadableAnswer, match=why):
        await read(body)


async def test_a_refusal_is_heard_like_an_answer() -> None:
    ear = Ear()

    answer = await read(says(refusal="I ") + says(refusal="won't.") + says("stop"), ear=ear)

    assert answer.content == ear.text == "I won't."


async def test_a_provider_that_answers_in_one_piece_all_the_same_is_heard() -> None:
    body = b'{"id":"x",\n"choices":[{"message":{"content":"Green tea."},"finish_reason":"stop"}]}'
    ear = Ear()

    answer = await read(body, size=5, ear=ear)

    assert answer.content == ear.text == "Green tea."


async def test_what_follows_the_providers_last_word_takes_nothing_back() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield SPOKEN + b"data: {nonsense\n\n"
        raise ConnectionError("cut")

    answer = await read_answer(chunks(), "gpt", Ear(), time.perf_counter())

    assert answer.content == "Grüner Tee."


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


async def test_a_heard_answer_is_the_whole_answer_but_for_its_times_and_id(
    server: ModelServer, clients: Clients
) -> None:
    tool = ToolDescription(name="brew", description="Brews.", parameters={"type": "object"})
    brew = [{"name": "brew", "arguments": {"minutes": 3}}]
    await server.rules(
        [{"match": "now", "tool_calls": brew}, {"match": "tea", "reply": "Green tea."}]
    )
    model, ear = model_at(server.base_url, clients), Ear()

    for asked in ("tea?", "now"):
        request = ModelRequest([message("user", asked)], [tool])
        whole = await model.answer(request, Tries())
        heard = await model.answer(request, Tries(), ear)
        assert without_its_own(heard) == without_its_own(whole)

    assert ear.pieces == ["", "Green", " tea."]


def without_its_own(answer: ModelAnswer) -> ModelAnswer:
    assert answer.metrics
    metrics = msgspec.structs.replace(answer.metrics, duration=None, time_to_first_token=None)
    return msgspec.structs.replace(answer, metrics=metrics, provider_data=None)


async def test_the_pieces_are_heard_while_the_rest_is_still_to_come(
    server: ModelServer, clients: Clients
) -> None:
    await server.rules([{"match": "", "reply": "Green tea.", "chunk_delay_ms": 60_000}])
    heard: asyncio.Queue[str] = asyncio.Queue()
    model = model_at(server.base_url, clients, replace(QUICK, timeout_s=50))
    call = asyncio.create_task(model.answer(asking("tea?"), Tries(), heard.put_nowait))

    async with asyncio.timeout(10):
        assert await heard.get() == ""
    assert not call.done()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    (seen,) = await server.wait_for_ended(1)
    assert seen.outcome == "client gone"
    assert (await model.answer(asking("hello"), Tries())).content


@pytest.mark.parametrize(
    "rule",
    [{"status": 500}, {"garbage": True}, {"drop": True}, {"reply": "a b c", "drop_midway": True}],
)
async def test_trouble_in_a_stream_is_tried_again_each_try_announced(
    server: ModelServer, clients: Clients, rule: dict[str, Any]
) -> None:
    await server.rules([{"match": "", "times": 2, **rule}, {"match": "", "reply": "at last"}])
    tries, ear = Tries(), Ear()

    answer = await model_at(server.base_url, clients).answer(asking("hello"), tries, ear)

    assert answer.content == "at last"
    assert ear.text.endswith("at last")
    assert tries.count == 3


async def test_a_stream_that_always_breaks_is_an_error_after_the_last_try(
    server: ModelServer, clients: Clients
) -> None:
    await server.rules([{"match": "", "reply": "a b c d", "drop_midway": True}])
    tries = Tries()

    with pytest.raises(ModelError) as caught:
        await model_at(server.base_url, clients).answer(asking("hello"), tries, Ear())

    assert caught.value.code == "model_provider_error"
    assert tries.count == QUICK.attempts_max


async def test_a_stream_that_stops_in_the_middle_runs_into_the_timeout(
    server: ModelServer, clients: Clients
) -> None:
    await server.rules([{"match": "", "reply": "a b", "chunk_delay_ms": 60_000}])
    hasty = replace(QUICK, timeout_s=0.2, attempts_max=1)

    with pytest.raises(ModelError) as caught:
        await model_at(server.base_url, clients, hasty).answer(asking("hello"), Tries(), Ear())

    assert caught.value.code == "model_timeout_error"


async def test_answers_one_after_the_other_share_a_place_and_a_connection(
    server: ModelServer,
) -> None:
    narrow = replace(QUICK, connections_max=1)
    clients = Clients(narrow)
    model = model_at(server.base_url, clients, narrow)

    connections: set[int] = set()
    for _ in range(3):
        assert (await model.answer(asking("hello"), Tries(), Ear())).content
        client = clients.of(model.account)
        assert isinstance(client, LeanClient)
        (connection,) = client._connections._open
        connections.add(id(connection))

    assert len(connections) == 1
    await clients.aclose()


async def test_a_stream_is_asked_for_with_its_usage(server: ModelServer, clients: Clients) -> None:
    answer = await model_at(server.base_url, clients).answer(asking("hello"), Tries(), Ear())

    assert answer.metrics
    assert answer.metrics.total_tokens > 0
