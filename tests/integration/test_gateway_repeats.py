"""The same submission again: under an idempotency key or a run id of the client's own."""

import asyncio
from pathlib import Path

from teambus.bus import reads, topology
from teambus.contracts import subjects
from tests.integration.gateway_parts import System, finished, system


async def purge(here: System, stream: str) -> None:
    await reads.call(here.bus, f"$JS.API.STREAM.PURGE.{stream}", b"")


async def test_a_repeat_while_it_runs_waits_for_the_same_run(tmp_path: Path) -> None:
    async with system(tmp_path, go=False) as here, here.gateway() as gateway:
        asking = [asyncio.create_task(gateway.post(key="k")) for _ in range(4)]
        await here.runner.until_taken(1)
        here.runner.go.set()
        replies = [await each for each in asking]
    assert [reply.status_code for reply in replies] == [200] * 4
    assert len({reply.content for reply in replies}) == 1
    assert len(here.runner.taken) == 1


async def test_a_repeat_after_the_end_gets_the_same_answer_and_asks_nobody(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway() as gateway:
        first, second = await gateway.post(key="k"), await gateway.post(key="k")
    assert first.content == second.content
    assert len(here.runner.taken) == 1


async def test_a_repeat_after_everything_restarted_gets_the_same_answer(tmp_path: Path) -> None:
    async with system(tmp_path) as here:
        async with here.gateway() as gateway:
            first = await gateway.post(key="k")
        await here.nats.restart()
        async with here.gateway(publish_patience_s=5) as gateway:
            second = await gateway.post(key="k")
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.content == second.content
    assert len(here.runner.taken) == 1


async def test_a_repeat_of_a_submission_that_was_lost_before_the_queue_is_run(
    tmp_path: Path,
) -> None:
    async with system(tmp_path, work=False) as here:
        async with here.gateway(reply_timeout_s=0.2) as gateway:
            first = await gateway.post(key="k")
        await purge(here, topology.REQUESTS)
        here.runner.go.set()
        await here.nats.kill()  # The stream's memory of message ids goes with it.
        await here.nats.restart()
        working = asyncio.create_task(here.runner.run())
        async with here.gateway(publish_patience_s=5) as gateway:
            second = await gateway.post(key="k")
        working.cancel()
    assert (first.status_code, second.status_code) == (504, 200)
    assert first.json()["run_id"] == second.json()["run_id"]
    assert first.json()["session_id"] == second.json()["session_id"]


async def test_a_key_with_another_body_is_refused(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway() as gateway:
        await gateway.post("one", key="k")
        other = await gateway.post("two", key="k")
        more = await gateway.post("one", key="k", user_id="somebody")
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
    assert more.status_code == 409
    assert len(here.runner.taken) == 1


async def test_other_keys_are_other_runs_whatever_stands_in_them(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway() as gateway:
        keys = ["a", "b", "a b", "../..", ">", "k" * 512]
        replies = [await gateway.post(key=key) for key in keys]
    assert len({reply.json()["run_id"] for reply in replies}) == len(keys)


async def test_a_run_id_of_the_clients_own_is_kept(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway() as gateway:
        for run_id in ("mine", "laufe über > 世界", "x" * 512):
            first = await gateway.post(run_id=run_id)
            again = await gateway.post(run_id=run_id)
            assert (first.status_code, first.json()["run_id"]) == (200, run_id)
            assert first.content == again.content
    assert len(here.runner.taken) == 3


async def test_a_run_id_in_use_by_another_request_is_refused(tmp_path: Path) -> None:
    async with system(tmp_path, go=False) as here, here.gateway() as gateway:
        first = asyncio.create_task(gateway.post("one", run_id="mine"))
        await here.runner.until_taken(1)
        running = await gateway.post("two", run_id="mine")
        here.runner.go.set()
        assert (await first).status_code == 200
        ended = await gateway.post("two", run_id="mine")
    assert (running.status_code, running.json()["code"]) == (409, "run_id_in_use")
    assert ended.status_code == 409


async def test_a_run_id_that_ended_without_having_been_accepted_is_in_use(tmp_path: Path) -> None:
    async with system(tmp_path) as here, here.gateway() as gateway:
        run_id = (await gateway.post("one")).json()["run_id"]
        response = await gateway.post("one", run_id=run_id)
    assert (response.status_code, response.json()["code"]) == (409, "run_id_in_use")


async def test_a_run_that_ended_while_nobody_listened_is_found(tmp_path: Path) -> None:
    async with system(tmp_path, work=False) as here:
        async with here.gateway(reply_timeout_s=0.1) as gateway:
            body = (await gateway.post(run_id="r", session_id="s")).json()
        stored = await here.events.accepted("default", "content-team", "r")
        assert stored is not None
        assert stored.session_id == body["session_id"] == "s"
        subject = subjects.request("default", "content-team")
        queued = await reads.last(here.bus, topology.REQUESTS, subject)
        assert queued is not None
        request = here.request_of(queued.data)
        await here.events.complete(finished(request))
        async with here.gateway() as gateway:
            response = await gateway.post(run_id="r", session_id="s")
    assert (response.status_code, response.json()["run_id"]) == (200, "r")
