"""The scripted model server, seen through the real OpenAI client: its script, log and life."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
import pytest_asyncio

from teambus.testing.model import ModelServer, ModelServerError

DELEGATE: Any = {
    "type": "function",
    "function": {
        "name": "delegate_task_to_member",
        "parameters": {
            "type": "object",
            "properties": {"member_id": {"type": "string"}, "task": {"type": "string"}},
        },
    },
}
OTHER: Any = {"type": "function", "function": {"name": "weather", "parameters": {}}}
LEADER = (
    "<team_members>\n"
    '<member id="researcher" name="Researcher">\n  Role: finds\n</member>\n'
    '<member id="writer" name="Writer">\n  Role: writes\n</member>\n'
    "</team_members>"
)
ASK: list[Any] = [
    {"role": "developer", "content": LEADER},
    {"role": "user", "content": "Tell me about green tea"},
]
PLAIN: list[Any] = [{"role": "user", "content": "green tea"}]


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
    async with client_of(model) as sdk:
        yield sdk


def client_of(model: ModelServer) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=model.base_url, api_key="a key", max_retries=0, timeout=20)


async def say(client: openai.AsyncOpenAI, messages: list[Any] = PLAIN, **more: Any) -> Any:
    return await client.chat.completions.create(model="gpt-test", messages=messages, **more)


async def streamed(client: openai.AsyncOpenAI, messages: list[Any], **more: Any) -> list[Any]:
    return [chunk async for chunk in await say(client, messages, stream=True, **more)]


def answered(messages: list[Any], turn: Any, results: dict[str, str]) -> list[Any]:
    """The conversation after the turn's calls have been answered, by member."""
    tools = [
        {
            "role": "tool",
            "tool_call_id": call.id,
            "content": results[json.loads(call.function.arguments)["member_id"]],
        }
        for call in turn.tool_calls
    ]
    return [*messages, turn.model_dump(exclude_none=True), *tools]


async def test_a_leader_delegates_to_every_member_in_one_turn(client: openai.AsyncOpenAI) -> None:
    choice = (await say(client, ASK, tools=[DELEGATE])).choices[0]
    asked = [json.loads(call.function.arguments) for call in choice.message.tool_calls]
    assert choice.finish_reason == "tool_calls"
    assert [each["member_id"] for each in asked] == ["researcher", "writer"]
    assert all("green tea" in each["task"] for each in asked)
    assert len({call.id for call in choice.message.tool_calls}) == 2


async def test_the_final_text_says_what_every_member_answered(client: openai.AsyncOpenAI) -> None:
    turn = (await say(client, ASK, tools=[DELEGATE])).choices[0].message
    results = {"researcher": "it is green", "writer": "it is tea"}
    final = (await say(client, answered(ASK, turn, results), tools=[DELEGATE])).choices[0]
    assert final.finish_reason == "stop"
    assert "researcher: it is green" in final.message.content
    assert "writer: it is tea" in final.message.content


async def test_a_new_question_in_the_same_conversation_is_delegated_with_new_ids(
    client: openai.AsyncOpenAI,
) -> None:
    first = (await say(client, ASK, tools=[DELEGATE])).choices[0].message
    history = answered(ASK, first, {"researcher": "a", "writer": "b"})
    history += [{"role": "assistant", "content": "done"}, ASK[1]]
    second = (await say(client, history, tools=[DELEGATE])).choices[0].message
    ids = [call.id for turn in (first, second) for call in turn.tool_calls]
    assert len(set(ids)) == 4


async def test_a_member_answers_from_its_instructions_and_task(client: openai.AsyncOpenAI) -> None:
    system = {"role": "system", "content": "<your_role>\nFind sources\n</your_role>"}
    text = (await say(client, [system, *PLAIN])).choices[0].message.content
    assert "Find sources" in text
    assert "green tea" in text


async def test_a_tool_no_rule_names_is_not_called(client: openai.AsyncOpenAI) -> None:
    choice = (await say(client, ASK, tools=[OTHER])).choices[0]
    assert choice.message.tool_calls is None
    forbidden = (await say(client, ASK, tools=[DELEGATE], tool_choice="none")).choices[0]
    assert forbidden.message.tool_calls is None


async def test_a_streamed_answer_is_the_same_answer(client: openai.AsyncOpenAI) -> None:
    whole = (await say(client)).choices[0].message.content
    chunks = await streamed(client, PLAIN)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole
    assert len(chunks) > 3
    assert chunks[-1].choices[0].finish_reason == "stop"


async def test_streamed_tool_calls_are_the_same_tool_calls(client: openai.AsyncOpenAI) -> None:
    whole = (await say(client, ASK, tools=[DELEGATE])).choices[0].message.tool_calls
    joined: dict[int, list[str]] = {}
    for chunk in await streamed(client, ASK, tools=[DELEGATE]):
        for part in chunk.choices[0].delta.tool_calls or ():
            known = joined.setdefault(part.index, ["", ""])
            known[0] += part.id or ""
            known[1] += part.function.arguments
    assert list(joined.values()) == [[call.id, call.function.arguments] for call in whole]


async def test_usage_counts_words_and_comes_last_when_streamed(client: openai.AsyncOpenAI) -> None:
    whole = await say(client)
    said = len(whole.choices[0].message.content.split())
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (2, said)
    *others, last = await streamed(client, PLAIN, stream_options={"include_usage": True})
    assert last.usage == whole.usage
    assert last.choices == []
    assert all(chunk.usage is None for chunk in others)


async def test_identical_requests_get_identical_answers(client: openai.AsyncOpenAI) -> None:
    answers = await asyncio.gather(*(say(client, ASK, tools=[DELEGATE]) for _ in range(5)))
    assert len({answer.model_dump_json() for answer in answers}) == 1


@pytest.mark.parametrize(
    ("messages", "mistake"),
    [
        ([], "empty"),
        ([{"role": "robot", "content": "x"}], "robot"),
        ([*PLAIN, {"role": "tool", "tool_call_id": "c1", "content": "x"}], "no open tool call"),
        (
            [
                *PLAIN,
                {
                    "role": "assistant",
                    "tool_calls": [
                        {
                            "id": "c1",
                            "type": "function",
                            "function": {"name": "f", "arguments": "{}"},
                        }
                    ],
                },
                *PLAIN,
            ],
            "missing before messages[2]: c1",
        ),
    ],
)
async def test_a_conversation_the_real_api_would_refuse_is_refused(
    client: openai.AsyncOpenAI, model: ModelServer, messages: list[Any], mistake: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await say(client, messages)
    assert mistake in refused.value.message
    assert [call.outcome for call in await model.calls()] == ["status 400"]


async def test_an_unknown_path_is_an_error_body(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="/v1/embeddings"):
        await client.embeddings.create(model="m", input="x")


async def test_every_call_is_remembered_and_logged_as_it_begins_and_ends(
    client: openai.AsyncOpenAI, model: ModelServer
) -> None:
    await say(client, ASK, tools=[DELEGATE, OTHER])
    (call,) = await model.calls()
    assert (call.model, call.last_role, call.outcome) == ("gpt-test", "user", "answered")
    assert call.last_content == "Tell me about green tea"
    assert call.system == LEADER[:200]
    assert call.tools == ("delegate_task_to_member", "weather")
    assert "OpenAI" in call.user_agent
    assert len(call.authorization) == 12
    begin, end = [json.loads(line) for line in model.log.read_text().splitlines()[-2:]]
    assert (begin["phase"], begin["outcome"]) == ("begin", None)
    assert (end["phase"], end["outcome"], end["digest"]) == ("end", "answered", begin["digest"])
    assert "a key" not in model.log.read_text()


async def test_the_digest_does_not_depend_on_the_order_of_keys(
    client: openai.AsyncOpenAI, model: ModelServer
) -> None:
    await say(client, [{"role": "user", "content": "x"}])
    await say(client, [{"content": "x", "role": "user"}])
    await say(client, [{"content": "y", "role": "user"}])
    same, other, different = [call.digest for call in await model.calls()]
    assert same == other != different


async def test_calls_can_be_counted_from_a_point(
    client: openai.AsyncOpenAI, model: ModelServer
) -> None:
    await say(client)
    await say(client, ASK)
    first, second = await model.calls()
    assert await model.calls(since=first.n) == [second]
    assert await model.wait_for_ended(1, since=first.n) == [second]
    with pytest.raises(TimeoutError, match="was not reached"):
        await model.wait_for_calls(2, timeout_s=0.05, since=first.n)


async def test_waiting_for_calls_ends_with_the_call_that_was_waited_for(
    client: openai.AsyncOpenAI, model: ModelServer
) -> None:
    waiting = asyncio.create_task(model.wait_for_calls(2))
    await say(client)
    assert not waiting.done()
    await say(client)
    assert len(await waiting) == 2


async def test_latency_comes_before_every_answer() -> None:
    async with ModelServer(latency_ms=80) as slow, client_of(slow) as client:
        began = time.perf_counter()
        await say(client)
        assert time.perf_counter() - began >= 0.08


async def test_an_open_call_does_not_keep_the_server_from_ending(tmp_path: Path) -> None:
    log = tmp_path / "calls.jsonl"
    hanging = [{"match": "", "hang": True}]
    async with ModelServer(rules=hanging, log=log) as server, client_of(server) as client:
        call = asyncio.create_task(say(client))
        await server.wait_for_calls(1)
        began = time.perf_counter()
        os.kill(server.pid, signal.SIGTERM)
        with pytest.raises(openai.APIConnectionError):
            await call
        assert time.perf_counter() - began < 2
    assert json.loads(log.read_text().splitlines()[-1])["outcome"] == "stopped"


async def test_a_reset_forgets_rules_and_calls(
    client: openai.AsyncOpenAI, model: ModelServer
) -> None:
    await model.rules([{"match": "", "reply": "ruled"}])
    await say(client)
    await model.reset()
    assert await model.calls() == []
    assert (await say(client)).choices[0].message.content != "ruled"
    assert len(await model.wait_for_ended(1)) == 1


def start(*arguments: str, **more: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-P", "-m", "teambus.testing.model", *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more
    )


def test_the_process_ends_when_its_parent_lets_go_of_the_pipe(tmp_path: Path) -> None:
    watch_fd, lifeline = os.pipe()
    log = tmp_path / "calls.jsonl"
    arguments = ("--log", str(log), "--watch-fd", str(watch_fd))
    with start(*arguments, pass_fds=[watch_fd]) as process:
        os.close(watch_fd)
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        assert ready["base_url"] == f"http://127.0.0.1:{ready['port']}/v1"
        os.close(lifeline)
        assert process.wait(2) == 0


async def test_a_taken_port_is_said_in_one_line(model: ModelServer) -> None:
    with start("--port", str(model.port)) as process:
        _, told = process.communicate(timeout=10)
    assert told.startswith(f"cannot listen on 127.0.0.1:{model.port}")
    assert len(told.splitlines()) == 1


def test_a_wrong_rule_in_the_file_is_named_at_the_start(tmp_path: Path) -> None:
    rules = tmp_path / "rules.json"
    rules.write_text('[{"match": "x"}]')
    with start("--rules", str(rules)) as process:
        _, told = process.communicate(timeout=10)
    assert process.returncode == 2
    assert "rule 0 (match 'x'): it has no action" in told
    assert "Traceback" not in told


async def test_a_server_that_cannot_start_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelServerError, match="did not start"):
        async with ModelServer(log=tmp_path / "missing" / "calls.jsonl"):
            pass
