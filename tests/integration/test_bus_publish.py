"""Publishing: repeated without harm, refused for a reason, and never sent after its time."""

import asyncio
from pathlib import Path

import pytest

from teambus.bus import topology
from teambus.bus.bodies import Bodies
from teambus.bus.errors import BusUnavailable, QuotaExceeded, StreamFull, WrongLastSequence
from teambus.bus.events import Events
from teambus.bus.publish import Publication, publish
from teambus.bus.requests import Requests
from teambus.bus.sessions import Sessions
from teambus.contracts.hook import HookOutcome
from teambus.contracts.run import RunRefused, RunRequest
from teambus.contracts.session import SessionRecord
from tests.integration.bus_parts import Here, connected, disconnected, here, until

LETTER = "teambus.v1.dead.default.run.desk.one"


def letter(msg_id: str = "one", *, after: int | None = None, data: bytes = b"{}") -> Publication:
    return Publication(LETTER, data, msg_id, after)


def request(run_id: str, text: str = "hello") -> RunRequest:
    return RunRequest(run_id=run_id, input=text, session_id="s")


async def letters(place: Here) -> int:
    return len(await place.stored(topology.DEAD, ">"))


async def test_a_message_published_again_is_stored_once(tmp_path: Path) -> None:
    async with here(tmp_path) as place:
        first = await publish(place.bus, letter())
        again = await publish(place.bus, letter())
        assert (again.seq, again.duplicate) == (first.seq, True)
        assert await letters(place) == 1


async def test_a_message_whose_answer_was_lost_is_stored_once(tmp_path: Path) -> None:
    async with here(tmp_path) as place, place.linked() as (link, bus):
        link.deaf = True
        publishing = asyncio.create_task(publish(bus, letter()))
        await until(lambda: letters(place))
        link.mend()
        assert (await publishing).duplicate
        assert await letters(place) == 1


async def test_a_lost_compare_and_set_says_so(tmp_path: Path) -> None:
    async with here(tmp_path) as place:
        await publish(place.bus, letter("one", after=0))
        with pytest.raises(WrongLastSequence):
            await publish(place.bus, letter("two", after=0))


async def test_what_could_not_be_sent_in_an_outage_is_not_sent_after_it(tmp_path: Path) -> None:
    async with here(tmp_path) as place, place.another(publish_patience_s=0.3) as bus:
        await place.nats.kill()
        await disconnected(bus)
        with pytest.raises(BusUnavailable):
            await publish(bus, letter())
        await place.nats.start()
        await connected(bus)
        await bus.barrier()
        assert await letters(place) == 0


async def test_a_publish_waits_out_a_restart_of_the_server(tmp_path: Path) -> None:
    async with here(tmp_path) as place:
        await place.nats.kill()
        publishing = asyncio.create_task(publish(place.bus, letter()))
        await place.nats.start()
        await publishing
        assert await letters(place) == 1


async def test_a_full_quota_and_a_full_stream_are_told_apart(tmp_path: Path) -> None:
    limits = {"requests_per_team_max": 1, "small_bytes_max": 4096}
    async with here(tmp_path, **limits) as place:
        requests = Requests(place.bus, Bodies(place.bus), "test")
        await requests.submit("default", "desk", request("one"))
        with pytest.raises(QuotaExceeded):
            await requests.submit("default", "desk", request("two"))
        await requests.submit("default", "desk", request("one"))
        with pytest.raises(StreamFull):
            await publish(place.bus, letter(data=b"x" * 8192))


async def test_a_users_text_never_becomes_a_header_of_its_own(tmp_path: Path) -> None:
    evil = "r\r\nNats-Expected-Last-Subject-Sequence: 99"
    async with here(tmp_path) as place:
        bodies = Bodies(place.bus)
        events = Events(place.bus, bodies, source="test")
        await Requests(place.bus, bodies, "test").submit("default", "desk", request(evil))
        outcome = HookOutcome(
            delivery_id=f"default:note:{evil}",
            tenant="default",
            team_id="desk",
            run_id=evil,
            hook="note",
            state="failed",
            attempt=1,
        )
        assert await events.note_outcome(outcome, after=0)
        await events.refuse(
            RunRefused(
                event_id=evil,
                tenant="default",
                team_id="desk",
                run_id=evil,
                request_seq=1,
                code="c",
                detail="d" * 2 * 1024 * 1024,
            )
        )
        for stream in (topology.REQUESTS, topology.HOOKS, topology.EVENTS):
            (message,) = await place.stored(stream, ">")
            sent = [k for k in message.headers if k == "Nats-Expected-Last-Subject-Sequence"]
            assert all(message.headers[name] != "99" for name in sent)
            assert all("\r" not in v and "\n" not in v for v in message.headers.values())
            assert evil not in str(message.headers)


async def test_replacing_a_session_record_knows_its_own_success(tmp_path: Path) -> None:
    async with here(tmp_path) as place, place.linked() as (link, bus):
        sessions = Sessions(bus)
        seen = await sessions.read("default", "s")
        record = SessionRecord(tenant="default", session_id="s", fence=1)
        link.deaf = True
        replacing = asyncio.create_task(sessions.replace(seen, record))
        await until(lambda: place.stored(topology.SESSIONS, ">"))
        link.mend()
        assert await replacing
        assert not await sessions.replace(seen, record)
