"""The supervisor as a real process over stand-in services: order, ends, deaths, restarts."""

import asyncio
import os
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from teambus.bus import reads, topology
from teambus.bus.connection import Bus, BusSettings, connect
from teambus.bus.provision import provision
from teambus.contracts.catalogue import AppDescription
from tests.support.supervised import (
    Supervised,
    all_gone,
    get,
    is_free,
    parent_of,
    supervised,
    until,
)

GONE_S = 2
SOON_S = 15
RUNNERS = ("team-runner", "hook-runner")


def bus_of(system: Supervised) -> BusSettings:
    return BusSettings((system.status()["nats"]["url"],), "test", publish_patience_s=10)


async def kept(bus: Bus) -> int:
    return len([x async for x in reads.history(bus, topology.DEAD, ">", until=99, messages_max=9)])


async def keep_something(system: Supervised) -> None:
    async with connect(bus_of(system)) as bus:
        await provision(bus, AppDescription(id="app"), topology.TopologySettings())
        subject = "teambus.v1.dead.default.run.name.id"
        await reads.call(bus, subject, b"kept")
        assert await kept(bus) == 1


async def is_kept(system: Supervised) -> bool:
    async with connect(bus_of(system)) as bus:
        return await kept(bus) == 1


async def test_it_starts_in_order_answers_and_stops_in_order(tmp_path: Path) -> None:
    async with supervised(tmp_path, "--port", "0") as system:
        await system.ready()
        port = system.child.facts["port"]
        assert await get(port) == "HTTP/1.1 200 OK"
        family = system.family()
        system.signal(signal.SIGTERM)
        assert await system.ended() == 0
        assert all_gone(family)
        assert is_free(port)
    story = system.story()
    assert story[0] == "load started"
    assert set(story[1:3]) == {f"{name} started" for name in RUNNERS}
    assert story[3:5] == ["gateway started", "gateway stopped"]
    assert set(story[5:]) == {f"{name} stopped" for name in RUNNERS}
    assert not (system.data / "status.json").exists()


async def test_the_status_file_says_what_runs_where(tmp_path: Path) -> None:
    async with supervised(tmp_path, "--port", "0") as system:
        await system.ready()
        said = system.status()
        assert said["pid"] == system.child.pid
        assert said["port"] == system.child.facts["port"]
        assert said["teams"] == ["content-team"]
        assert {each["name"]: each["pid"] for each in said["services"]} == {
            name: system.pids(name)[0] for name in (*RUNNERS, "gateway")
        }
        assert all(each["ready"] for each in said["services"])
        assert f"curl -X POST {said['url']}/teams/content-team/runs" in system.said()


async def test_a_killed_supervisor_takes_everything_along_within_two_seconds(
    tmp_path: Path,
) -> None:
    async with supervised(tmp_path, "--port", "0") as system:
        await system.ready()
        family, port = system.family(), system.child.facts["port"]
        assert len(family) == 5
        system.signal(signal.SIGKILL)
        await until(lambda: all_gone(family), GONE_S, f"gone: {family}")
        assert is_free(port)


async def test_starting_again_after_a_kill_uses_the_same_port_and_data(tmp_path: Path) -> None:
    async with supervised(tmp_path, "--port", "0") as system:
        await system.ready()
        await keep_something(system)
        port = system.child.facts["port"]
        system.signal(signal.SIGKILL)
        await system.ended()
    async with supervised(tmp_path, "--port", str(port)) as system:
        await system.ready()
        assert await get(port) == "HTTP/1.1 200 OK"
        assert await is_kept(system)


async def test_it_ends_when_whoever_started_it_does(tmp_path: Path) -> None:
    (tmp_path / "gateway.stays").touch()
    async with supervised(tmp_path, "--port", "0") as system:
        await system.ready()
        family = system.family()
        system.abandon()
        await until(lambda: all_gone(family), GONE_S, f"gone: {family}")
        await system.ended()


async def test_a_second_one_is_refused_and_told_who_is_there(tmp_path: Path) -> None:
    async with supervised(tmp_path, "--port", "0") as first:
        await first.ready()
        async with supervised(tmp_path, "--port", "0") as second:
            assert await second.ended() == 2
            error = second.child.error or ""
        assert f"in use by process {first.child.pid} since 20" in error
        assert f"on port {first.child.facts['port']}; stop it, or choose another" in error
        assert await get(first.child.facts["port"]) == "HTTP/1.1 200 OK"


async def test_a_taken_port_is_said_before_anything_is_started(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with supervised(tmp_path, "--port", str(port)) as system:
            assert await system.ended() == 2
    assert system.child.error == (
        f"port {port} is in use; stop what listens there or choose another with --port"
    )
    assert system.story() == []


@pytest.mark.parametrize("name", [*RUNNERS, "gateway"])
async def test_a_service_that_dies_is_started_again_and_the_others_are_left_alone(
    tmp_path: Path, name: str
) -> None:
    async with supervised(tmp_path, "--port", "0") as system:
        await system.ready()
        os.kill(system.pids(name)[0], signal.SIGKILL)
        await until(lambda: len(system.pids(name)) == 2, SOON_S, f"{name} started again")
        assert await get(system.child.facts["port"]) == "HTTP/1.1 200 OK"
        for other in {*RUNNERS, "gateway"} - {name}:
            assert len(system.pids(other)) == 1


async def test_one_that_dies_at_start_is_tried_again_until_the_time_is_up(tmp_path: Path) -> None:
    (tmp_path / "hook-runner.dies").touch()
    async with supervised(tmp_path, "--port", "0", TEAMBUS_READY_S="8") as system:
        assert await system.ended() == 2
    assert len(system.pids("hook-runner")) >= 2
    assert "hook-runner was not ready within 8 s: it ended" in (system.child.error or "")
    assert "last with code 1" in (system.child.error or "")
    assert "gateway started" not in system.story()


async def test_one_that_is_never_ready_is_named_and_everything_is_stopped(tmp_path: Path) -> None:
    (tmp_path / "team-runner.mute").touch()
    async with supervised(tmp_path, "--port", "0", TEAMBUS_READY_S="10") as system:
        assert await system.ended() == 2
    assert system.child.error == "team-runner was not ready within 10 s: it is still starting"
    assert "team-runner stopped" in system.story()


async def test_a_service_that_refuses_its_settings_is_not_started_again(tmp_path: Path) -> None:
    (tmp_path / "hook-runner.refuses").write_text("HOOK_RUNNER_PROCESSES_MAX='many': no")
    async with supervised(tmp_path, "--port", "0") as system:
        assert await system.ended() == 2
    assert system.child.error == "HOOK_RUNNER_PROCESSES_MAX='many': no"
    assert len(system.pids("hook-runner")) == 1


async def test_a_killed_nats_server_comes_back_at_the_same_port_with_its_data(
    tmp_path: Path,
) -> None:
    async with supervised(tmp_path, "--port", "0") as system:
        await system.ready()
        await keep_something(system)
        before = system.status()["nats"]
        os.kill(before["pid"], signal.SIGKILL)
        await until(
            lambda: system.status()["nats"]["pid"] not in (0, before["pid"]), SOON_S, "nats again"
        )
        assert system.status()["nats"]["url"] == before["url"]
        assert await is_kept(system)
        assert len(system.pids("team-runner")) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
async def test_a_killed_keeper_takes_nats_server_along_and_both_come_back(tmp_path: Path) -> None:
    async with supervised(tmp_path, "--port", "0") as system:
        await system.ready()
        server = system.status()["nats"]["pid"]
        keeper = parent_of(server)
        os.kill(keeper, signal.SIGKILL)
        await until(lambda: all_gone([server, keeper]), GONE_S, "keeper and nats-server gone")
        await until(lambda: system.status()["nats"]["pid"] not in (0, server), SOON_S, "nats again")


async def test_a_runner_that_does_not_stop_is_killed_after_its_drain(tmp_path: Path) -> None:
    (tmp_path / "team-runner.stays").touch()
    async with supervised(tmp_path, "--port", "0") as system:
        await system.ready()
        family = system.family()
        system.signal(signal.SIGTERM)
        assert await system.ended() == 0
        assert all_gone(family)
    assert "hook-runner stopped" in system.story()
    assert "team-runner stopped" not in system.story()


async def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    (tmp_path / "team-runner.stays").touch()
    async with supervised(tmp_path, "--port", "0", TEAMBUS_KILL_AFTER_S="60") as system:
        await system.ready()
        family = system.family()
        system.signal(signal.SIGINT)
        await until(lambda: "gateway stopped" in system.story(), SOON_S, "the gateway stopped")
        asked_at = time.monotonic()
        system.signal(signal.SIGINT)
        await system.ended()
        assert time.monotonic() - asked_at < GONE_S
        assert all_gone(family)


async def test_a_stop_while_it_starts_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "team-runner.mute").touch()
    async with supervised(tmp_path, "--port", "0") as system:
        await until(lambda: "team-runner started" in system.story(), SOON_S, "it is starting")
        family = system.family()
        system.signal(signal.SIGTERM)
        assert await system.ended() == 0
        assert all_gone(family)


async def test_a_change_replaces_both_runners_and_not_the_gateway(tmp_path: Path) -> None:
    async with supervised(tmp_path, "--port", "0", "--reload") as system:
        await system.ready()
        (tmp_path / "app" / "more.py").write_text("added = 1\n")
        await until(
            lambda: all(len(system.pids(name)) == 2 for name in RUNNERS), SOON_S, "replaced"
        )
        await until(
            lambda: {f"{name} stopped" for name in RUNNERS} <= set(system.story()),
            SOON_S,
            "the old ones stopped",
        )
        assert "changed: more.py; loading again" in system.said()
        assert len(system.pids("gateway")) == 1
        assert len(system.pids("load")) == 2


async def test_the_new_runner_takes_over_while_the_old_one_finishes(tmp_path: Path) -> None:
    (tmp_path / "team-runner.stays").touch()
    async with supervised(tmp_path, "--port", "0", "--reload", TEAMBUS_KILL_AFTER_S="60") as system:
        await system.ready()
        (tmp_path / "team-runner.stays").unlink()
        old = system.pids("team-runner")[0]
        (tmp_path / "app" / "app.py").write_text("changed = 1\n")
        await until(lambda: len(system.pids("team-runner")) == 2, SOON_S, "a new one")
        assert not all_gone([old])
        system.signal(signal.SIGTERM)
        await until(lambda: "stopping" in system.said(), SOON_S, "it stops")
        system.signal(signal.SIGTERM)
        await system.ended()
        assert all_gone([old])


async def test_what_the_app_left_on_the_bus_is_said_and_the_rest_goes_on(tmp_path: Path) -> None:
    async with supervised(tmp_path, "--port", "0", "--reload") as system:
        await system.ready()
        assert "teambus status" not in system.said()
        (tmp_path / "app" / "app.py").write_text("# the hook is gone\n")
        await until(lambda: len(system.pids("team-runner")) == 2, SOON_S, "replaced")
        assert "# the hook is gone; `teambus status` says the NATS_URL" in system.said()


async def test_a_broken_file_is_shown_once_and_the_next_change_awaited(tmp_path: Path) -> None:
    async with supervised(tmp_path, "--port", "0", "--reload") as system:
        await system.ready()
        file = tmp_path / "app" / "app.py"
        file.write_text("broken\n")
        await until(lambda: len(system.pids("load")) == 2, SOON_S, "loaded again")
        await until(lambda: "waiting for the next change" in system.said(), SOON_S, "told")
        assert await get(system.child.facts["port"]) == "HTTP/1.1 200 OK"
        file.write_text("mended = 1\n")
        await until(lambda: len(system.pids("team-runner")) == 2, SOON_S, "replaced")
        assert system.said().count("cannot load 'app': broken") == 1


async def test_with_reload_an_app_broken_from_the_start_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    file = tmp_path / "app" / "app.py"
    file.write_text("broken\n")
    async with supervised(tmp_path, "--port", "0", "--reload") as system:
        await until(lambda: "waiting for the next change" in system.said(), SOON_S, "told")
        file.write_text("mended = 1\n")
        await system.ready()


async def test_with_reload_a_runner_that_refuses_waits_for_the_next_change(tmp_path: Path) -> None:
    refuses = tmp_path / "team-runner.refuses"
    refuses.write_text("no such table")
    async with supervised(tmp_path, "--port", "0", "--reload") as system:
        await until(lambda: "waiting for the next change" in system.said(), SOON_S, "told")
        refuses.unlink()
        (tmp_path / "app" / "app.py").write_text("mended = 1\n")
        await system.ready()


async def test_without_reload_a_broken_app_ends_it_with_one_clear_message(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "app.py").write_text("broken")
    async with supervised(tmp_path, "--port", "0") as system:
        assert await system.ended() == 2
    assert system.said() == "cannot load 'app': broken\n"


async def test_a_bus_elsewhere_is_used_and_left_running(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    async with supervised(tmp_path / "one", "--port", "0") as first:
        await first.ready()
        url = first.status()["nats"]["url"]
        async with supervised(tmp_path / "two", "--port", "0", NATS_URL=url) as second:
            await second.ready()
            assert second.status()["nats"] == {"url": url, "pid": None}
            assert len(second.family()) == 3
            second.signal(signal.SIGTERM)
            assert await second.ended() == 0
        await keep_something(first)


async def test_clients_that_come_while_the_gateway_restarts_are_answered(tmp_path: Path) -> None:
    async with supervised(tmp_path, "--port", "0") as system:
        await system.ready()
        os.kill(system.pids("gateway")[0], signal.SIGKILL)
        async with asyncio.timeout(SOON_S):
            assert await get(system.child.facts["port"]) == "HTTP/1.1 200 OK"
