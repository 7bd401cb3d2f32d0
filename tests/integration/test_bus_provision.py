"""Provisioning, the catalogue and the store of large bodies, on a real bus."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from teambus.bus import catalogue, topology
from teambus.bus.bodies import Bodies, BodyMissing
from teambus.bus.errors import TopologyMismatch
from teambus.bus.provision import mismatch, provision, provisioned, verify_stream
from teambus.bus.reads import call
from teambus.contracts import subjects
from teambus.contracts.catalogue import (
    AgentDescription,
    AppDescription,
    HookDescription,
    TeamDescription,
)
from teambus.contracts.media import BODIES_BUCKET
from tests.integration.bus_parts import APP, HOOK, POOL, Here, here

MIB = 1024 * 1024


async def streams(place: Here) -> dict[str, Any]:
    """Every stream's configuration, with when it was made."""
    reply = await call(place.bus, "$JS.API.STREAM.LIST", b"")
    listed = msgspec.json.decode(reply.data)["streams"]
    return {each["config"]["name"]: (each["config"], each["created"]) for each in listed}


async def consumer(place: Here, stream: str, name: str) -> Any:
    reply = await call(place.bus, f"$JS.API.CONSUMER.INFO.{stream}.{name}", b"")
    return msgspec.json.decode(reply.data)


async def test_provisioning_again_changes_nothing(tmp_path: Path) -> None:
    async with here(tmp_path) as place:
        before = await streams(place)
        made = (await consumer(place, topology.REQUESTS, POOL))["created"]
        await provision(place.bus, APP, topology.TopologySettings())
        assert await streams(place) == before
        assert (await consumer(place, topology.REQUESTS, POOL))["created"] == made


async def test_a_changed_setting_reaches_streams_and_consumers_that_exist(tmp_path: Path) -> None:
    async with here(tmp_path, ack_wait_s=30) as place:
        changed = topology.TopologySettings(ack_wait_s=7, requests_per_team_max=3)
        await provision(place.bus, APP, changed)
        config, _ = (await streams(place))[topology.REQUESTS]
        assert config["max_msgs_per_subject"] == 3
        pool = await provisioned(place.bus, topology.REQUESTS, POOL, wait_s=0)
        assert pool.ack_wait_s == 7


async def test_a_team_more_is_heard_by_the_pool_that_exists(tmp_path: Path) -> None:
    async with here(tmp_path) as place:
        more = msgspec.structs.replace(
            APP, teams=[*APP.teams, TeamDescription(id="night", name="Night")]
        )
        await provision(place.bus, more, topology.TopologySettings())
        config = (await consumer(place, topology.REQUESTS, POOL))["config"]
        assert len(config["filter_subjects"]) == 2


async def test_an_agent_is_heard_by_the_pool_like_a_team(tmp_path: Path) -> None:
    async with here(tmp_path) as place:
        poet = AgentDescription(id="poet", name="Poet")
        more = msgspec.structs.replace(APP, agents=[poet])
        await provision(place.bus, more, topology.TopologySettings())
        config = (await consumer(place, topology.REQUESTS, POOL))["config"]
        assert subjects.request("*", "poet") in config["filter_subjects"]
        alone = AppDescription(id="alone", agents=[AgentDescription(id="solo", name="Solo")])
        await provision(place.bus, alone, topology.TopologySettings())
        await provisioned(place.bus, topology.REQUESTS, "pool_alone", wait_s=0)


async def test_an_id_of_another_apps_team_or_agent_is_refused_by_name(tmp_path: Path) -> None:
    async with here(tmp_path) as place:
        poet = AgentDescription(id="poet", name="Poet")
        await provision(
            place.bus, AppDescription(id="poems", agents=[poet]), topology.TopologySettings()
        )
        rival = AppDescription(
            id="rival",
            teams=[TeamDescription(id="poet", name="Poets")],
            agents=[AgentDescription(id="desk", name="Desk")],
        )
        both = r"team 'poet' \(app 'poems'\), agent 'desk' \(app 'news'\)"
        with pytest.raises(TopologyMismatch, match=both):
            await provision(place.bus, rival, topology.TopologySettings())


async def test_another_apps_team_or_hook_is_refused_by_name(tmp_path: Path) -> None:
    async with here(tmp_path) as place:
        rival = AppDescription(
            id="rival",
            teams=[TeamDescription(id="desk", name="Mine now")],
            hooks=[HookDescription(name=HOOK.name, app="rival", function="f", teams=["desk"])],
        )
        with pytest.raises(TopologyMismatch, match=r"team 'desk' \(app 'news'\).*hook 'note'"):
            await provision(place.bus, rival, topology.TopologySettings())
        assert [app.id for app in await catalogue.read(place.bus)] == ["news"]


async def test_what_the_server_refuses_to_change_is_said(tmp_path: Path) -> None:
    async with here(tmp_path) as place:
        tripled = topology.TopologySettings(replicas=3)
        with pytest.raises(TopologyMismatch, match="TEAMBUS_REQUESTS cannot be made as needed"):
            await provision(place.bus, APP, tripled)


async def test_what_was_never_provisioned_is_said_with_the_mend(tmp_path: Path) -> None:
    async with here(tmp_path) as place:
        with pytest.raises(TopologyMismatch, match="teambus provision"):
            await provisioned(place.bus, topology.REQUESTS, "pool_other", wait_s=0)
        with pytest.raises(TopologyMismatch, match="teambus provision"):
            await verify_stream(place.bus, "OTHER")


async def test_a_stream_that_lacks_a_subject_of_this_version_is_said_and_more_is_as_well(
    tmp_path: Path,
) -> None:
    async with here(tmp_path) as place:
        jetstream = place.bus.client.jetstream()
        config = (await jetstream.stream_info(topology.DEAD)).config
        assert config.subjects is not None
        config.subjects = [*config.subjects, "teambus.v1.later.>"]
        await jetstream.update_stream(config)
        await verify_stream(place.bus, topology.DEAD)
        config.subjects = ["teambus.v1.later.>"]
        await jetstream.update_stream(config)
        with pytest.raises(TopologyMismatch, match=r"does not take teambus\.v1\.dead\."):
            await verify_stream(place.bus, topology.DEAD)
        told = await mismatch(place.bus, [topology.DEAD], [(topology.REQUESTS, "pool_other")])
        assert told is not None
        assert "does not take" in told


async def test_the_catalogue_gives_back_what_was_declared(tmp_path: Path) -> None:
    async with here(tmp_path) as place:
        revision = await catalogue.revision(place.bus)
        other = AppDescription(id="shop", teams=[TeamDescription(id="till", name="Till")])
        await catalogue.put(place.bus, other)
        assert await catalogue.read(place.bus) == [APP, other]
        assert await catalogue.revision(place.bus) > revision


async def test_a_large_body_is_read_by_any_nats_client(tmp_path: Path) -> None:
    async with here(tmp_path) as place:
        bodies, body = Bodies(place.bus), bytes(range(256)) * (2 * MIB // 256)
        data, headers = await bodies.fit(body, owner="run one\r\n")
        (name,) = headers.values()
        assert (data, len(body)) == (b"", 2 * MIB)
        store = await place.bus.client.jetstream().object_store(BODIES_BUCKET)
        assert (await store.get(name)).data == body
        assert await bodies.load(data, headers) == body


async def test_a_body_another_client_wrote_is_read(tmp_path: Path) -> None:
    async with here(tmp_path) as place:
        store = await place.bus.client.jetstream().object_store(BODIES_BUCKET)
        await store.put("theirs", b"x" * MIB)
        assert await Bodies(place.bus).load(b"", {"Teambus-Body": "theirs"}) == b"x" * MIB


async def test_the_same_body_is_kept_once(tmp_path: Path) -> None:
    async with here(tmp_path) as place:
        bodies = Bodies(place.bus)
        first = await bodies.fit(b"y" * MIB, owner="r")
        count = len(await place.stored(topology.BODIES, ">"))
        assert await bodies.fit(b"y" * MIB, owner="r") == first
        assert len(await place.stored(topology.BODIES, ">")) == count


async def test_a_missing_or_damaged_body_is_told(tmp_path: Path) -> None:
    async with here(tmp_path) as place:
        bodies = Bodies(place.bus)
        with pytest.raises(BodyMissing, match="no longer stored"):
            await bodies.load(b"", {"Teambus-Body": "r/none"})
        _, headers = await bodies.fit(b"z" * 2 * MIB, owner="r")
        purge = msgspec.json.encode({"filter": "$O.teambus_bodies.C.>", "keep": 3})
        await call(place.bus, f"$JS.API.STREAM.PURGE.{topology.BODIES}", purge)
        with pytest.raises(BodyMissing, match="damaged"):
            await bodies.load(b"", headers)
