"""What goes wrong: at random times, to anybody, mended after a while, and all written down."""

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tests.chaos.harms import Harms
from tests.chaos.house import ACK_WAIT_S, House
from tests.chaos.load import TOOL_WORDS
from tests.chaos.node_faults import NodeFaults
from tests.chaos.nursery import NotReady, Service
from tests.support.supervised import below

STOP_S = 20.0
AWAY_S = 1.0
FROZEN_S = 2.5 * ACK_WAIT_S
LOOK_S = 0.1
ONE_LINK_SHARE = 0.3
STILLBORN_SHARE = 0.3
STARTING_S = 0.5
TOGETHER_MAX = 3
HARMED_MAX = 4
"""At once, so that on a slow machine too somebody gets work done between two deaths."""
USE_THE_TOOL = {
    "match": TOOL_WORDS,
    "has_tool_results": False,
    "tool_calls": [{"name": name, "arguments": {"what": "it"}} for name in ("jot", "charge")],
}
MODEL_FAULTS = (
    {"match": "", "status": 500},
    {"match": "", "status": 429, "retry_after_s": 0.1},
    {"match": "", "drop": True},
    {"match": "", "drop_midway": True},
    {"match": "", "garbage": True},
    {"match": "", "hang": True},
)
WEIGHTS: Mapping[str, float] = {
    "kill": 12,
    "kill several": 3,
    "kill hook process": 10,
    "kill hook processes": 2,
    "terminate": 4,
    "freeze": 3,
    "cut": 2,
    "deafen": 1,
    "kill bus": 1.5,
    "stop bus": 0.5,
    "freeze bus": 0.5,
    "cut bus": 0.5,
    "spoil model": 2,
    "kill database": 0.5,
    "kill all": 0.15,
}


@dataclass(frozen=True, slots=True)
class Aim:
    """Which faults, how often against each other, and whom they hit, by the beginning of a name."""

    weights: Mapping[str, float] = field(default_factory=lambda: WEIGHTS)
    victims: tuple[str, ...] = ("",)


@dataclass
class Faults:
    """Does harm until there was enough of it."""

    house: House
    chance: random.Random
    pause_s: float
    aim: Aim = field(default_factory=Aim)
    surprises: list[str] = field(default_factory=list)
    unclean: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.harms = Harms(self.chance)
        bus = NodeFaults(self.house.nodes, self.harms)
        self._mending: set[asyncio.Task[None]] = set()
        self._acts: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
            "kill": self._kill,
            "kill several": self._kill_several,
            "kill hook process": partial(self._kill_children, 1),
            "kill hook processes": partial(self._kill_children, None),
            "terminate": self._terminate,
            "freeze": self._freeze,
            "cut": self._cut,
            "deafen": self._deafen,
            "kill bus": bus.kill,
            "stop bus": bus.stop,
            "freeze bus": bus.freeze,
            "cut bus": bus.cut,
            "spoil model": self._spoil_model,
            "kill database": self._kill_database,
            "kill all": partial(self._kill_all, bus),
        }

    async def go_on(self, seconds: float, kills_max: int | None = None) -> None:
        """For so long, or until so many were killed; returns when all is mended."""
        await self.house.model.rules([USE_THE_TOOL])
        watching = asyncio.create_task(self._watch(), name="watch for surprises")
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self._killed(kills_max):
            await asyncio.sleep(self.chance.expovariate(1 / self.pause_s))
            weights = self.aim.weights
            act = self.chance.choices([*weights], [*weights.values()])[0]
            task = asyncio.create_task(self._acts[act]())
            self._mending.add(task)
            task.add_done_callback(self._mended)
        while self._mending:
            await asyncio.gather(*self._mending)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await self.house.model.rules([USE_THE_TOOL])

    def _killed(self, kills_max: int | None) -> bool:
        return kills_max is not None and self.harms.kills.total() >= kills_max

    def _mended(self, task: asyncio.Task[None]) -> None:
        self._mending.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self.surprises.append(f"a fault could not be done or mended: {error!r}")

    async def _kill(self) -> None:
        if (victim := self._service()) is not None:
            await self._kill_this(victim, "kill")

    async def _kill_several(self) -> None:
        """At the same moment."""
        victims = [self._service() for _ in range(self.chance.randint(2, TOGETHER_MAX))]
        kills = [self._kill_this(each, "kill together") for each in victims if each is not None]
        await asyncio.gather(*kills)

    async def _kill_children(self, count: int | None) -> None:
        """Processes that call hooks: so many of one hook-runner's, or all."""
        # They are back so soon that any number of their runners may be harmed so.
        victim = self._service(self.house.hook_runners, harmed_max=len(self.house.services))
        if victim is None:
            return
        with self.harms.done("kill hook processes of", victim.name):
            children = sorted(await asyncio.to_thread(below, victim.pid))
            for child in self.chance.sample(children, len(children))[:count]:
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
                    self.harms.kills["hook process"] += 1

    async def _terminate(self) -> None:
        if (victim := self._service()) is None:
            return
        with self.harms.done("terminate", victim.name):
            victim.signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(STOP_S):
                    code = await victim.ended()
            except TimeoutError:
                self.surprises.append(f"{victim.name} did not end in {STOP_S} s after SIGTERM")
                await self._end(victim)
            else:
                self._judge_end(victim, code)
            await self._revive(victim)

    async def _freeze(self) -> None:
        if (victim := self._service()) is None:
            return
        with self.harms.done("freeze", victim.name):
            victim.signal(signal.SIGSTOP)
            await asyncio.sleep(self.chance.uniform(0.05, FROZEN_S))
            victim.signal(signal.SIGCONT)

    async def _cut(self) -> None:
        await self._unlink("cut off", deaf=False)

    async def _deafen(self) -> None:
        await self._unlink("deafen", deaf=True)

    async def _unlink(self, what: str, *, deaf: bool) -> None:
        if (victim := self._service()) is None:
            return
        links = self.house.links[victim.name]
        if self.chance.random() < ONE_LINK_SHARE:
            links = [self.chance.choice(links)]
        with self.harms.done(what, victim.name):
            for link in links:
                if deaf:
                    link.deaf = True
                else:
                    link.cut()
            await asyncio.sleep(self.chance.uniform(0.05, FROZEN_S))
            for link in links:
                link.mend()

    async def _spoil_model(self) -> None:
        if "model" in self.harms.harmed:
            return
        rule = {**self.chance.choice(MODEL_FAULTS), "times": self.chance.randint(1, 4)}
        with self.harms.done(f"spoil {rule}", "model"):
            await self.house.model.rules([rule, USE_THE_TOOL])
            await asyncio.sleep(self.chance.uniform(0.2, 1))

    async def _kill_database(self) -> None:
        """Where it is a server."""
        server = self.house.postgres
        if server is None or "database" in self.harms.harmed:
            return
        with self.harms.done("kill", "database"):
            self.harms.kills["database"] += 1
            await asyncio.to_thread(server.kill)
            await self.harms.away(AWAY_S)
            await asyncio.to_thread(server.start)

    async def _kill_all(self, bus: NodeFaults) -> None:
        victims = [each for each in self.house.services if self._is_free(each)]
        self.harms.harmed.update(each.name for each in victims)
        kills = [self._kill_this(each, "kill with all") for each in victims]
        await asyncio.gather(bus.kill_all(), *kills)

    async def _kill_this(self, victim: Service, what: str) -> None:
        with self.harms.done(what, victim.name):
            await self._end(victim)
            await self.harms.away(AWAY_S)
            await self._revive(victim)

    async def _end(self, victim: Service) -> None:
        self._count(victim)
        await victim.kill()

    def _count(self, victim: Service) -> None:
        self.harms.kills[victim.name.rpartition("-")[0]] += 1

    async def _revive(self, service: Service) -> None:
        while not service.running:
            with suppress(NotReady):
                await self._start(service)

    async def _start(self, service: Service) -> None:
        """Now and then it is killed before it is ready."""
        starting = asyncio.create_task(service.start())
        if self.chance.random() < STILLBORN_SHARE:
            await asyncio.wait({starting}, timeout=self.chance.uniform(0, STARTING_S))
            if service.running and not starting.done():
                await self._kill_unborn(service, starting)
                return
        await starting

    async def _kill_unborn(self, service: Service, starting: asyncio.Task[None]) -> None:
        self._count(service)
        service.signal(signal.SIGKILL)
        with suppress(NotReady):
            await starting
        if service.running:  # It had said that it was ready, and nobody had heard it yet.
            await service.ended()

    async def _watch(self) -> None:
        """Nobody ends but by us."""
        while True:
            await asyncio.sleep(LOOK_S)
            for service in self.house.services:
                if service.gone and self._is_free(service):
                    with self.harms.done("find dead", service.name):
                        code = await service.ended()
                        told = f"{service.name} ended by itself with {code} at {time.time():.3f}"
                        self.surprises.append(told)
                        await self._revive(service)

    def _judge_end(self, service: Service, code: int) -> None:
        """Cut off from the bus it may not end as it should, and says so."""
        if code != 0:
            self.unclean.append(f"{service.name} ended with {code} at {time.time():.3f}")

    def _service(
        self, among: list[Service] | None = None, harmed_max: int = HARMED_MAX
    ) -> Service | None:
        """Somebody whom nobody else harms: nobody else may from now on, until it is mended."""
        free = [
            each
            for each in among or self.house.services
            if self._is_free(each) and each.name.startswith(self.aim.victims)
        ]
        harmed = sum(each.name in self.harms.harmed for each in self.house.services)
        if not free or harmed >= harmed_max:
            return None
        victim = self.chance.choice(free)
        self.harms.harmed.add(victim.name)
        return victim

    def _is_free(self, service: Service) -> bool:
        return service.name not in self.harms.harmed and service.running
