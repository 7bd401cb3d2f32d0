"""Going on with a stream after it was cut: while the run runs, after it ended, long after."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import msgspec

from teambus.bus.api import Question, Reply, answering
from teambus.bus.bodies import Bodies
from teambus.bus.events import Events
from teambus.contracts import subjects
from teambus.contracts.output import RunStatus
from teambus.contracts.run import RunAccepted
from tests.integration.frame_parts import Speaker, forget_frames
from tests.integration.gateway_parts import TEAM, Served, System, system
from tests.integration.stream_parts import following, resuming
from tests.support.sse import SseEvent, numbers


async def speaker(here: System, run_id: str = "r", **more: Any) -> Speaker:
    """A run that is accepted and speaks."""
    made = Speaker(here.bus, run_id, TEAM.id, **more)
    accepted = RunAccepted(
        event_id=f"{run_id}:accepted",
        tenant="default",
        team_id=made.team_id,
        run_id=run_id,
        session_id=made.session_id,
        request_digest="d",
        accepted_at=1,
    )
    await Events(here.bus, Bodies(here.bus), source="test").accept(accepted)
    return made


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[tuple[System, Served]]:
    async with system(folder, work=False) as here, here.gateway() as gateway:
        yield here, gateway


def indexes(events: list[SseEvent]) -> list[int]:
    return [event.data["event_index"] for event in events]


async def test_a_run_that_goes_on_says_what_was_missed_and_then_what_is_new(
    tmp_path: Path,
) -> None:
    async with served(tmp_path) as (here, gateway):
        run = await speaker(here)
        await run.say(count=3)
        await run.say(count=2)
        async with resuming(gateway, "r", last_event_index="1") as source:
            assert source.response.headers["content-type"] == "text/event-stream; charset=utf-8"
            events = await source.take(5)
            await run.say()
            await run.end()
            rest = await source.rest()
    assert [event.event for event in events] == [
        *("catch_up", "TeamRunContent", "TeamRunContent", "TeamRunContent", "subscribed"),
    ]
    assert events[0].data == {
        "event": "catch_up",
        "run_id": "r",
        "status": "running",
        "missed_events": 3,
        "current_event_count": 5,
        "message": "Catching up on 3 missed events.",
    }
    assert events[-1].data == {
        "event": "subscribed",
        "run_id": "r",
        "status": "running",
        "current_event_count": 5,
        "message": "Subscribed to team run. Receiving live events.",
    }
    assert '"event": "subscribed", "run_id": "r"' in events[-1].raw
    assert indexes([*events[1:4], *rest]) == [2, 3, 4, 5, 6]
    assert numbers(rest) == [5, 6]
    assert rest[-1].event == "TeamRunCompleted"


async def test_who_missed_nothing_is_subscribed_at_once(tmp_path: Path) -> None:
    async with served(tmp_path) as (here, gateway):
        run = await speaker(here)
        await run.say()
        async with resuming(gateway, "r", last_event_index="0") as source:
            [subscribed] = await source.take(1)
            assert (subscribed.event, subscribed.data["current_event_count"]) == ("subscribed", 1)
            await run.end()
            assert numbers(await source.rest()) == [1]


async def test_a_run_that_has_ended_is_replayed(tmp_path: Path) -> None:
    async with served(tmp_path) as (here, gateway):
        run = await speaker(here)
        await run.say(count=4)
        await run.end()
        async with resuming(gateway, "r", last_event_index="2", session_id="s") as source:
            events = await source.rest()
        async with resuming(gateway, "r") as source:
            whole = await source.rest()
        async with resuming(gateway, "r", last_event_index="4") as source:
            [nothing] = await source.rest()
    assert events[0].data == {
        "event": "replay",
        "run_id": "r",
        "status": "COMPLETED",
        "total_events": 2,
        "total_buffered": 5,
        "last_event_index_requested": 2,
        "message": "Run COMPLETED. Replaying 2 missed events (of 5 total).",
    }
    assert indexes(events[1:]) == [3, 4]
    assert whole[0].data["last_event_index_requested"] == -1
    assert indexes(whole[1:]) == [0, 1, 2, 3, 4]
    assert nothing.data["total_events"] == 0


async def test_a_run_whose_frames_are_gone_is_replayed_from_its_kept_events(
    tmp_path: Path,
) -> None:
    kept = [
        {"event": "TeamRunStarted", "run_id": "r"},
        {"event": "RunCompleted", "run_id": "m", "parent_run_id": "r"},
        {"event": "TeamRunCompleted", "run_id": "r", "content": "all of it"},
    ]
    async with served(tmp_path) as (here, gateway):
        run = await speaker(here)
        await run.say(count=9)
        await run.end(events=kept)
        await forget_frames(here.bus, keep=0)
        async with resuming(gateway, "r", last_event_index="1") as source:
            events = await source.rest()
        async with following(gateway, "r", last=1) as source:
            followed = await source.rest()
    assert events[0].data == {
        "event": "replay",
        "run_id": "r",
        "status": "COMPLETED",
        "total_events": 3,
        "message": "Run completed. Replaying stored events from database.",
    }
    names = ["TeamRunStarted", "RunCompleted", "TeamRunCompleted"]
    assert [event.event for event in events[1:]] == names
    assert indexes(events[1:]) == [0, 1, 9]
    assert [event.raw for event in followed] == [event.raw for event in events[1:]]
    assert followed[-1].data["member_responses"] == []


async def test_a_run_of_which_a_part_is_gone_is_replayed_from_its_kept_events(
    tmp_path: Path,
) -> None:
    async with served(tmp_path) as (here, gateway):
        run = await speaker(here)
        for _ in range(3):
            await run.say(count=2)
        await run.end(events=[{"event": "TeamRunStarted", "run_id": "r"}])
        await forget_frames(here.bus, keep=1)
        async with following(gateway, "r", last=1) as source:
            assert [event.event for event in await source.rest()] == [
                *("TeamRunStarted", "TeamRunCompleted"),
            ]
        async with following(gateway, "r", last=3) as source:
            assert numbers(await source.rest()) == [4, 5, 6]


async def test_a_run_that_was_not_streamed_has_no_events_to_replay(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway() as gateway:
        body = (await gateway.post(session_id="s")).json()
        async with resuming(gateway, body["run_id"], session_id="s") as source:
            [replay] = await source.rest()
        async with following(gateway, body["run_id"]) as source:
            [last] = await source.rest()
    assert replay.data == {
        "event": "replay",
        "run_id": body["run_id"],
        "status": "COMPLETED",
        "total_events": 0,
        "message": "Run COMPLETED with no stored events: "
        "a run submitted without streaming keeps only its final output.",
    }
    assert (last.event, last.data["content"]) == ("TeamRunCompleted", body["content"])


async def test_a_run_that_only_the_database_knows_is_replayed_from_there(tmp_path: Path) -> None:
    kept = [
        {"event": "TeamRunStarted", "run_id": "old"},
        {"event": "TeamRunCompleted", "run_id": "old"},
    ]

    async with served(tmp_path) as (here, gateway):
        run = Speaker(here.bus, "old", TEAM.id)
        output = msgspec.json.encode(run.completed(events=kept).output)

        async def answer(_: Question) -> Reply:
            return Reply(output)

        subject = subjects.api("default", "db.team-db.run")
        async with answering(here.bus, subject, answer, queue="db", at_once_max=1):
            await here.bus.barrier()
            async with resuming(gateway, "old", session_id="s") as source:
                events = await source.rest()
            async with following(gateway, "old", session_id="s") as source:
                followed = await source.rest()
            done = await gateway.http.get(
                f"/teams/{TEAM.id}/runs/old/events",
                params={"session_id": "s", "last_event_index": "1"},
            )
            async with resuming(gateway, "old") as source:
                [unknown] = await source.rest()
    assert (events[0].event, events[0].data["total_events"]) == ("replay", 2)
    assert indexes(events[1:]) == indexes(followed) == [0, 1]
    assert followed[-1].data["content"] == "all of it"
    assert done.status_code == 204
    assert unknown.event == "error"


async def test_a_run_nobody_knows_is_told_in_the_stream_and_to_a_browser_as_404(
    tmp_path: Path,
) -> None:
    async with served(tmp_path) as (here, gateway):
        run = await speaker(here, "theirs")
        await run.say()
        other = Speaker(here.bus, "other-team", "other-team")
        await other.say()
        await other.end()
        ended = await speaker(here, "ended")
        await ended.end()
        for run_id, session_id in (
            ("nobody", "s"),
            ("theirs", "t"),
            ("ended", "t"),
            ("other-team", "s"),
        ):
            async with resuming(gateway, run_id, session_id=session_id) as source:
                assert source.response.status_code == 200
                [event] = await source.rest()
            assert event.data == {
                "event": "error",
                "error": f"Run {run_id} not found in buffer or database",
            }
            reply = await gateway.http.get(
                f"/teams/{TEAM.id}/runs/{run_id}/events", params={"session_id": session_id}
            )
            assert (reply.status_code, reply.json()) == (404, {"detail": "Run not found"})


async def test_wrong_requests_are_told_what_is_wrong(tmp_path: Path) -> None:
    async with served(tmp_path) as (_, gateway):
        runs = f"/teams/{TEAM.id}/runs"
        replies: list[httpx2.Response] = [
            await gateway.http.post(f"{runs}/r/resume", data={"last_event_index": "one"}),
            await gateway.http.get(f"{runs}/r/events", headers={"Last-Event-ID": "x1"}),
            await gateway.http.get(f"{runs}/r/events", params={"last_event_index": "1.5"}),
        ]
        nobody = await gateway.http.post("/teams/nobody/runs/r/resume")
    assert [reply.status_code for reply in replies] == [422] * 3
    places = [reply.json()["detail"][0]["loc"] for reply in replies]
    assert places == [
        ["body", "last_event_index"],
        ["header", "Last-Event-ID"],
        ["query", "last_event_index"],
    ]
    assert (nobody.status_code, nobody.json()) == (404, {"detail": "Team not found"})


async def test_a_browser_that_has_everything_is_told_not_to_come_back(tmp_path: Path) -> None:
    async with served(tmp_path) as (here, gateway):
        run = await speaker(here)
        await run.say(count=2)
        path = f"/teams/{TEAM.id}/runs/r/events"
        async with following(gateway, "r", last=1) as source:
            await run.end()
            assert numbers(await source.rest()) == [2]
        assert (await gateway.http.get(path, headers={"Last-Event-ID": "2"})).status_code == 204
        assert (await gateway.http.get(path, params={"last_event_index": 2})).status_code == 204


async def test_the_header_of_a_browser_counts_more_than_the_query_it_began_with(
    tmp_path: Path,
) -> None:
    async with served(tmp_path) as (here, gateway):
        run = await speaker(here)
        await run.say(count=5)
        await run.end()
        async with following(gateway, "r", last=3, last_event_index="0") as source:
            assert numbers(await source.rest()) == [4, 5]
        async with following(gateway, "r", last_event_index="3") as source:
            events = await source.rest()
    assert numbers(events) == indexes(events) == [4, 5]


async def test_a_takeover_is_replayed_as_it_was_streamed(tmp_path: Path) -> None:
    async with served(tmp_path) as (here, gateway):
        run = await speaker(here)
        await run.say(count=2)
        run.is_taken_over()
        await run.say(count=2)
        async with resuming(gateway, "r", last_event_index="0") as source:
            events = await source.take(5)
            await run.end()
            last = await source.rest()
        async with resuming(gateway, "r", last_event_index="1") as source:
            replayed = await source.rest()
    assert events[0].data["missed_events"] == 3
    assert events[0].data["current_event_count"] == 4
    assert indexes(events[1:4]) == [1, 10_000, 10_001]
    assert indexes(last) == [10_002]
    assert replayed[0].data["total_events"] == 3
    assert indexes(replayed[1:]) == [10_000, 10_001, 10_002]


async def test_a_run_that_failed_before_it_said_anything_is_replayed(tmp_path: Path) -> None:
    async with served(tmp_path) as (here, gateway):
        run = await speaker(here)
        failed = {"event": "TeamRunError", "run_id": "r", "content": "refused"}
        await run.end(status=RunStatus.ERROR, content="refused", events=[failed])
        async with resuming(gateway, "r") as source:
            events = await source.rest()
    assert [event.event for event in events] == ["replay", "TeamRunError"]
    assert (events[0].data["status"], events[0].data["total_events"]) == ("ERROR", 1)


async def test_a_stream_cut_again_and_again_is_the_same_as_one_that_was_not(
    tmp_path: Path,
) -> None:
    """Two gateways in turn, the bus killed in between, cuts at random places."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    async with system(tmp_path, work=False) as here, here.gateway() as one, here.gateway() as two:
        run = await speaker(here)

        async def talk() -> None:
            for number in range(150):
                if number == 75:
                    await here.nats.kill()
                    await here.nats.restart()
                await run.say(count=chance.randint(1, 4))
                await asyncio.sleep(chance.choice((0, 0, 0.01)))
            await run.end()

        talking = asyncio.create_task(talk())
        heard: list[int | None] = []
        cuts = 0
        while not heard or heard[-1] != run.number or not talking.done():
            last = heard[-1] if heard else None
            gateway = one if cuts % 2 else two
            async with following(gateway, "r", last=last) as source:
                for _ in range(chance.randint(0, 20)):
                    event = await source.next()
                    if event is None:
                        break
                    heard.append(event.id)
            cuts += 1
        await talking
    assert heard == list(range(run.number + 1))
    assert cuts > 10
