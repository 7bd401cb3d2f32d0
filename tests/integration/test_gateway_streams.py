"""Streams over HTTP: what a client reads, and what becomes of it when something goes wrong."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from teambus.bus.requests import Requests
from teambus.contracts.output import RunStatus
from teambus.contracts.run import RunRefused, RunRequest
from tests.integration.frame_parts import Speaker, forget_frames
from tests.integration.gateway_parts import TEAM, Served, finished, reconnected, system
from tests.integration.stream_parts import following, resuming, speaker_of, streaming
from tests.support.sse import numbers
from tests.support.system import until


async def places_are_free(gateway: Served) -> None:
    async def free() -> bool:
        return gateway.parts.runs.streams.taken == 0

    await until(free, 10, "a place is still taken")


async def test_a_run_is_streamed_when_nothing_else_is_asked_for(tmp_path: Path) -> None:
    async with system(tmp_path, go=False) as here, here.gateway() as gateway:
        asking = asyncio.create_task(speaker_of(here))
        async with streaming(gateway, session_id="s1") as source:
            speaker = await asking
            assert source.response.status_code == 200
            assert source.response.headers["content-type"] == "text/event-stream; charset=utf-8"
            assert source.response.headers["cache-control"] == "no-cache"
            assert source.response.headers["x-accel-buffering"] == "no"
    assert speaker.session_id == "s1"


async def test_each_event_has_its_name_its_number_and_its_data_in_lines(tmp_path: Path) -> None:
    async with system(tmp_path, go=False) as here, here.gateway() as gateway:
        asking = asyncio.create_task(speaker_of(here))
        async with streaming(gateway) as source:
            speaker = await asking
            await speaker.say(speaker.frame("TeamRunStarted"), speaker.frame(content="é\n\n\u2028"))
            await speaker.say(speaker.frame("RunContent", run_id="member"))
            await speaker.end(metadata={"k": 1})
            events = await source.rest()
    assert [event.lines for event in events] == [["event", "id", "data"]] * 4
    names = ["TeamRunStarted", "TeamRunContent", "RunContent", "TeamRunCompleted"]
    assert [event.event for event in events] == names
    assert [event.data["event"] for event in events] == names
    assert numbers(events) == [0, 1, 2, 3]
    assert events[1].data["content"] == "é\n\n\u2028"
    assert "é" in events[1].raw  # Written as it is, unlike what some take for ends of lines.
    assert not [event for event in events if "event_index" in event.data]
    last = events[-1].data
    assert (last["content"], last["member_responses"]) == ("all of it", [])
    assert (last["run_id"], last["metadata"]) == (speaker.run_id, {"k": 1})


async def test_a_run_that_says_nothing_still_ends_its_stream(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway() as gateway, streaming(gateway) as source:
        [event] = await source.rest()
    assert (event.event, event.id) == ("TeamRunCompleted", 0)


async def test_an_error_inside_a_run_is_the_last_event_of_its_stream(tmp_path: Path) -> None:
    async with system(tmp_path, go=False) as here, here.gateway() as gateway:
        asking = asyncio.create_task(speaker_of(here))
        async with streaming(gateway) as source:
            speaker = await asking
            await speaker.say()
            await speaker.end(status=RunStatus.ERROR, content="no model", code="model_error")
            events = await source.rest()
    assert [event.event for event in events] == ["TeamRunContent", "TeamRunError"]
    assert (events[-1].data["content"], events[-1].id) == ("no model", 1)


@pytest.mark.parametrize(("code", "status"), [("session_not_found", 404), ("run_id_in_use", 409)])
async def test_an_end_that_http_has_a_status_for_gets_it(
    tmp_path: Path, code: str, status: int
) -> None:
    async with system(tmp_path) as here, here.gateway(stream_keepalive_s=15) as gateway:
        here.runner.ending = lambda asked: finished(asked, status=RunStatus.ERROR, code=code)
        async with streaming(gateway) as source:
            await source.response.aread()
    assert source.response.status_code == status
    assert source.response.headers["content-type"] == "application/json"


async def test_a_refusal_is_409_and_after_the_stream_began_an_event(tmp_path: Path) -> None:
    async with system(tmp_path, go=False) as here:

        def refused(request: RunRequest) -> RunRefused:
            return RunRefused(
                event_id=f"refused:{request.run_id}",
                tenant="default",
                team_id=TEAM.id,
                run_id=request.run_id,
                request_seq=here.runner.seqs[-1],
                code="run_id_in_use",
                detail="in use",
            )

        here.runner.ending = refused
        async with here.gateway(stream_keepalive_s=0.1) as gateway:
            async with streaming(gateway) as source:
                assert (await source.next(comments=True)) is not None
                here.runner.go.set()
                [event] = await source.rest()
            patience = here.gateway(stream_keepalive_s=15)
            async with patience as patient, streaming(patient) as second:
                await second.response.aread()
    assert (event.event, event.data["code"], event.id) == ("error", "run_id_in_use", None)
    assert second.response.status_code == 409


async def test_without_stream_events_there_is_text_of_the_leader_and_all_of_members(
    tmp_path: Path,
) -> None:
    async with system(tmp_path, go=False) as here, here.gateway() as gateway:
        asking = asyncio.create_task(speaker_of(here))
        async with streaming(gateway, stream_events="false") as source:
            speaker = await asking
            await speaker.say(
                speaker.frame("TeamRunStarted"),
                speaker.frame("TeamRunContent"),
                speaker.frame("RunStarted", run_id="m", parent_run_id=speaker.run_id),
                speaker.frame("RunContent", run_id="m"),
                speaker.frame("TeamRunStarted", run_id="nested", nested_depth=1),
                speaker.frame("TeamToolCallCompleted"),
                speaker.frame("RunCompleted", run_id="m"),
            )
            await speaker.end()
            events = await source.rest()
    assert numbers(events) == [1, 2, 3, 4, 6]


async def test_bad_news_is_told_without_stream_events_too(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway() as gateway:
        here.runner.ending = lambda asked: finished(asked, status=RunStatus.ERROR, code="x")
        async with streaming(gateway, stream_events="false") as source:
            [event] = await source.rest()
    assert event.event == "TeamRunError"


async def test_a_silent_stream_is_kept_alive_and_is_not_cut_by_the_reply_timeout(
    tmp_path: Path,
) -> None:
    async with system(tmp_path, go=False) as here:
        async with here.gateway(stream_keepalive_s=0.1, reply_timeout_s=0.3) as gateway:
            async with streaming(gateway) as source:
                for _ in range(8):
                    event = await source.next(comments=True)
                    assert event is not None
                    assert event.is_comment
                speaker = await speaker_of(here)
                await speaker.say()
                await speaker.end()
                assert numbers(await source.rest()) == [0, 1]


async def test_events_that_are_left_out_do_not_keep_a_stream_from_being_kept_alive(
    tmp_path: Path,
) -> None:
    async with system(tmp_path, go=False) as here, here.gateway(stream_keepalive_s=0.5) as gateway:
        async with streaming(gateway, stream_events="false") as source:
            speaker = await speaker_of(here)

            async def chatter() -> None:
                while True:
                    await speaker.say(speaker.frame("TeamToolCallStarted"))
                    await asyncio.sleep(0.02)

            talking = asyncio.create_task(chatter())
            for _ in range(2):
                event = await source.next(comments=True)
                assert event is not None
                assert event.is_comment
            talking.cancel()


async def test_a_client_that_leaves_changes_nothing_and_frees_its_place(tmp_path: Path) -> None:
    async with system(tmp_path, go=False) as here, here.gateway() as gateway:
        asking = asyncio.create_task(speaker_of(here))
        async with streaming(gateway, session_id="s") as source:
            speaker = await asking
            await speaker.say()
            assert numbers(await source.take(1)) == [0]
        await places_are_free(gateway)
        await speaker.say()
        here.runner.ending = lambda _: speaker.completed()
        here.runner.go.set()
        async with following(gateway, speaker.run_id, last=0) as rest:
            assert numbers(await rest.rest()) == [1, 2]
        polled = await gateway.poll(speaker.run_id, "s")
        assert polled.json()["status"] == "COMPLETED"


async def test_a_client_that_leaves_before_anything_was_said_frees_its_place(
    tmp_path: Path,
) -> None:
    async with system(tmp_path, go=False) as here, here.gateway() as gateway:
        asking = asyncio.create_task(gateway.post(stream="true"))
        await here.runner.until_taken(1)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await places_are_free(gateway)


async def test_a_stream_goes_on_after_an_outage_of_the_bus(tmp_path: Path) -> None:
    async with system(tmp_path, go=False) as here, here.gateway() as gateway:
        asking = asyncio.create_task(speaker_of(here))
        async with streaming(gateway) as source:
            speaker = await asking
            await speaker.say()
            assert numbers(await source.take(1)) == [0]
            await here.nats.kill()
            await here.nats.restart()
            await reconnected(here.bus)
            await speaker.say(count=2)
            await speaker.end()
            assert numbers(await source.rest()) == [1, 2, 3]


async def test_a_takeover_goes_on_in_the_same_stream(tmp_path: Path) -> None:
    async with system(tmp_path, go=False) as here, here.gateway() as gateway:
        asking = asyncio.create_task(speaker_of(here))
        async with streaming(gateway) as source:
            speaker = await asking
            await speaker.say(count=2)
            speaker.is_taken_over()
            await speaker.say(count=2)
            await speaker.end()
            events = await source.rest()
    assert numbers(events) == [0, 1, 10_000, 10_001, 10_002]


async def test_a_drain_lets_a_stream_come_to_its_end(tmp_path: Path) -> None:
    async with system(tmp_path, go=False) as here, here.gateway() as gateway:
        asking = asyncio.create_task(speaker_of(here))
        async with streaming(gateway) as source:
            speaker = await asking
            gateway.stop.set()
            await speaker.say()
            await speaker.end()
            assert numbers(await source.rest()) == [0, 1]
            await gateway.serving


async def test_a_drain_that_is_over_tells_a_stream_where_to_go_on(tmp_path: Path) -> None:
    async with system(tmp_path, go=False) as here, here.gateway(drain_s=0.5) as gateway:
        asking = asyncio.create_task(speaker_of(here))
        async with streaming(gateway) as source:
            speaker = await asking
            await speaker.say()
            assert numbers(await source.take(1)) == [0]
            gateway.stop.set()
            [last] = await source.rest()
        assert (last.event, last.id) == ("error", None)
        assert (last.data["code"], last.data["last_event_index"]) == ("draining", 0)
        async with here.gateway() as other:
            await speaker.say()
            await speaker.end()
            form = {"last_event_index": "0"}
            async with other.http.stream("POST", last.data["resume"], data=form) as response:
                assert response.status_code == 200
                said = (await response.aread()).decode()
            assert '"event_index":1' in said
            assert "TeamRunCompleted" in said


async def test_a_stream_that_ends_before_its_run_is_taken_can_be_resumed(tmp_path: Path) -> None:
    async with system(tmp_path, work=False) as here:
        async with here.gateway(stream_max_s=0.3, stream_keepalive_s=0.1) as gateway:
            async with streaming(gateway) as source:
                [last] = await source.rest()
            assert last.data["code"] == "stream_too_long"
            async with resuming(gateway, last.data["run_id"]) as resumed:
                [subscribed] = await resumed.take(1)
            assert subscribed.event == "subscribed"


async def test_a_gateway_with_too_many_streams_refuses_the_next(tmp_path: Path) -> None:
    async with system(tmp_path, go=False) as here, here.gateway(streams_max=1) as gateway:
        asking = asyncio.create_task(speaker_of(here))
        async with streaming(gateway):
            await asking
            second = await gateway.post(stream="true")
            assert (await gateway.http.get("/health")).status_code == 200
        assert (second.status_code, second.json()["code"]) == (503, "too_many_streams")


async def test_a_bus_that_is_down_is_503_with_the_run_id(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway(publish_patience_s=0.3) as gateway:
        await here.nats.kill()
        response = await gateway.post(stream="true")
        assert (response.status_code, response.json()["code"]) == (503, "outcome_unknown")
        assert response.json()["run_id"]
        await here.nats.restart()
        await reconnected(gateway.bus, here.bus)


def slow_client(gateway: Served) -> socket.socket:
    """A client with a small buffer that asks for a stream and reads nothing."""
    host, _, port = gateway.url.removeprefix("http://").partition(":")
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect((host, int(port)))
    body = b"message=slow&run_id=slow"
    client.sendall(
        b"POST /teams/content-team/runs HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n"
        b"Content-Type: application/x-www-form-urlencoded\r\n\r\n%s" % (len(body), body)
    )
    return client


async def flood(speaker: Speaker, *, batches: int) -> None:
    for _ in range(batches):
        await speaker.say(speaker.frame(content="x" * 60_000))


def read_to_end(client: socket.socket) -> bytes:
    client.settimeout(20)
    said = bytearray()
    while not said.endswith(b"\r\n0\r\n\r\n") and (chunk := client.recv(65536)):
        said += chunk
    return bytes(said)


async def test_a_slow_reader_slows_nobody_and_is_told_to_resume(tmp_path: Path) -> None:
    async with system(tmp_path, go=False) as here:
        async with here.gateway(stream_unread_max=20) as gateway:
            with slow_client(gateway) as client:
                speaker = await speaker_of(here)
                async with following(gateway, speaker.run_id) as quick:
                    waiting = asyncio.create_task(quick.take(150))
                    await flood(speaker, batches=150)
                    assert numbers(await waiting) == list(range(150))
                said = await asyncio.to_thread(read_to_end, client)
            assert b'"code": "reader_too_slow"' in said
            _, _, last = said.rpartition(b'"last_event_index": ')
            had = int(last.partition(b",")[0])
            assert 0 < had < 149
            assert b"id: %d\n" % had in said
            assert b"id: %d\n" % (had + 1) not in said
            await speaker.end()
            async with following(gateway, speaker.run_id, last=had) as rest:
                assert numbers(await rest.rest()) == list(range(had + 1, 151))


async def test_slow_readers_together_are_kept_no_more_than_there_is_room_for(
    tmp_path: Path,
) -> None:
    limits: dict[str, Any] = {
        "streams_unread_bytes_max": 1024 * 1024,
        "stream_unread_bytes_max": 64 * 1024 * 1024,
    }
    async with system(tmp_path, go=False) as here, here.gateway(**limits) as gateway:
        unread = gateway.parts.runs.feeds.unread
        with slow_client(gateway) as client:
            speaker = await speaker_of(here)
            await flood(speaker, batches=150)
            said = await asyncio.to_thread(read_to_end, client)
        assert b'"code": "reader_too_slow"' in said
        await places_are_free(gateway)
        assert unread.held == 0


async def test_a_client_that_takes_nothing_is_cut_off(tmp_path: Path) -> None:
    async with system(tmp_path, go=False) as here:
        async with here.gateway(stream_stall_s=0.5, stream_unread_max=20) as gateway:
            with slow_client(gateway) as client:
                speaker = await speaker_of(here)
                await flood(speaker, batches=150)
                await places_are_free(gateway)
                gateway.stop.set()
                async with asyncio.timeout(3):  # Nothing is left to wait for.
                    await gateway.serving
                said = await asyncio.to_thread(read_to_end, client)
            assert b"id: 0\n" in said
            assert not said.endswith(b"\r\n0\r\n\r\n")


async def test_a_client_that_leaves_once_its_run_is_accepted_still_has_it_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted, left = asyncio.Event(), asyncio.Event()
    submit = Requests.submit

    async def slowly(self: Requests, *asked: Any, **more: Any) -> int:
        accepted.set()
        await left.wait()
        return await submit(self, *asked, **more)

    monkeypatch.setattr(Requests, "submit", slowly)
    async with system(tmp_path, go=False) as here, here.gateway() as gateway:
        form = {"message": "hello", "run_id": "r", "background": "true"}
        asking = asyncio.create_task(gateway.http.post("/teams/content-team/runs", data=form))
        await accepted.wait()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await places_are_free(gateway)
        left.set()
        await here.runner.until_taken(1)


async def test_two_hundred_streams_do_not_mix(tmp_path: Path) -> None:
    count, batches = 200, 5
    async with system(tmp_path, go=False) as here, here.gateway() as gateway:

        async def read(number: int) -> tuple[str, list[str], list[int | None]]:
            async with streaming(gateway, f"run {number}", run_id=f"r{number}") as source:
                events = await source.rest()
            texts = [event.data.get("content", "") for event in events]
            return f"r{number}", texts, numbers(events)

        async def speak(number: int) -> None:
            speaker = Speaker(here.bus, f"r{number}", TEAM.id)
            for _ in range(batches):
                await speaker.say(speaker.frame(content=f"r{number}"), speaker.frame())
            await speaker.end(content=f"r{number}")

        reading = [asyncio.create_task(read(number)) for number in range(count)]
        await here.runner.until_taken(count)
        await asyncio.gather(*(speak(number) for number in range(count)))
        for run_id, texts, ids in await asyncio.gather(*reading):
            assert ids == list(range(2 * batches + 1))
            assert texts[::2] == [run_id] * (batches + 1)


async def test_a_repeat_gets_the_whole_stream_while_it_runs_and_after_it_ended(
    tmp_path: Path,
) -> None:
    async with system(tmp_path, go=False) as here, here.gateway() as gateway:
        asking = asyncio.create_task(speaker_of(here))
        async with streaming(gateway, key="k") as first:
            speaker = await asking
            await speaker.say(count=2)
            assert numbers(await first.take(2)) == [0, 1]
            async with here.gateway() as other, streaming(other, key="k") as second:
                assert numbers(await second.take(2)) == [0, 1]
                await speaker.say()
                await speaker.end()
                assert numbers(await first.rest()) == numbers(await second.rest()) == [2, 3]
        async with streaming(gateway, key="k") as third:
            assert numbers(await third.rest()) == [0, 1, 2, 3]
        assert len(here.runner.taken) == 1


async def test_a_repeat_after_the_frames_are_gone_gets_what_is_kept(tmp_path: Path) -> None:
    async with system(tmp_path, go=False) as here, here.gateway() as gateway:
        asking = asyncio.create_task(speaker_of(here))
        async with streaming(gateway, key="k") as first:
            speaker = await asking
            await speaker.say(count=2)
            run_id = speaker.run_id
            started = {"event": "TeamRunStarted", "run_id": run_id}
            last = {"event": "TeamRunCompleted", "run_id": run_id, "content": "all of it"}
            await speaker.end(events=[started, last])
            await first.rest()
        await forget_frames(here.bus)
        async with streaming(gateway, key="k") as again:
            events = await again.rest()
    assert [event.event for event in events] == ["TeamRunStarted", "TeamRunCompleted"]
    assert numbers(events) == [0, 2]
    assert events[-1].data["member_responses"] == []


async def test_a_key_sent_for_a_stream_is_not_one_for_a_reply(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway() as gateway:
        await gateway.post(key="k", stream="true")
        reply = await gateway.post(key="k", stream="false")
        await gateway.post(key="l", stream="false")
        stream = await gateway.post(key="l", stream="true")
    assert (reply.status_code, reply.json()["code"]) == (409, "idempotency_key_reused")
    assert "stream=true" in reply.json()["detail"]
    assert "stream=false" in stream.json()["detail"]
