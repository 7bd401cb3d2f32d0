"""What is told of runs by a server that led a stream, is cut off and does not know it yet."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import msgspec
import pytest
import pytest_asyncio

from teambus.bus.bodies import Bodies
from teambus.bus.connection import Bus, connect
from teambus.bus.errors import BusUnavailable
from teambus.bus.events import Events
from teambus.bus.frame_log import FrameLog
from teambus.bus.frame_stream import FeedLimits
from teambus.bus.frames import Feeds
from teambus.bus.provision import provision
from teambus.bus.topology import EVENTS, FRAMES, JOURNAL, TopologySettings
from teambus.bus.waiter import RunEnd, RunKey, Waiter
from teambus.contracts.catalogue import TeamDescription
from teambus.contracts.output import RunStatus
from teambus.contracts.run import RunAccepted
from teambus_gateway.lookup import Lookup, Wanted
from teambus_gateway.problems import Problem
from tests.integration.bus_parts import APP, settings, until
from tests.integration.frame_parts import Speaker
from tests.support.cluster import Cluster, Node, cluster_of_three

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(150)]

ELECTED_S = 60
PATIENCE_S = 1
SURVEYS = 6
"""Of which some read from the server that is cut off, and some from others in vain."""


@dataclass
class Sides:
    """A connection to the server that is cut off, and one to the others."""

    cluster: Cluster
    alone: Bus
    others: Bus
    node: Node
    is_joined: bool = False

    def join(self) -> None:
        if not self.is_joined:
            self.cluster.wires.join(self.cluster.number(self.node))
            self.is_joined = True


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    async with cluster_of_three(tmp_path_factory.mktemp("cluster")) as cluster:
        async with connect(settings(cluster.nodes[0].url)) as bus:
            await provision(bus, APP, TopologySettings(replicas=3))
        yield cluster


async def lead(cluster: Cluster, node: Node, stream: str) -> None:
    """Have a server lead a stream."""
    async with connect(settings(cluster.nodes[0].url)) as bus:

        async def leads() -> bool:
            if await cluster.leader(bus, stream) is node:
                return True
            wanted = msgspec.json.encode({"placement": {"preferred": node.name}})
            await bus.request(f"$JS.API.STREAM.LEADER.STEPDOWN.{stream}", wanted)
            return False

        await until(leads, ELECTED_S)


@asynccontextmanager
async def parted(cluster: Cluster, *streams: str) -> AsyncIterator[Sides]:
    """The leader of streams is cut off from the others. After the block all are ready again."""
    node, other, _ = cluster.nodes
    for stream in streams:
        await lead(cluster, node, stream)
    async with (
        connect(settings(node.url, publish_patience_s=PATIENCE_S)) as alone,
        connect(settings(other.url, publish_patience_s=ELECTED_S)) as others,
    ):
        sides = Sides(cluster, alone, others, node)
        cluster.wires.part(cluster.number(node))
        try:
            yield sides
        finally:
            sides.join()
            await cluster.ready()


def feeds_on(bus: Bus) -> Feeds:
    bodies = Bodies(bus)
    return Feeds(bus, bodies, Waiter(bus, bodies), FeedLimits(look_s=0.3))


def frame_log_on(bus: Bus) -> FrameLog:
    return FrameLog(bus, Bodies(bus), source="test")


async def test_a_run_accepted_elsewhere_is_never_called_unknown(cluster: Cluster) -> None:
    async with parted(cluster, EVENTS, JOURNAL) as sides:
        accepted = RunAccepted(
            event_id="default:desk:r:accepted",
            tenant="default",
            team_id="desk",
            run_id="r",
            session_id="s",
            request_digest="d",
            accepted_at=1.0,
        )
        await Events(sides.others, Bodies(sides.others), source="test").accept(accepted)
        lookup = Lookup(sides.alone, store_timeout_s=1, retry_after_s=1)
        wanted = Wanted("default", TeamDescription(id="desk", name="Desk"), "r", "s")
        refusals = []

        async def found() -> bool:
            try:
                return (await lookup.standing(wanted)).status is RunStatus.PENDING
            except Problem as problem:
                refusals.append(problem.status)
                return False

        assert not await found()
        sides.join()
        await until(found, ELECTED_S)
    assert set(refusals) == {503}


async def test_frames_that_a_server_has_not_heard_of_are_not_called_gone(cluster: Cluster) -> None:
    run = RunKey("default", "desk", "told")
    async with connect(settings(cluster.nodes[0].url)) as bus:
        speaker = Speaker(bus, "told")
        await speaker.say(count=3)
    async with parted(cluster, FRAMES) as sides:
        speaker.bus = sides.others
        await speaker.say(count=3)
        completed = speaker.completed()
        end = RunEnd("s", None, b"{}", b"{}", completed.frames)
        with pytest.raises(BusUnavailable):
            await frame_log_on(sides.alone).tail("default", "told", patience_s=PATIENCE_S)
        feeds = feeds_on(sides.alone)
        for _ in range(SURVEYS):
            with pytest.raises(BusUnavailable):
                await feeds.survey(run, after=-1, end=end)
        async with feeds.reading(run) as (feed, _):
            feed.has_ended(end)
            heard: list[int] = []

            async def told() -> bool:
                heard.extend(frame.event_index for frame in await feed.next(1))
                return feed.over

            for _ in range(SURVEYS):
                assert not await told()
            sides.join()
            await until(told, ELECTED_S)
        assert heard == speaker.numbers

        async def whole() -> bool:
            return (await feeds.survey(run, after=-1, end=end)).whole

        await until(whole, ELECTED_S)
        tail = await frame_log_on(sides.alone).tail("default", "told", patience_s=ELECTED_S)
        assert tail == speaker.numbers[-1]


async def test_frames_that_nobody_has_are_called_gone(cluster: Cluster) -> None:
    end = RunEnd("s", None, b"{}", b"{}", 4)
    async with connect(settings(cluster.nodes[0].url)) as bus:
        said = await feeds_on(bus).survey(RunKey("default", "desk", "gone"), after=-1, end=end)
    assert not said.whole
