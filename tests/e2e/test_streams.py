"""Streams through the whole system: what is told, and that nothing cuts it for good."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from tests.e2e.conftest import APPS
from tests.support.processes import Process
from tests.support.sse import EventSource, SseEvent, numbers
from tests.support.system import System, system_of, until

pytestmark = pytest.mark.timeout(180)

RUNS = "/teams/content-team/runs"


@asynccontextmanager
async def streaming(client: httpx2.AsyncClient, **form: str) -> AsyncIterator[EventSource]:
    async with client.stream("POST", RUNS, data={"message": "Write", **form}) as response:
        assert response.status_code == 200, await response.aread()
        yield EventSource(response)


@asynccontextmanager
async def following(
    client: httpx2.AsyncClient, run_id: str, last: int | None = None
) -> AsyncIterator[EventSource]:
    headers = {} if last is None else {"Last-Event-ID": str(last)}
    async with client.stream("GET", f"{RUNS}/{run_id}/events", headers=headers) as response:
        yield EventSource(response)


@asynccontextmanager
async def second_gateway(story: System) -> AsyncIterator[tuple[Process, httpx2.AsyncClient]]:
    port = str(story.port + 1)
    environment = {**story.environment, "GATEWAY_PORT": port}
    process = Process("teambus_gateway", environment, story.folder / "gateway-2.log")
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        await process.start()
        try:
            yield process, client
        finally:
            await process.close()


def is_last_word(event: SseEvent) -> bool:
    return event.event in ("TeamRunCompleted", "TeamRunError", "TeamRunCancelled")


async def test_a_stream_tells_what_the_leader_and_each_member_do(story: System) -> None:
    async with streaming(story.client, session_id="s") as source:
        events = await source.rest()
    names = [event.event for event in events]
    assert numbers(events) == list(range(len(events)))
    assert (names[0], names[-1]) == ("TeamRunStarted", "TeamRunCompleted")
    assert [event for event in events if is_last_word(event)] == [events[-1]]
    last = events[-1].data
    polled = await story.client.get(f"{RUNS}/{last['run_id']}", params={"session_id": "s"})
    run = polled.json()
    assert (run["status"], run["content"]) == ("COMPLETED", last["content"])
    assert run["member_responses"] == last["member_responses"]
    assert text_of(events, last["run_id"]) == last["content"]
    for member in run["member_responses"]:
        assert member["parent_run_id"] == last["run_id"]
        assert text_of(events, member["run_id"]) == member["content"]
        theirs = [event for event in events if event.data["run_id"] == member["run_id"]]
        assert (theirs[0].event, theirs[-1].event) == ("RunStarted", "RunCompleted")
        assert {event.data["agent_id"] for event in theirs} == {member["agent_id"]}
    assert len(run["member_responses"]) == 2


def text_of(events: list[SseEvent], run_id: str) -> str:
    """What was said piece by piece in a run, its last model call only."""
    text = ""
    for event in events:
        if event.data["run_id"] != run_id:
            continue
        if event.event.endswith("ModelRequestStarted"):
            text = ""
        if event.event.endswith("RunContent"):
            text += event.data.get("content", "")
    return text


async def test_a_streamed_run_comes_to_the_same_as_one_that_is_not(story: System) -> None:
    async with streaming(story.client, session_id="s1") as source:
        streamed = (await source.rest())[-1].data
    plain = await story.run("Write", session_id="s2")
    assert streamed["content"] == plain["content"]
    said = [[each["content"] for each in run["member_responses"]] for run in (streamed, plain)]
    assert said[0] == said[1]


async def test_a_stream_goes_on_when_another_runner_takes_the_run_over(story: System) -> None:
    await story.model.rules([{"match": "Give facts", "hold": "gate"}])
    async with streaming(story.client, run_id="taken-over") as source:
        await story.model.wait_for_calls(3, timeout_s=20)
        await story.second_runner.start()
        await story.runner.kill()
        await story.model.release("gate")
        events = await source.rest()
    ids = [event.id for event in events if event.id is not None]
    assert ids == sorted(set(ids))
    assert ids[-1] > 10_000 > ids[0]
    assert [event for event in events if is_last_word(event)] == [events[-1]]
    assert events[-1].event == "TeamRunCompleted"
    async with following(story.client, "taken-over") as later:
        assert numbers(await later.rest()) == ids


async def test_the_stream_of_a_cancelled_run_ends_with_that(story: System) -> None:
    await story.model.rules([{"match": "Give facts", "hold": "gate"}])
    async with streaming(story.client, run_id="cancelled") as source:
        await story.model.wait_for_calls(3, timeout_s=20)
        reply = await story.client.post(f"{RUNS}/cancelled/cancel")
        assert (reply.status_code, reply.json()) == (200, {})
        events = await source.rest()
    assert [event.event for event in events if is_last_word(event)] == ["TeamRunCancelled"]
    assert events[-1].event == "TeamRunCancelled"
    async with following(story.client, "cancelled") as later:
        assert [event.data for event in await later.rest()] == [
            {**event.data, "event_index": event.id} for event in events
        ]


async def test_a_stream_is_gone_on_with_after_everything_was_killed(story: System) -> None:
    await story.model.rules([{"match": "Give facts", "hold": "gate"}])
    async with streaming(story.client, run_id="killed", background="true") as source:
        await story.model.wait_for_calls(3, timeout_s=20)
        had = numbers(await source.take(4))
    everything = (story.gateway, story.runner, story.hook_runner)
    await asyncio.gather(*(process.kill() for process in everything))
    await story.nats.kill()
    await story.nats.start()
    await asyncio.gather(*(process.start() for process in everything))
    await story.model.release("gate")
    async with following(story.client, "killed", last=had[-1]) as rest:
        had += numbers(await rest.rest())
    async with second_gateway(story) as (_, other), following(other, "killed") as whole:
        events = await whole.rest()
    assert numbers(events) == had
    assert [event for event in events if is_last_word(event)] == [events[-1]]


async def test_a_stream_cut_at_random_over_two_gateways_is_the_whole_stream(tmp_path: Path) -> None:
    """Hundreds of events, a hundred cuts, and each gateway is killed meanwhile."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    text = " ".join(f"word{n}" for n in range(300))
    each_token = {"TEAM_RUNNER_FRAMES_COALESCE_S": "0"}
    async with system_of(APPS / "story.py", tmp_path, environment=each_token) as story:
        await story.model.rules([{"match": "Give facts", "reply": text, "chunk_delay_ms": 10}])
        async with second_gateway(story) as (second, other):
            async with streaming(story.client, run_id="cut", background="true") as source:
                heard = await source.take(1)
            gateways = ((story.gateway, story.client), (second, other))
            cuts = 0
            while not is_last_word(heard[-1]):
                process, client = gateways[cuts % 2]
                if cuts in (20, 55):
                    await process.kill()
                    await process.start()
                async with following(client, "cut", last=heard[-1].id) as source:
                    heard += await some(source, chance.randint(0, 5))
                cuts += 1
            async with following(other, "cut") as uncut:
                whole = await uncut.rest()
    assert [event.raw for event in heard] == [event.raw for event in whole]
    assert len(whole) > 300
    assert cuts >= 100


async def some(source: EventSource, count: int) -> list[SseEvent]:
    events: list[SseEvent] = []
    while len(events) < count and (event := await source.next()) is not None:
        events.append(event)
    return events


@pytest.fixture
async def four(tmp_path: Path) -> AsyncIterator[System]:
    async with system_of(APPS / "four_kinds.py", tmp_path) as system:
        yield system


async def submit_all_kinds(four: System) -> set[str]:
    """One run of each kind of submission; their ids."""
    plain = await four.run("Write", run_id="plain")
    async with streaming(four.client, run_id="streamed") as source:
        last = (await source.rest())[-1]
    accepted = await four.post("Write", run_id="background", background="true")
    async with streaming(four.client, run_id="left", background="true") as source:
        await source.take(1)
    assert (plain["status"], last.event) == ("COMPLETED", "TeamRunCompleted")
    assert accepted.status_code == 202
    return {"plain", "streamed", "background", "left"}


async def noted(four: System, hook: str, runs: set[str]) -> None:
    def missing() -> set[str]:
        lines = [line.split() for line in four.hook_log.read_text().splitlines()]
        return runs - {words[1] for words in lines if words[0] == hook}

    async def all_there() -> bool:
        return not missing()

    await until(
        all_there, 30, lambda: f"{hook} did not hear of {missing()}; {four.hook_runner.tail()}"
    )


async def test_hooks_of_team_and_members_hear_of_all_kinds_of_runs(four: System) -> None:
    runs = await submit_all_kinds(four)
    await noted(four, "of-team", runs)
    await noted(four, "of-member", runs)
    lines = four.hook_log.read_text().splitlines()
    assert {line.split()[-1] for line in lines} == {"COMPLETED"}


async def test_a_hook_that_replays_all_hears_of_runs_from_before_it_was(four: System) -> None:
    before = await submit_all_kinds(four)
    await noted(four, "of-team", before)
    (four.folder / "later").touch()
    await four.hook_runner.stop()
    await four.provision()
    await asyncio.gather(four.runner.stop(), four.gateway.stop())
    await asyncio.gather(*(each.start() for each in (four.runner, four.gateway, four.hook_runner)))
    await four.run("Write", run_id="after")
    await noted(four, "of-all-times", {*before, "after"})
    await noted(four, "of-now", {"after"})
    lines = four.hook_log.read_text().splitlines()
    assert [line for line in lines if line.startswith("of-now")] == ["of-now after"]
