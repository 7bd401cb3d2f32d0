"""Clients who ask without pause, in every way there is, and of another gateway when one stops."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2

from teambus.bus.bodies import Bodies
from teambus.bus.requests import Requests
from teambus.contracts.run import RunRequest
from tests.support.processes import Process
from tests.support.sse import EventSource, SseEvent
from tests.support.system import System

RUNS = "/teams/content-team/runs"
LAST = ("TeamRunCompleted", "TeamRunError", "TeamRunCancelled")
PAUSE_S = 0.1


class Pairs:
    """Two processes of each service. The system's own are the first of each pair."""

    def __init__(self, system: System) -> None:
        self.system = system
        port = str(system.port + 1)
        second_gateway = {**system.environment, "GATEWAY_PORT": port}
        self.second_gateway = self._another("teambus_gateway", second_gateway)
        self.second_hook_runner = self._another("teambus_hook_runner", system.environment)
        self.urls = (f"http://127.0.0.1:{system.port}", f"http://127.0.0.1:{port}")

    @property
    def halves(self) -> tuple[tuple[Process, ...], ...]:
        """One process of each service, and the other."""
        system = self.system
        return (
            (system.gateway, system.runner, system.hook_runner),
            (self.second_gateway, system.second_runner, self.second_hook_runner),
        )

    @property
    def all(self) -> tuple[Process, ...]:
        return tuple(process for half in self.halves for process in half)

    def _another(self, module: str, environment: dict[str, str]) -> Process:
        return Process(module, environment, self.system.folder / f"{module}-2.log")


@asynccontextmanager
async def pairs_of(system: System) -> AsyncIterator[Pairs]:
    """All started."""
    pairs = Pairs(system)
    await system.provision()
    try:
        for half in pairs.halves:
            await asyncio.gather(*(process.start() for process in half))
        yield pairs
    finally:
        await asyncio.gather(*(process.close() for process in pairs.all))


@dataclass
class Told:
    """What clients were told: the runs they asked for, the streams, and answers they should not
    get. `turned_away` counts the answers that say to come again.
    """

    runs: set[str] = field(default_factory=set)
    streams: dict[str, list[SseEvent]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    turned_away: int = 0


class Crowd:
    """Clients. Each begins anew until `enough`, and finishes what it began."""

    def __init__(
        self, system: System, urls: tuple[str, ...], http: httpx2.AsyncClient, *, name: str = "run"
    ) -> None:
        self._name = name
        self.told = Told()
        self.enough = asyncio.Event()
        self._system = system
        self._http = http
        self._urls = itertools.cycle(urls)
        self._numbers = itertools.count()
        self._requests = Requests(system.bus, Bodies(system.bus), "test")

    async def ask(self, how: Callable[["Crowd", str], Awaitable[None]]) -> None:
        while not self.enough.is_set():
            await how(self, f"{self._name}-{next(self._numbers)}")
            await asyncio.sleep(PAUSE_S)

    async def waits(self, key: str) -> None:
        self._check((await self._submitted(key)).json())

    async def polls(self, key: str) -> None:
        accepted = (await self._submitted(key, background="true")).json()
        path = f"{RUNS}/{accepted['run_id']}?session_id={accepted['session_id']}"
        while (output := (await self._answered("GET", path)).json())["status"] != "COMPLETED":
            self._check(output, "PENDING", "RUNNING")
            await asyncio.sleep(PAUSE_S)

    async def listens(self, run_id: str) -> None:
        """Goes on wherever it was cut off, each time at the other gateway."""
        heard = self.told.streams[run_id] = []
        self.told.runs.add(run_id)
        form = {**_form(run_id), "run_id": run_id, "background": "true"}
        while not (heard and heard[-1].event in LAST):
            with contextlib.suppress(httpx2.TransportError):
                await self._listen(run_id, heard, form)
            await asyncio.sleep(PAUSE_S / 2)

    async def says_it_on_the_bus(self, run_id: str) -> None:
        request = RunRequest(run_id=run_id, input=f"question {run_id}", session_id=run_id)
        await self._requests.submit("default", "content-team", request)
        self.told.runs.add(run_id)
        completed = await self._system.completed(run_id, wait_s=60)
        self._check({"status": completed.output.status})

    async def _submitted(self, key: str, **fields: str) -> httpx2.Response:
        """The run is the same one however often it must be said."""
        form = {**_form(key), "stream": "false", **fields}
        answer = await self._answered("POST", RUNS, data=form, headers={"Idempotency-Key": key})
        self.told.runs.add(answer.json()["run_id"])
        return answer

    async def _listen(self, run_id: str, heard: list[SseEvent], form: dict[str, str]) -> None:
        last = next((each.id for each in reversed(heard) if each.id is not None), None)
        url = next(self._urls)
        if last is None:
            opened = self._http.stream("POST", url + RUNS, data=form)
        else:
            path = f"{url}{RUNS}/{run_id}/events"
            opened = self._http.stream("GET", path, headers={"Last-Event-ID": str(last)})
        async with opened as response:
            if response.status_code != 200:
                await response.aread()
                self._note(response)
                return
            source = EventSource(response)
            while (event := await source.next()) is not None:
                # What is said of the stream itself has no number: it stops, or another begins.
                if event.id is not None:
                    heard.append(event)

    async def _answered(self, verb: str, path: str, **options: Any) -> httpx2.Response:
        """The answer that says what became of it; until then the other gateway is asked."""
        while True:
            with contextlib.suppress(httpx2.TransportError):
                response = await self._http.request(verb, next(self._urls) + path, **options)
                if response.status_code in (200, 202):
                    return response
                self._note(response)
            await asyncio.sleep(PAUSE_S)

    def _note(self, response: httpx2.Response) -> None:
        if response.status_code == 503 and "retry-after" in response.headers:
            self.told.turned_away += 1
        else:
            self.told.wrong.append(f"{response.status_code} {response.text}")

    def _check(self, output: dict[str, Any], *good: str) -> None:
        if output["status"] not in (good or ("COMPLETED",)):
            self.told.wrong.append(str(output))


EVERY_WAY = (
    *(Crowd.waits, Crowd.waits, Crowd.polls),
    *(Crowd.listens, Crowd.listens, Crowd.says_it_on_the_bus),
)


def _form(name: str) -> dict[str, str]:
    return {"message": f"question {name}", "session_id": name}
