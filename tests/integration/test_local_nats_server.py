"""nats-server under its keeper: ready, killed, restarted, refused, and never left behind."""

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from teambus.bus import reads, topology
from teambus.bus.connection import Bus, BusSettings, connect
from teambus.bus.provision import provision
from teambus.contracts.catalogue import AppDescription
from teambus.local.errors import LocalError, StoreInUse
from teambus.local.nats_server import NatsServer
from tests.support.nats import nats_server as nats_server
from tests.support.supervised import all_gone, parent_of, until

GONE_S = 2


async def kept(bus: Bus) -> int:
    return len([x async for x in reads.history(bus, topology.DEAD, ">", until=99, messages_max=9)])


async def test_data_outlives_a_kill_and_a_restart_at_the_same_port(nats_server: NatsServer) -> None:
    url, pid = nats_server.url, nats_server.pid
    async with connect(BusSettings((url,), "test")) as bus:
        await provision(bus, AppDescription(id="app"), topology.TopologySettings())
        await reads.call(bus, "teambus.v1.dead.default.run.name.id", b"kept")
    await nats_server.kill()
    assert not nats_server.running
    assert all_gone([pid])
    await nats_server.restart()
    assert nats_server.url == url
    assert nats_server.pid != pid
    async with connect(BusSettings((url,), "test")) as bus:
        assert await kept(bus) == 1


async def test_a_restart_of_a_running_one_closes_its_store_first(nats_server: NatsServer) -> None:
    before = nats_server.pid
    await nats_server.restart()
    assert nats_server.running
    assert all_gone([before])


async def test_stopping_twice_is_stopping_once(nats_server: NatsServer) -> None:
    await nats_server.stop()
    await nats_server.stop()
    assert not nats_server.running


async def test_two_on_one_store_are_refused(nats_server: NatsServer) -> None:
    with pytest.raises(StoreInUse, match=r"has the store in .* open"):
        await NatsServer(nats_server.folder).start()
    assert nats_server.running


async def test_a_port_that_is_asked_for_and_taken_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = NatsServer(tmp_path / "nats", port=taken.getsockname()[1])
        with pytest.raises(LocalError, match="address already in use"):
            await server.start()
    assert not server.running


async def test_messages_of_its_largest_size_are_taken(nats_server: NatsServer) -> None:
    async with connect(BusSettings((nats_server.url,), "test")) as bus:
        assert bus.client.max_payload == 1024 * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
async def test_a_killed_keeper_takes_it_along(nats_server: NatsServer) -> None:
    server = nats_server.pid
    keeper = parent_of(server)
    os.kill(keeper, signal.SIGKILL)
    await until(lambda: all_gone([server, keeper]), GONE_S, "both gone")
    assert await nats_server.ended() == -signal.SIGKILL


async def test_it_goes_when_the_process_that_started_it_is_killed(tmp_path: Path) -> None:
    starter = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-c", STARTS_ONE, str(tmp_path)), stdout=asyncio.subprocess.PIPE
    )
    assert starter.stdout is not None
    server = int(await starter.stdout.readline())
    starter.kill()
    await starter.wait()
    await until(lambda: all_gone([server]), GONE_S, "nats-server gone")


STARTS_ONE = """
import asyncio, sys
from pathlib import Path
from teambus.local.nats_server import NatsServer

async def main():
    async with NatsServer(Path(sys.argv[1])) as server:
        print(server.pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""
