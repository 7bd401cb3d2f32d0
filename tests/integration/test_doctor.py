"""The doctor finds what is wrong on a real bus, one thing at a time, and says how to mend it."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from teambus.bus import survey, topology
from teambus.bus.leases import Candidacy
from teambus.bus.provision import provision
from teambus.bus.pull import Inbox
from teambus.cli import doctor
from teambus.cli.checkup import Ground, check
from teambus.cli.findings import Finding, lines, ok
from teambus.cli.surroundings import Around, disks
from teambus.contracts import subjects
from teambus.contracts.catalogue import AppDescription
from teambus.contracts.lease import JANITOR
from teambus.domain.lag import LagLimits
from teambus.local.binary import find_binary
from teambus.runtime.hands import Hands
from teambus_team_runner.presence import present
from tests.integration.bus_parts import APP, HOOK, POOL, Here, here, until
from tests.support.system import free_port
from tests.support.system import until as eventually

SETTINGS = topology.TopologySettings()
LIMITS = LagLimits(age_max_s=600, messages_max=3)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Here]:
    async with here(tmp_path) as made:
        yield made


@asynccontextmanager
async def served(place: Here) -> AsyncIterator[None]:
    """A janitor, a runner and a hook-runner, as far as the bus can tell."""
    candidacy = Candidacy(place.bus, JANITOR, "somebody", lease_s=600)
    await candidacy._look()
    inbox = Inbox(place.bus, topology.EVENTS, topology.hook_consumer_name(HOOK))
    async with present(place.bus, APP.id, Hands(1, patience_s=1)), inbox:
        await inbox.fetch(1, asyncio.Event())
        yield


async def looked(place: Here, settings: topology.TopologySettings = SETTINGS) -> list[Finding]:
    around = Around(serves_itself=True)
    return await check(Ground(place.bus, settings, LIMITS, 0.7, around))


def faults(found: list[Finding]) -> list[str]:
    assert all(each.mend for each in found if each.level != "ok"), found
    return [f"{each.about}: {each.says}" for each in found if each.level == "fault"]


async def test_a_bus_on_which_all_is_well_has_nothing_to_mend(place: Here) -> None:
    async with served(place):
        found = await looked(place)
    assert faults(found) == []
    about = [each.about for each in found]
    parts = ["pool news", "hook note", "janitor", "dead letters", "room"]
    assert about == ["bus", "disk", "streams", "clock", "app news", *parts]
    assert lines(found)[-1] == "nothing to mend"


async def test_a_clock_that_is_off_is_named(place: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    class LateClock:
        monotonic = time.monotonic

        def time(self) -> float:
            return time.time() - 60

    monkeypatch.setattr(survey, "time", LateClock())
    async with served(place):
        (found,) = faults(await looked(place))
    assert re.fullmatch(r"clock: \S+ is (59|60)\.\d s ahead of this machine", found)


@asynccontextmanager
async def monitored(folder: Path, *, sync: str) -> AsyncIterator[str]:
    """A server of its own that shows how it is set up; its monitoring port."""
    config, store, port = folder / "nats.conf", folder / "store", free_port()
    config.write_text(
        f'host: 127.0.0.1\nport: -1\nhttp: "127.0.0.1:{port}"\nserver_name: one\n'
        f"jetstream {{ store_dir: {store}, sync_interval: {sync} }}\n"
    )
    command = (str(find_binary()), "-c", str(config))
    server = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:

        async def is_up() -> bool:
            return "does not answer" not in (await disks(Around([url])))[0].says

        await eventually(is_up, 30, "the server did not start")
        yield url
    finally:
        server.kill()
        await server.wait()


async def test_a_server_that_acknowledges_before_it_writes_is_named(tmp_path: Path) -> None:
    async with monitored(tmp_path, sync='"2m"') as url:
        (found,) = await disks(Around([url]))
    assert found.level == "fault"
    assert found.says.startswith("one writes to disk every 120 s")
    assert "sync_interval: always" in (found.mend or "")


async def test_a_server_that_writes_first_is_well_and_one_that_hides_it_is_a_note(
    tmp_path: Path,
) -> None:
    async with monitored(tmp_path, sync="always") as url:
        assert await disks(Around([url])) == [ok("disk", "one writes before it acknowledges")]
    (gone,) = await disks(Around([url]))
    assert gone.level == "fault"
    (hidden,) = await disks(Around())
    assert (hidden.level, "sync_interval: always" in (hidden.mend or "")) == ("note", True)
    (own,) = await disks(Around(serves_itself=True))
    assert own.level == "ok"


async def test_who_is_not_there_is_named(place: Here) -> None:
    assert faults(await looked(place)) == [
        "pool news: no runner is there; 0 waiting, 0 in hand",
        "janitor: there is none",
    ]


async def test_a_stream_changed_by_hand_is_told_from_one_with_other_settings(place: Here) -> None:
    stream = place.bus.client.jetstream()
    config = (await stream.stream_info(topology.EVENTS)).config
    config.max_age = 3600
    await stream.update_stream(config)
    other = topology.TopologySettings(journal_bytes_max=1024**3, ack_wait_s=5)
    async with served(place):
        found = await looked(place, other)
    assert faults(found) == [f"streams: {topology.EVENTS} is not as described: max_age"]
    assert [each.says for each in found if each.level == "note"] == [
        "made with other settings than those here: max_bytes"
    ]


async def test_missing_streams_and_consumers_are_named(place: Here) -> None:
    stream = place.bus.client.jetstream()
    await stream.delete_consumer(topology.REQUESTS, POOL)
    async with served(place):
        missing = f"app news: its consumer {POOL} is missing"
        assert faults(await looked(place)) == [missing]
        hook = topology.hook_consumer_name(HOOK)
        await stream.delete_consumer(topology.REDRIVE, hook)
        again = f"app news: its consumer {hook} is missing"
        assert faults(await looked(place)) == [missing, again]
    await stream.delete_stream(topology.LEASES)
    assert faults(await looked(place)) == [f"streams: {topology.LEASES} is missing"]


async def test_a_consumer_that_hears_too_little_is_named(place: Here) -> None:
    more = msgspec.structs.replace(
        APP, teams=[*APP.teams, msgspec.structs.replace(APP.teams[0], id="night")]
    )
    await provision(place.bus, more, SETTINGS)
    old = topology.pool_consumer(APP, SETTINGS)
    body = msgspec.json.encode({"stream_name": topology.REQUESTS, "config": old, "action": ""})
    await place.bus.client.request(f"$JS.API.CONSUMER.CREATE.{topology.REQUESTS}.{POOL}", body)
    async with served(place):
        unheard = subjects.request("*", "night")
        says = f"app news: its consumer {POOL} does not hear {unheard}"
        assert faults(await looked(place)) == [says]


async def test_what_an_app_has_no_more_is_noted_as_long_as_the_bus_keeps_it(place: Here) -> None:
    less = msgspec.structs.replace(APP, hooks=[])
    await provision(place.bus, less, SETTINGS)
    async with served(place):
        found = await looked(place)
    assert faults(found) == []
    former = [each for each in found if each.about == f"hook {HOOK.name}"]
    assert [(each.level, each.says) for each in former] == [
        ("note", "no app has it any more; 0 waiting for it")
    ]


async def test_without_an_app_that_is_what_is_wrong(tmp_path: Path) -> None:
    async with here(tmp_path) as place:
        await place.bus.client.jetstream().purge_stream(topology.CATALOGUE)
        assert "catalogue: no app is provisioned" in faults(await looked(place))


async def test_a_long_queue_is_late_and_a_short_one_is_not(place: Here) -> None:
    async with served(place):
        for number in range(3):
            await place.submit(number)
        assert faults(await looked(place)) == []
        await place.submit(3)
        [late] = faults(await looked(place))
    assert late.startswith("pool news: 4 waiting, 0 in hand, the oldest waits for ")


async def test_a_hook_nobody_calls_is_named(place: Here) -> None:
    async with served(place):
        pass
    subject = subjects.event("default", "desk", "r-1", "completed")
    await place.bus.client.jetstream().publish(subject, b"{}")

    async def told() -> bool:
        said = faults(await looked(place))
        return any(each.startswith("hook note: nobody calls it; 1 waiting") for each in said)

    # The last pull of who was there is open for some seconds yet.
    await until(told, 30)


async def test_requests_for_nobody_are_counted_by_team_and_tenant(place: Here) -> None:
    for number in range(2):
        subject = subjects.request("acme", "nobody")
        await place.bus.client.jetstream().publish(subject, b"%d" % number)
    async with served(place):
        [unserved] = faults(await looked(place))
    assert unserved.startswith("unserved: nobody of tenant acme: 2 requests, the oldest for ")


async def test_dead_letters_are_counted_by_what_they_are_about_and_are_no_fault(
    place: Here,
) -> None:
    for name, id_ in (("note", "a"), ("note", "b"), ("audit", "c")):
        subject = subjects.dead("default", "hook", name, id_)
        await place.bus.client.jetstream().publish(subject, b"{}")
    async with served(place):
        found = await looked(place)
    assert faults(found) == []
    [letters] = [each for each in found if each.about == "dead letters"]
    assert (letters.level, letters.says) == ("note", "2 of hook note, 1 of hook audit")


async def test_a_stream_with_little_room_left_is_named(tmp_path: Path) -> None:
    limits = {"journal_bytes_max": 10_000, "frames_bytes_max": 10_000}
    async with here(tmp_path, **limits) as place, served(place):
        for number in range(9):
            for subject in (subjects.journal, subjects.frames):
                name = subject("default", f"r-{number}")
                await place.bus.client.jetstream().publish(name, b"x" * 800)
        found = await looked(place, topology.TopologySettings(**limits))
    # Of frames the oldest go, so they may take all their room.
    [full] = faults(found)
    assert full.startswith(f"room: {topology.JOURNAL} is ")
    assert full.endswith("of 10000 bytes")
    assert "raise TOPOLOGY_JOURNAL_BYTES_MAX and provision again" in {each.mend for each in found}


async def test_an_app_without_teams_needs_no_pool(place: Here) -> None:
    await provision(place.bus, AppDescription(id="empty"), SETTINGS)
    async with served(place):
        assert faults(await looked(place)) == []


async def test_a_bus_that_is_not_there_is_one_clear_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    variables = {"NATS_URL": "nats://127.0.0.1:1", "DOCTOR_CONNECT_TIMEOUT_S": "0.5"}
    code = await asyncio.to_thread(doctor.run, variables, as_json=False)
    said = capsys.readouterr().out.splitlines()[-2:]
    assert code == 1
    assert said[0].startswith("fault  bus  cannot reach NATS at nats://127.0.0.1:1")
    assert said[1] == "1 thing to mend"
