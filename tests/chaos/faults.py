"""What goes wrong: at random times, to anybody, mended after a while, and all written down."""

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.house import ACK_WAIT_S, House
from tests.chaos.load import TOOL_WORDS
from tests.chaos.nodes import Node
from tests.chaos.nursery import NotReady, Service
from tests.support.supervised import below

STOP_S = 20.0
NO_BUS = "the bus is not usable"
BUS_AWAY_S = 3.0
FROZEN_S = 2.5 * ACK_WAIT_S
LOOK_S = 0.1
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
    "kill hook process": 8,
    "terminate": 4,
    "freeze": 3,
    "cut": 2,
    "deafen": 1,
    "kill bus": 1.5,
    "stop bus": 0.5,
    "freeze bus": 0.5,
    "spoil model": 2,
    "kill all": 0.15,
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that went wrong, and from when to when."""

    what: str
    whom: str
    at: float
    until: float


@dataclass(frozen=True, slots=True)
class Aim:
    """Which faults, how often against each other, and whom they hit, by the beginning of a name."""

    weights: Mapping[str, float] = field(default_factory=lambda: WEIGHTS)
    victims: tuple[str, ...] = ("",)


@dataclass
class Faults:
    """Does harm until it is stopped. `kills` are processes ended by SIGKILL."""

    house: House
    chance: random.Random
    pause_s: float
    aim: Aim = field(default_factory=Aim)
    happened: list[Fault] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)
    surprises: list[str] = field(default_factory=list)
    unclean: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._busy: set[str] = set()
        self._mending: set[asyncio.Task[None]] = set()
        self._acts: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
            "kill": self._kill,
            "kill hook process": self._kill_child,
            "terminate": self._terminate,
            "freeze": self._freeze,
            "cut": self._cut,
            "deafen": self._deafen,
            "kill bus": self._kill_bus,
            "stop bus": self._stop_bus,
            "freeze bus": self._freeze_bus,
            "spoil model": self._spoil_model,
            "kill all": self._kill_all,
        }

    async def go_on(self, seconds: float) -> None:
        """Returns when all is mended."""
        await self.house.model.rules([USE_THE_TOOL])
        watching = asyncio.create_task(self._watch(), name="watch for surprises")
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            await asyncio.sleep(self.chance.expovariate(1 / self.pause_s))
            weights = self.aim.weights
            act = self.chance.choices([*weights], [*weights.values()])[0]
            task = asyncio.create_task(self._acts[act]())
            self._mending.add(task)
            task.add_done_callback(self._mending.discard)
        while self._mending:
            await asyncio.gather(*self._mending)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await self.house.model.rules([USE_THE_TOOL])

    async def _kill(self) -> None:
        if (victim := self._service()) is None:
            return
        async with self._harm("kill", victim.name):
            await self._end(victim)
            await self._away()
            await self._revive(victim)

    async def _kill_child(self) -> None:
        if (victim := self._service(self.house.hook_runners)) is None:
            return
        async with self._harm("kill a hook process of", victim.name):
            children = sorted(await asyncio.to_thread(below, victim.pid))
            with suppress(ProcessLookupError, IndexError):
                os.kill(self.chance.choice(children), signal.SIGKILL)
                self.kills["hook process"] += 1

    async def _terminate(self) -> None:
        if (victim := self._service()) is None:
            return
        async with self._harm("terminate", victim.name):
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
        async with self._harm("freeze", victim.name):
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
        async with self._harm(what, victim.name):
            for link in links:
                if deaf:
                    link.deaf = True
                else:
                    link.cut()
            await asyncio.sleep(self.chance.uniform(0.05, FROZEN_S))
            for link in links:
                link.mend()

    async def _kill_bus(self) -> None:
        async with self._node_harm("kill") as node:
            if node is not None:
                await node.kill()
                self.kills["nats-server"] += 1
                await self._away(BUS_AWAY_S)
                await node.start()

    async def _stop_bus(self) -> None:
        async with self._node_harm("stop") as node:
            if node is not None:
                await node.stop()
                await self._away(BUS_AWAY_S)
                await node.start()

    async def _freeze_bus(self) -> None:
        async with self._node_harm("freeze") as node:
            if node is not None:
                node.signal(signal.SIGSTOP)
                await asyncio.sleep(self.chance.uniform(0.05, BUS_AWAY_S))
                node.signal(signal.SIGCONT)

    async def _spoil_model(self) -> None:
        if "model" in self._busy:
            return
        rule = {**self.chance.choice(MODEL_FAULTS), "times": self.chance.randint(1, 4)}
        async with self._harm(f"spoil {rule}", "model"):
            await self.house.model.rules([rule, USE_THE_TOOL])
            await asyncio.sleep(self.chance.uniform(0.2, 1))

    async def _kill_all(self) -> None:
        victims = [each for each in self.house.services if self._is_free(each)]
        self._busy.update(each.name for each in victims)
        await asyncio.gather(self._kill_bus(), *(self._kill_this(each) for each in victims))

    async def _kill_this(self, victim: Service) -> None:
        async with self._harm("kill with all", victim.name):
            await self._end(victim)
            await self._revive(victim)

    async def _end(self, victim: Service) -> None:
        self.kills[victim.name.rpartition("-")[0]] += 1
        await victim.kill()

    async def _away(self, seconds_max: float = 1.0) -> None:
        """Mostly it is back at once."""
        if self.chance.random() < 0.3:
            await asyncio.sleep(self.chance.uniform(0, seconds_max))

    async def _revive(self, service: Service) -> None:
        while not service.running:
            with suppress(NotReady):
                await service.start()

    async def _watch(self) -> None:
        """Nobody ends but by us."""
        while True:
            await asyncio.sleep(LOOK_S)
            for service in self.house.services:
                if service.gone and self._is_free(service):
                    async with self._harm("find dead", service.name):
                        self._judge_surprise(service, await service.ended())
                        await self._revive(service)

    def _judge_surprise(self, service: Service, code: int) -> None:
        """Without a bus in its first moments a service ends, to be started again."""
        told = f"{service.name} ended by itself with {code} at {time.time():.3f}"
        (self.unclean if NO_BUS in service.last_word() else self.surprises).append(told)

    def _judge_end(self, service: Service, code: int) -> None:
        """Cut off from the bus it may not end as it should, and says so."""
        if code != 0:
            self.unclean.append(f"{service.name} ended with {code} at {time.time():.3f}")

    def _service(self, among: list[Service] | None = None) -> Service | None:
        """Somebody whom nobody else harms: nobody else may from now on, until it is mended."""
        free = [
            each
            for each in among or self.house.services
            if self._is_free(each) and each.name.startswith(self.aim.victims)
        ]
        if not free or len(self._busy) >= HARMED_MAX:
            return None
        victim = self.chance.choice(free)
        self._busy.add(victim.name)
        return victim

    def _is_free(self, service: Service) -> bool:
        return service.name not in self._busy and service.running

    def _harm(self, what: str, whom: str) -> "_Harm":
        return _Harm(self, what, whom)

    def _node_harm(self, what: str) -> "_NodeHarm":
        return _NodeHarm(self, what)


class _Harm:
    """Keeps others from the victim meanwhile, and writes down what happened."""

    def __init__(self, faults: Faults, what: str, whom: str) -> None:
        self._faults = faults
        self._what = what
        self._whom = whom
        self._at = 0.0

    async def __aenter__(self) -> None:
        self._faults._busy.add(self._whom)
        self._at = time.time()

    async def __aexit__(self, *_: object) -> None:
        self._faults._busy.discard(self._whom)
        self._faults.happened.append(Fault(self._what, self._whom, self._at, time.time()))


class _NodeHarm:
    """The same for one server of the bus at a time; None while another is harmed."""

    def __init__(self, faults: Faults, what: str) -> None:
        self._faults = faults
        self._harm = _Harm(faults, what, "bus")
        self._does = "bus" not in faults._busy

    async def __aenter__(self) -> Node | None:
        if not self._does:
            return None
        await self._harm.__aenter__()
        return self._faults.chance.choice(self._faults.house.nodes)

    async def __aexit__(self, *_: object) -> None:
        if self._does:
            await self._harm.__aexit__()
