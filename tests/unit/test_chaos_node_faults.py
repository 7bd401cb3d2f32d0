"""Chaos leaves a majority of the servers of the bus alone, but for the moment all are killed."""

import asyncio
import random
import signal
from collections.abc import Callable
from typing import cast

import pytest

from tests.chaos.harms import Harms
from tests.chaos.node_faults import NodeFaults
from tests.chaos.nodes import Node

FAULTS = ("kill", "stop", "freeze", "cut", "kill_all")


class Server:
    """A server that remembers what befell it, and recovers when it may."""

    host, port, url, pid, can_be_cut = "here", 0, "", 0, True

    def __init__(self, name: str, leads: str | None) -> None:
        self.name = name
        self.suffered: list[str] = []
        self.recovers = asyncio.Event()
        self.may_recover = asyncio.Event()
        self._leads = leads

    async def start(self) -> None:
        await self.recovered()

    async def stop(self) -> None:
        self.suffered.append("stopped")

    async def kill(self) -> None:
        self.suffered.append("killed")

    def signal(self, number: signal.Signals) -> None:
        self.suffered.append(number.name)

    def cut(self, *, from_all: bool) -> Callable[[], None]:
        self.suffered.append("cut")
        return lambda: self.suffered.append("mended")

    async def recovered(self) -> None:
        self.recovers.set()
        await self.may_recover.wait()

    async def leader_of(self, stream: str) -> str | None:
        return self._leads


def three(leader: str | None = None) -> tuple[list[Server], NodeFaults]:
    servers = [Server(name, leader) for name in ("n1", "n2", "n3")]
    return servers, NodeFaults(cast(list[Node], servers), Harms(random.Random(1)))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.chaos.node_faults.OF_MANY_AWAY_S", 0.05)


@pytest.mark.parametrize("first", FAULTS)
async def test_no_server_is_harmed_before_the_one_before_has_recovered(first: str) -> None:
    servers, faults = three()
    harming = asyncio.create_task(getattr(faults, first)())
    recovering = [asyncio.create_task(server.recovers.wait()) for server in servers]
    done, _ = await asyncio.wait(recovering, timeout=30, return_when=asyncio.FIRST_COMPLETED)
    assert done, "nobody waits for it"
    for fault in FAULTS:
        await getattr(faults, fault)()
    assert sum(bool(server.suffered) for server in servers) == (3 if first == "kill_all" else 1)
    for server in servers:
        server.may_recover.set()
    await harming
    for each in recovering:
        each.cancel()
    assert len(faults.harms.happened) == 1
    await faults.kill()
    assert len(faults.harms.happened) == 2


async def test_a_server_that_leads_a_stream_is_harmed_more_often_than_others() -> None:
    servers, faults = three("n2")
    for server in servers:
        server.may_recover.set()
    for _ in range(30):
        await faults.kill()
    harmed = {server.name: len(server.suffered) for server in servers}
    assert harmed["n2"] > harmed["n1"] + harmed["n3"]
    assert all(harmed.values())
    assert faults.harms.kills.total() == 30
