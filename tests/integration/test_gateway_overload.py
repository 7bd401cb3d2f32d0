"""More than can be taken: each way of asking is refused with the reason and when to come back."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import httpx2
import msgspec
import pytest

from teambus.bus import reads, topology
from teambus.bus.api import ask
from teambus.bus.bodies import Bodies
from teambus.bus.errors import StreamFull
from teambus.bus.publish import Publication, publish
from teambus.bus.requests import Requests
from teambus.contracts import headers as names
from teambus.contracts import subjects
from teambus.contracts.run import RunRequest
from tests.integration.gateway_parts import Served, System, reconnected, system

RETRY_AFTER_S = 7
QUICK: dict[str, Any] = {"retry_after_s": RETRY_AFTER_S, "publish_patience_s": 0.3}


class Refusal(NamedTuple):
    """What every way of asking must be told."""

    status: int
    code: str
    retry_after: str
    has_detail: bool
    names_run: bool


Way: TypeAlias = Callable[[System, Served], Awaitable[Refusal]]


def http(**fields: str) -> Way:
    async def way(_: System, gateway: Served) -> Refusal:
        return _of_http(await gateway.post(**fields))

    return way


async def on_the_bus(here: System, _: Served) -> Refusal:
    question = msgspec.json.encode({"team_id": "content-team", "input": "hi"})
    reply = await ask(here.bus, subjects.api("default", "run.start"), question, wait_s=10)
    assert reply.error_code is not None, reply
    return _refusal(int(reply.error_code), reply.data, reply.headers[names.RETRY_AFTER])


WAYS = {
    "waits": http(),
    "streams": http(stream="true"),
    "in the background": http(background="true"),
    "in the background, streams": http(background="true", stream="true"),
    "with a key": http(key="k"),
    "with a key, streams": http(key="k", stream="true"),
    "on the bus": on_the_bus,
}
EVERY_WAY = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
KNOWN_TO_ALL = [name for name in WAYS if name not in ("waits", "streams", "on the bus")]


@EVERY_WAY
async def test_a_used_up_quota_is_429(tmp_path: Path, way: Way) -> None:
    async with system(tmp_path, work=False, requests_per_team_max=1) as here:
        await Requests(here.bus, Bodies(here.bus), "test").submit(
            "default", "content-team", RunRequest(run_id="first", input="hi")
        )
        async with here.gateway(**QUICK) as gateway:
            assert await way(here, gateway) == refused(429, "quota_exceeded")


async def test_the_quota_of_one_team_or_tenant_is_not_anothers(tmp_path: Path) -> None:
    async with system(tmp_path, work=False, requests_per_team_max=1) as here:
        async with here.gateway(**QUICK, tenant="one") as one:
            assert (await one.post(background="true")).status_code == 202
            assert (await one.post(background="true")).status_code == 429
            other_team = await one.post(background="true", path="/agents/poet")
            assert other_team.status_code == 202
        async with here.gateway(**QUICK, tenant="other") as other:
            assert (await other.post(background="true")).status_code == 202


@EVERY_WAY
async def test_a_queue_without_room_is_503(tmp_path: Path, way: Way) -> None:
    async with system(tmp_path, work=False, requests_bytes_max=64 * 1024) as here:
        await fill(here, subjects.request("default", "poet"))
        async with here.gateway(**QUICK) as gateway:
            assert await way(here, gateway) == refused(503, "bus_full")


@pytest.mark.parametrize("name", KNOWN_TO_ALL)
async def test_events_without_room_are_503_where_acceptance_must_be_known(
    tmp_path: Path, name: str
) -> None:
    async with system(tmp_path, work=False, events_bytes_max=64 * 1024) as here:
        await fill(here, subjects.event("default", "poet", "r", "accepted"))
        async with here.gateway(**QUICK) as gateway:
            assert await WAYS[name](here, gateway) == refused(503, "bus_full")
        assert (await reads.bounds(here.bus, topology.REQUESTS)).last_seq == 0


@pytest.mark.parametrize("limit", [{"requests_per_team_max": 1}, {"requests_bytes_max": 8 * 1024}])
async def test_a_flood_that_is_refused_does_not_fill_the_events(
    tmp_path: Path, limit: dict[str, Any]
) -> None:
    async with (
        system(tmp_path, work=False, **limit) as here,
        here.gateway(**QUICK, reply_timeout_s=0.2) as gateway,
    ):
        first = await gateway.post("x" * 6 * 1024, key="first")
        assert first.status_code == 504
        refused_before = 0
        for number in range(20):
            answer = await gateway.post("x" * 6 * 1024, key=f"k{number}", background="true")
            refused_before += answer.status_code in (429, 503)
        assert refused_before == 20
        accepted = await here.stored(topology.EVENTS, "teambus.v1.event.*.*.*.accepted")
        assert len(accepted) == 2
        again = await gateway.post("x" * 6 * 1024, key="first")
        assert again.status_code == 504
        await reads.call(here.bus, f"$JS.API.STREAM.PURGE.{topology.REQUESTS}", b"")
        assert (await gateway.post("x", key="k7", background="true")).status_code == 202


@EVERY_WAY
async def test_a_queue_that_does_not_answer_is_503(tmp_path: Path, way: Way) -> None:
    async with system(tmp_path, work=False) as here, here.gateway(**QUICK) as gateway:
        await reads.call(here.bus, f"$JS.API.STREAM.DELETE.{topology.REQUESTS}", b"")
        assert await way(here, gateway) == refused(503, "outcome_unknown")


@pytest.mark.parametrize("name", [name for name in WAYS if name != "on the bus"])
async def test_a_bus_that_is_gone_is_503_and_back_it_is_asked_again(
    tmp_path: Path, name: str
) -> None:
    async with system(tmp_path) as here, here.gateway(**QUICK) as gateway:
        await here.nats.kill()
        assert await WAYS[name](here, gateway) == refused(503, "outcome_unknown")
        await here.nats.restart()
        await reconnected(gateway.bus, here.bus)
        assert (await gateway.post(key="k2")).status_code == 200


async def test_more_questions_than_are_answered_at_once_are_told_so(tmp_path: Path) -> None:
    async with system(tmp_path, work=False) as here:
        async with here.gateway(**QUICK, questions_max=0) as gateway:
            told = await on_the_bus(here, gateway)
            assert told == refused(503, "too_many_questions", names_run=False)


async def test_a_large_question_on_the_bus_takes_room_as_an_upload_does(tmp_path: Path) -> None:
    async with system(tmp_path, work=False) as here:
        question = {"team_id": "content-team", "input": "x" * 2 * 1024 * 1024}
        data, headers = await Bodies(here.bus).fit(msgspec.json.encode(question), owner="large")
        async with here.gateway(**QUICK, uploads_bytes_max=1024 * 1024) as gateway:
            reply = await ask(
                here.bus,
                subjects.api("default", "run.start"),
                data,
                wait_s=10,
                headers=headers,
            )
            assert (reply.error_code, _body(reply.data)["code"]) == ("503", "too_many_uploads")
            assert gateway.parts.room.held == 0


def refused(status: int, code: str, *, names_run: bool = True) -> Refusal:
    return Refusal(status, code, str(RETRY_AFTER_S), has_detail=True, names_run=names_run)


async def fill(here: System, subject: str) -> None:
    """Publish to another team's subject until its stream takes no more."""
    for size in (32 * 1024, 4 * 1024, 256, 16):
        for number in range(64):
            message = Publication(subject, b"x" * size, f"{size}-{number}")
            try:
                await publish(here.bus, message)
            except StreamFull:
                break
        else:
            raise AssertionError("the stream never fills")


def _of_http(response: httpx2.Response) -> Refusal:
    retry_after = response.headers.get("retry-after", "")
    return _refusal(response.status_code, response.content, retry_after)


def _refusal(status: int, body: bytes, retry_after: str) -> Refusal:
    said = _body(body)
    has_detail = isinstance(said["detail"], str) and bool(said["detail"])
    return Refusal(status, said.get("code", ""), retry_after, has_detail, bool(said.get("run_id")))


def _body(data: bytes) -> Any:
    return msgspec.json.decode(data)
