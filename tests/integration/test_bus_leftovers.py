"""What stays on the bus of hooks and teams that an app does not have any more."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from teambus.bus import catalogue, server_api, topology
from teambus.bus.errors import BusRefused, TopologyMismatch
from teambus.bus.leftovers import FormerHook, FormerTeams, Leftover, Unserved
from teambus.bus.provision import provision
from teambus.bus.pull import Delivery, Inbox
from teambus.contracts import subjects
from teambus.contracts.catalogue import AppDescription, HookDescription, TeamDescription
from tests.integration.bus_parts import APP, HOOK, Here, fetch, here

SETTINGS = topology.TopologySettings(ack_wait_s=1)
NIGHT = TeamDescription(id="night", name="Night")
BOTH = msgspec.structs.replace(HOOK, teams=["desk", "night"])


def app(*hooks: HookDescription, teams: tuple[TeamDescription, ...] = (NIGHT,)) -> AppDescription:
    return msgspec.structs.replace(APP, teams=[*APP.teams, *teams], hooks=list(hooks))


async def put(place: Here, described: AppDescription, *, prune: bool = False) -> list[Leftover]:
    return await provision(place.bus, described, SETTINGS, prune=prune)


async def complete(place: Here, run: str, team: str = "desk") -> None:
    subject = subjects.event("default", team, run, "completed")
    await place.bus.client.jetstream().publish(subject, run.encode())


async def delivered(place: Here, hook: HookDescription, count: int) -> list[Delivery]:
    name = topology.hook_consumer_name(hook)
    async with Inbox(place.bus, topology.EVENTS, name, heartbeat_s=0.1) as inbox:
        return await fetch(inbox, count, within_s=20)


async def told(place: Here, hook: HookDescription, count: int) -> list[str]:
    """The runs that the hook hears of; each is settled."""
    found = await delivered(place, hook, count)
    for each in found:
        await each.ack()
    return [each.data.decode() for each in found]


async def consumers(place: Here) -> dict[str, Any]:
    listed = await server_api.consumers(place.bus, topology.EVENTS)
    return {each["name"]: each for each in listed}


async def test_nothing_is_left_of_an_app_that_stays_as_it_is(tmp_path: Path) -> None:
    async with here(tmp_path) as place:
        await complete(place, "r1")
        assert await put(place, app(HOOK)) == []
        assert await put(place, app(HOOK), prune=True) == []
        assert await told(place, HOOK, 1) == ["r1"]


async def test_a_removed_hooks_deliveries_stay_until_they_are_dropped_by_wish(
    tmp_path: Path,
) -> None:
    async with here(tmp_path) as place:
        for run in ("r1", "r2", "r3"):
            await complete(place, run)
        await delivered(place, HOOK, 1)
        [left] = await put(place, app())
        assert left == FormerHook("note", "news", waiting=2, begun=1, dropped=False)
        assert await put(place, app()) == [left], "again it is said again"
        assert "(waiting: 2, in hand or to be retried: 1)" in str(left)
        assert "Give a hook this name again" in str(left)
        assert "teambus provision --prune" in str(left)
        [dropped] = await put(place, app(), prune=True)
        assert dropped == FormerHook("note", "news", waiting=2, begun=1, dropped=True)
        assert await consumers(place) == {}
        assert await put(place, app()) == []


async def test_a_hook_that_is_put_back_is_told_of_all_it_missed(tmp_path: Path) -> None:
    async with here(tmp_path) as place:
        await complete(place, "before")
        await put(place, app())
        await complete(place, "meanwhile")
        assert await put(place, app(HOOK)) == []
        assert await told(place, HOOK, 2) == ["before", "meanwhile"]


async def test_a_hook_is_missed_though_nothing_waits_for_it(tmp_path: Path) -> None:
    async with here(tmp_path) as place:
        [left] = await put(place, app())
        assert left == FormerHook("note", "news", waiting=0, begun=0, dropped=False)
        assert len(await consumers(place)) == 1


async def test_a_renamed_hook_is_a_new_one_and_a_former_one(tmp_path: Path) -> None:
    async with here(tmp_path) as place:
        await complete(place, "r1")
        renamed = msgspec.structs.replace(HOOK, name="noted")
        [left] = await put(place, app(renamed))
        assert left == FormerHook("note", "news", waiting=1, begun=0, dropped=False)
        await complete(place, "r2")
        assert await told(place, renamed, 1) == ["r2"]
        assert await told(place, HOOK, 2) == ["r1", "r2"]


async def redrive(place: Here, hook: HookDescription, run: str) -> None:
    subject = subjects.redrive("default", hook.name)
    await place.bus.client.jetstream().publish(subject, run.encode())


async def told_again(place: Here, hook: HookDescription, count: int) -> list[str]:
    name = topology.hook_consumer_name(hook)
    async with Inbox(place.bus, topology.REDRIVE, name, heartbeat_s=0.1) as inbox:
        return [each.data.decode() for each in await fetch(inbox, count, within_s=20)]


async def test_what_was_redriven_to_a_removed_hook_waits_for_it_until_it_is_dropped_by_wish(
    tmp_path: Path,
) -> None:
    async with here(tmp_path) as place:
        await redrive(place, HOOK, "r1")
        [left] = await put(place, app())
        assert left == FormerHook("note", "news", 0, 0, dropped=False, redriven=1)
        assert "redriven: 1" in str(left)
        assert await put(place, app(HOOK)) == []
        assert await told_again(place, HOOK, 1) == ["r1"]
        [dropped] = await put(place, app(), prune=True)
        assert dropped == FormerHook("note", "news", 0, 0, dropped=True, redriven=1)
        assert await server_api.counts(place.bus, topology.REDRIVE, ">") == {}


async def test_a_hooks_name_may_go_to_another_app_with_what_is_redriven_to_it(
    tmp_path: Path,
) -> None:
    async with here(tmp_path) as place:
        await put(place, app())
        till = TeamDescription(id="till", name="Till")
        theirs = HookDescription(name="note", app="shop", function="note", teams=["till"])
        await put(place, AppDescription(id="shop", teams=[till], hooks=[theirs]))
        await redrive(place, theirs, "r1")
        [dropped] = await put(place, app(), prune=True)
        assert dropped == FormerHook("note", "news", 0, 0, dropped=True)
        assert await told_again(place, theirs, 1) == ["r1"]


async def test_hooks_of_other_apps_and_strangers_are_not_touched(tmp_path: Path) -> None:
    async with here(tmp_path) as place:
        other_hook = HookDescription(name="ring", app="shop", function="ring", teams=["till"])
        till = TeamDescription(id="till", name="Till")
        await put(place, AppDescription(id="shop", teams=[till], hooks=[other_hook]))
        stranger = {"durable_name": "theirs", "ack_policy": "explicit"}
        body = {"stream_name": topology.EVENTS, "config": stranger}
        await server_api.ask(place.bus, f"CONSUMER.CREATE.{topology.EVENTS}.theirs", body)
        await complete(place, "r1", "till")
        assert [type(each) for each in await put(place, app(), prune=True)] == [FormerHook]
        kept = await consumers(place)
        assert set(kept) == {topology.hook_consumer_name(other_hook), "theirs"}
        assert await told(place, other_hook, 1) == ["r1"]


async def test_a_hook_that_leaves_a_team_is_told_of_what_waits_from_there(tmp_path: Path) -> None:
    async with here(tmp_path) as place:
        await put(place, app(BOTH))
        await complete(place, "d1")
        await complete(place, "n1", "night")
        [left] = await put(place, app(HOOK))
        assert isinstance(left, FormerTeams)
        assert (left.hook, left.teams) == ("note", "night")
        assert (left.waiting, left.dropped) == (1, False)
        assert await put(place, app(HOOK)) == [left], "again it is said again"
        assert "is not on night any more, but has deliveries from there (waiting: 1)" in str(left)
        assert await told(place, HOOK, 2) == ["d1", "n1"]
        assert await put(place, app(HOOK)) == []
        await complete(place, "n2", "night")
        await complete(place, "d2")
        assert await told(place, HOOK, 1) == ["d2"]


async def test_what_a_hook_had_begun_comes_again_after_it_left_the_team(tmp_path: Path) -> None:
    async with here(tmp_path) as place:
        await put(place, app(BOTH))
        await complete(place, "n1", "night")
        [begun] = await delivered(place, BOTH, 1)
        assert await put(place, app(HOOK)) == []
        await begun.nak()
        assert await told(place, HOOK, 1) == ["n1"]


async def test_what_waits_from_a_team_that_was_left_is_dropped_by_wish(tmp_path: Path) -> None:
    async with here(tmp_path) as place:
        await put(place, app(BOTH))
        await complete(place, "n1", "night")
        await complete(place, "d1")
        [left] = await put(place, app(HOOK), prune=True)
        assert isinstance(left, FormerTeams)
        assert (left.teams, left.waiting, left.dropped) == ("night", 1, True)
        assert await told(place, HOOK, 1) == ["d1"]


async def test_requests_that_wait_for_nobody_are_counted_and_never_dropped(tmp_path: Path) -> None:
    async with here(tmp_path) as place:
        await put(place, app(HOOK))
        jetstream = place.bus.client.jetstream()
        for tenant, team in (("default", "night"), ("other", "night"), ("default", "desk")):
            await jetstream.publish(subjects.request(tenant, team), b"{}")
        for prune in (False, True):
            assert await put(place, app(HOOK, teams=()), prune=prune) == [Unserved("night", 2)]
        assert "which wait for nobody: 2" in str(Unserved("night", 2))
        assert await put(place, app(HOOK)) == []


async def test_an_app_under_a_new_name_is_told_what_waits_under_the_old_one(tmp_path: Path) -> None:
    async with here(tmp_path) as place:
        await place.bus.client.jetstream().publish(subjects.request("default", "desk"), b"{}")
        renamed = AppDescription(id="newspaper", teams=APP.teams)
        with pytest.raises(TopologyMismatch) as caught:
            await put(place, renamed, prune=True)
        assert "team 'desk' (app 'news'); rename them" in str(caught.value)
        assert "keep its id with TeamBus(id='news')" in str(caught.value)
        assert "requests on the bus for the runners of 'news': 1" in str(caught.value)
        assert [each.id for each in await catalogue.read(place.bus)] == ["news"]


async def test_more_consumers_and_subjects_than_one_answer_holds_are_all_seen(
    tmp_path: Path,
) -> None:
    async with here(tmp_path) as place:
        create = f"CONSUMER.CREATE.{topology.EVENTS}"
        for number in range(300):
            config = {"durable_name": f"c{number}", "ack_policy": "none", "mem_storage": True}
            body = {"stream_name": topology.EVENTS, "config": config}
            await server_api.ask(place.bus, f"{create}.c{number}", body)
        assert len(await consumers(place)) == 301
        with pytest.raises(BusRefused, match="stream not found"):
            await server_api.consumers(place.bus, "NONE")


async def test_the_command_says_what_is_left_and_drops_it_with_prune(tmp_path: Path) -> None:
    program = """
from teambus import Agent, OpenAIChat, Team, TeamBus
team = Team(id="desk", model=OpenAIChat(id="m"), members=[Agent(name="Ann")])
app = TeamBus(id="news", teams=[team])
"""
    (tmp_path / "desk_app.py").write_text(program)
    async with here(tmp_path) as place:
        await complete(place, "r1")
        kept = await command(place, tmp_path)
        assert "teambus provision: the app 'news' has no hook 'note' any more" in kept
        assert "(waiting: 1, in hand or to be retried: 0)" in kept
        assert len(await consumers(place)) == 1
        assert "the hook 'note' is gone" in await command(place, tmp_path, "--prune")
        assert await consumers(place) == {}
        assert await command(place, tmp_path) == ""


async def command(place: Here, folder: Path, *options: str) -> str:
    """What `teambus provision` complains of."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "teambus", "provision"),
        *("--app", "desk_app", "--app-dir", str(folder), *options),
        env={**os.environ, "NATS_URL": place.nats.url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    assert "app news is provisioned" in out.decode()
    return "\n".join(x for x in err.decode().splitlines() if x.startswith("teambus provision:"))
