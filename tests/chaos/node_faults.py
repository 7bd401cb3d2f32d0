"""What goes wrong with the servers of the bus: one at a time, so that of three two always work."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from teambus.bus import topology
from tests.chaos.harms import Harms
from tests.chaos.nodes import Node, leader

BUS = "bus"
ONE_AWAY_S = 3.0
OF_MANY_AWAY_S = 12.0
"""Long enough for the others to elect new leaders."""
FROM_ALL_SHARE = 0.5
LEADER_SHARE = 0.6
STREAMS = (
    topology.REQUESTS,
    topology.EVENTS,
    topology.JOURNAL,
    topology.FRAMES,
    topology.SESSIONS,
    topology.HOOKS,
)


@dataclass
class NodeFaults:
    """Harms any server, and more often than the others one that leads a stream."""

    nodes: list[Node]
    harms: Harms

    async def kill(self) -> None:
        await self._harm("kill", self._killed)

    async def stop(self) -> None:
        await self._harm("stop", self._stopped)

    async def freeze(self) -> None:
        await self._harm("freeze", self._frozen)

    async def cut(self) -> None:
        """Where servers have no network of their own, this does nothing."""
        if self.nodes[0].can_be_cut:
            await self._harm("cut off", self._cut)

    async def kill_all(self) -> None:
        """At once, as when the power fails, and back at once."""
        if BUS in self.harms.harmed:
            return
        with self.harms.done("kill with all", BUS):
            await asyncio.gather(*(self._end(node) for node in self.nodes))
            await asyncio.gather(*(node.start() for node in self.nodes))

    async def _harm(self, what: str, act: Callable[[Node], Awaitable[None]]) -> None:
        """The next one is harmed when this one has all that the others have."""
        if BUS in self.harms.harmed:
            return
        self.harms.harmed.add(BUS)
        try:
            node = await self._victim()
            with self.harms.done(what, node.name):
                await act(node)
                await node.recovered()
        finally:
            self.harms.harmed.discard(BUS)

    async def _victim(self) -> Node:
        if self.harms.chance.random() < LEADER_SHARE:
            found = await leader(self.nodes, self.harms.chance.choice(STREAMS))
            if found is not None:
                return found
        return self.harms.chance.choice(self.nodes)

    async def _killed(self, node: Node) -> None:
        await self._end(node)
        await self.harms.away(self._away_s)
        await node.start()

    async def _stopped(self, node: Node) -> None:
        await node.stop()
        await self.harms.away(self._away_s)
        await node.start()

    async def _frozen(self, node: Node) -> None:
        node.signal(signal.SIGSTOP)
        await asyncio.sleep(self._some_s())
        node.signal(signal.SIGCONT)

    async def _cut(self, node: Node) -> None:
        """From the other servers, or from everybody."""
        mend = node.cut(from_all=self.harms.chance.random() < FROM_ALL_SHARE)
        await asyncio.sleep(self._some_s())
        mend()

    async def _end(self, node: Node) -> None:
        self.harms.kills["nats-server"] += 1
        await node.kill()

    def _some_s(self) -> float:
        return self.harms.chance.uniform(0.05, self._away_s)

    @property
    def _away_s(self) -> float:
        return ONE_AWAY_S if len(self.nodes) == 1 else OF_MANY_AWAY_S
