"""Three nats-servers that replicate everything, and what befalls them while runs are under way.

Whatever it is: a run ends once, no model call that was answered is made again, its hook hears of
it, and the client that waits gets its answer.
"""

import asyncio
import contextlib
import signal
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
import pytest_asyncio

from teambus.bus import reads, topology
from teambus.bus.errors import BusUnavailable
from teambus.bus.publish import Publication, publish
from tests.e2e.rolling_parts import EVERY_WAY, Crowd
from tests.support.cluster import Cluster, Node, cluster_of_three, fill
from tests.support.elsewhere import system_on
from tests.support.sse import EventSource, SseEvent
from tests.support.system import System, until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(150)]

APP = Path(__file__).parent.parent / "e2e" / "apps" / "story.py"
RUNS = "/teams/content-team/runs"
CALLS_OF_A_RUN = 4
DISK_MIB = 128
WAIT_S = 60
TWO_HOURS_S = 2 * 3600
SETTINGS = {"TOPOLOGY_REPLICAS": "3", "TOPOLOGY_ACK_WAIT_S": "5", "GATEWAY_LOOK_S": "1"}
STREAMS = (topology.JOURNAL, topology.EVENTS, topology.SESSIONS, topology.DEAD)


@dataclass
class Trio:
    """The cluster and the system on it."""

    cluster: Cluster
    system: System

    async def node_of(self, client: str) -> Node:
        """The node that a client is connected to."""
        for node in self.cluster.nodes:
            answer = await asyncio.to_thread(node.asked, "connz")
            if client in [each.get("name") for each in answer["connections"]]:
                return node
        raise AssertionError(f"{client} is connected to no node")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def trio(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Trio]:
    folder = tmp_path_factory.mktemp("cluster")
    async with cluster_of_three(folder, small_disk=DISK_MIB) as cluster:
        async with system_on(cluster, APP, folder, environment=SETTINGS) as system:
            system.client.timeout = httpx2.Timeout(2 * WAIT_S)
            await asyncio.gather(
                system.gateway.start(), system.runner.start(), system.hook_runner.start()
            )
            yield Trio(cluster, system)


@dataclass
class Held:
    """Two runs, each with one model call in flight and the others paid: the one has a caller who
    waits for its answer, the other a reader of its stream.
    """

    system: System
    name: str
    first_call: int
    waiting: "asyncio.Task[httpx2.Response]"
    reading: "asyncio.Task[list[SseEvent]]"

    @property
    def runs(self) -> tuple[str, str]:
        return f"{self.name}-answered", f"{self.name}-streamed"

    async def calls(self) -> int:
        return len(await self.system.model.calls(since=self.first_call))

    async def are_paid_but_one(self) -> None:
        """Return once all but one call of each run are in the journal."""

        async def journaled() -> bool:
            return all([await self._paid(run_id) >= 2 for run_id in self.runs])

        await until(journaled, WAIT_S, self.system.runner.tail)

    async def end_well(self, *, repeated: int = 0) -> None:
        """Once, with their answer, stream and hooks; `repeated` calls were in flight at a death."""
        answer = await self.waiting
        assert answer.status_code == 200, answer.text
        assert answer.json()["status"] == "COMPLETED"
        ids = [event.id for event in await self.reading if event.id is not None]
        assert ids == sorted(set(ids))
        assert await self.calls() == 2 * CALLS_OF_A_RUN + repeated
        ends = [end.run_id for end in await self.system.every_completed()]
        for run_id in self.runs:
            assert ends.count(run_id) == 1
            [line, *_] = await self.system.hook_lines(1, wait_s=WAIT_S, containing=run_id)
            assert line.startswith(f"{run_id} COMPLETED")

    async def _paid(self, run_id: str) -> int:
        subject = f"teambus.v1.journal.default.{run_id}.*"
        entries = await self.system.stored(topology.JOURNAL, subject)
        return sum(entry.data.count(b'"record":"model"') for entry in entries)


async def read(system: System, run_id: str) -> list[SseEvent]:
    """All events of a run, by a client that goes on wherever it was cut off."""
    form = {"message": f"question {run_id}", "run_id": run_id, "background": "true"}
    heard: list[SseEvent] = []
    while not (heard and heard[-1].event == "TeamRunCompleted"):
        last = next((event.id for event in reversed(heard) if event.id is not None), None)
        if last is None:
            stream = system.client.stream("POST", RUNS, data=form)
        else:
            headers = {"Last-Event-ID": str(last)}
            stream = system.client.stream("GET", f"{RUNS}/{run_id}/events", headers=headers)
        with contextlib.suppress(TimeoutError):
            async with stream as response:
                heard += await _told(response)
        await asyncio.sleep(0.05)
    return heard


async def _told(response: httpx2.Response) -> list[SseEvent]:
    """Nothing from a gateway that says to come again."""
    if response.status_code == 200:
        return await EventSource(response).rest()
    assert response.status_code == 503, await response.aread()
    assert int(response.headers["retry-after"]) > 0
    return []


async def held(trio: Trio, name: str, *, times: int = 1_000) -> Held:
    """`times`: how many calls are held until "gate" is released."""
    system = trio.system
    calls = await system.model.calls()
    before = calls[-1].n if calls else 0
    await system.model.rules([{"match": "Give facts", "hold": "gate", "times": times}])
    run_id = f"{name}-answered"
    form = {"message": f"question {run_id}", "stream": "false", "run_id": run_id}
    waiting = asyncio.create_task(system.client.post(RUNS, data=form))
    reading = asyncio.create_task(read(system, f"{name}-streamed"))
    runs = Held(system, name, before, waiting, reading)
    await runs.are_paid_but_one()
    return runs


async def stored(system: System) -> dict[str, int]:
    """The last sequence of every stream that a runner may write to."""
    return {stream: (await reads.bounds(system.bus, stream)).last_seq for stream in STREAMS}


def dump(system: System) -> list[str]:
    with contextlib.closing(sqlite3.connect(system.folder / "team.db")) as connection:
        return list(connection.iterdump())


async def test_a_killed_leader_costs_nothing(trio: Trio) -> None:
    runs = await held(trio, "leader-killed")
    leader = await trio.cluster.leader(trio.system.bus, topology.JOURNAL)
    await leader.kill()
    await trio.system.model.release("gate")
    await runs.end_well()
    leader.start()
    await trio.cluster.ready()


async def test_a_runner_that_slept_through_its_lease_and_a_change_of_leader_writes_nothing_more(
    trio: Trio,
) -> None:
    system = trio.system
    runs = await held(trio, "slept", times=2)
    leader = await trio.cluster.leader(system.bus, topology.JOURNAL)
    system.runner.signal(signal.SIGSTOP)
    await leader.kill()
    await system.second_runner.start()
    await runs.end_well(repeated=2)
    leader.start()
    await trio.cluster.ready()
    before, rows, calls = await stored(system), dump(system), await runs.calls()
    await system.model.release("gate")
    system.runner.signal(signal.SIGCONT)

    async def noticed() -> bool:
        return system.runner.log.read_text().count("lost the run to another runner") == 2

    await until(noticed, WAIT_S, system.runner.tail)
    # What it does with the answers it waited for is done once it has ended.
    assert await system.runner.stop() == 0
    assert await stored(system) == before
    assert dump(system) == rows
    assert await runs.calls() == calls
    await system.second_runner.stop()
    await system.runner.start()


@pytest.mark.parametrize("how", ["from all", "from the others only"])
async def test_a_node_that_is_cut_off_costs_nothing(trio: Trio, how: str) -> None:
    """The node is the gateway's own, which hears of it from nobody."""
    wires = trio.cluster.wires
    runs = await held(trio, f"cut-off-{len(how)}")
    node = await trio.node_of("gateway")
    number = trio.cluster.number(node)
    cut, mend = (wires.unplug, wires.plug) if how == "from all" else (wires.part, wires.join)
    cut(number)
    await trio.system.model.release("gate")
    await runs.end_well()
    mend(number)
    await trio.cluster.ready()


async def test_nothing_is_lost_with_the_quorum(trio: Trio) -> None:
    runs = await held(trio, "no-quorum")
    lost = trio.cluster.nodes[:2]
    await asyncio.gather(*(node.kill() for node in lost))
    await trio.system.model.release("gate")
    nothing = Publication("teambus.v1.frame.default.nobody", b"{}", "nothing")
    with pytest.raises(BusUnavailable):
        await publish(trio.system.bus, nothing, patience_s=3)
    for node in lost:
        node.start()
    await trio.cluster.ready()
    await runs.end_well()


async def test_a_node_without_room_on_its_disk_costs_nothing(trio: Trio) -> None:
    node = trio.cluster.nodes[-1]
    if not node.folder.is_mount():
        pytest.skip("only root may mount a small disk")
    filler = fill(node.folder)
    runs = await held(trio, "disk-full")
    await trio.system.model.release("gate")
    await runs.end_well()
    filler.unlink()
    await node.kill()
    node.start()
    await trio.cluster.ready()


async def restarted(trio: Trio, *, earlier_s: int) -> None:
    await asyncio.gather(*(node.kill() for node in trio.cluster.nodes))
    for node in trio.cluster.nodes:
        node.start(earlier_s=earlier_s)
    await trio.cluster.ready()


async def test_servers_that_start_again_with_an_older_time_cost_nothing(trio: Trio) -> None:
    runs = await held(trio, "older-time")
    await restarted(trio, earlier_s=TWO_HOURS_S)
    await trio.system.model.release("gate")
    await runs.end_well()


async def test_a_run_left_by_a_runner_when_servers_had_an_older_time_ends_once_it_is_right(
    trio: Trio,
) -> None:
    """The servers count from when the run was given out, which for them is yet to come."""
    runs = await held(trio, "left")
    await trio.system.runner.kill()
    await restarted(trio, earlier_s=TWO_HOURS_S)
    await trio.system.runner.start()
    await restarted(trio, earlier_s=0)
    await trio.system.model.release("gate")
    await runs.end_well(repeated=2)


async def test_a_rolling_restart_of_the_servers_costs_nothing(trio: Trio) -> None:
    system = trio.system
    await system.model.rules([])
    async with httpx2.AsyncClient(timeout=2 * WAIT_S) as http:
        crowd = Crowd(system, (f"http://127.0.0.1:{system.port}",), http, name="rolling")
        asking = [asyncio.create_task(crowd.ask(how)) for how in EVERY_WAY]
        for node in trio.cluster.nodes:
            await node.stop()
            node.start()
            await trio.cluster.ready()
        crowd.enough.set()
        await asyncio.gather(*asking)
    assert crowd.told.wrong == []
    assert len(crowd.told.runs) >= len(EVERY_WAY)
    ends = [end.run_id for end in await system.every_completed()]
    for run_id in crowd.told.runs:
        assert ends.count(run_id) == 1
        await system.hook_lines(1, wait_s=WAIT_S, containing=f"{run_id} COMPLETED")
