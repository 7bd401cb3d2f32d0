"""The whole system as real processes around one app file, and how tests look at it from outside."""

import asyncio
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import msgspec

from teambus.bus import identities, reads, topology
from teambus.bus.bodies import Bodies
from teambus.bus.connection import Bus, BusSettings, connect
from teambus.bus.events import Events
from teambus.contracts import subjects
from teambus.contracts.message import decode
from teambus.contracts.run import RunCompleted
from teambus.local.nats_server import NatsServer
from teambus.testing.model import ModelServer
from tests.support.locked import ADMIN, Lock, LockedServer
from tests.support.processes import Process

T = TypeVar("T")

FAST = {
    "TOPOLOGY_ACK_WAIT_S": "2",
    "TEAM_RUNNER_DRAIN_S": "5",
    "TEAM_RUNNER_SESSION_LOOK_S": "0.5",
    "TEAM_RUNNER_MODEL_BACKOFF_S": "0.05",
    "TEAM_RUNNER_STORE_RETRY_S": "0.3",
    "HOOK_RUNNER_DRAIN_S": "5",
    "HOOK_RUNNER_KILL_AFTER_S": "0.5",
    "OPENAI_API_KEY": "scripted",
    "TEAMBUS_LOG": "json",
    "TEAMBUS_LOG_LEVEL": "debug",
}


class System:
    """Gateway, runners and hook-runner of one app. Parts are started one by one or all at once."""

    def __init__(
        self,
        app: Path,
        folder: Path,
        nats: NatsServer,
        model: ModelServer,
        bus: Bus,
        environment: Mapping[str, str],
        lock: Lock | None = None,
    ) -> None:
        self.folder = folder
        self.lock = lock
        self.nats = nats
        self.model = model
        self.bus = bus
        self.hook_log = folder / "hooks.log"
        self.hook_log.touch()
        self.port = free_port()
        self.environment = {
            **FAST,
            "NATS_URL": nats.url,
            "TEAMBUS_APP": str(app),
            "TEAMBUS_APP_DIR": str(app.parent),
            "OPENAI_BASE_URL": model.base_url,
            "GATEWAY_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self.port),
            "HOOK_LOG": str(self.hook_log),
            "TEST_FOLDER": str(folder),
            **environment,
        }
        self.gateway = self._process("teambus_gateway", "gateway")
        self.runner = self._process("teambus_team_runner", "runner")
        self.second_runner = self._process("teambus_team_runner", "runner-2")
        self.hook_runner = self._process("teambus_hook_runner", "hook-runner")
        self.client = httpx2.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", timeout=60)
        self.events = Events(bus, Bodies(bus), source="test")

    @property
    def processes(self) -> tuple[Process, ...]:
        return self.gateway, self.runner, self.second_runner, self.hook_runner

    def _process(self, module: str, name: str) -> Process:
        own = {} if self.lock is None else self.lock.service(module)
        return Process(module, self.environment | own, self.folder / f"{name}.log")

    def _access(self, identity: str) -> dict[str, str]:
        return {} if self.lock is None else self.lock.environment(identity)

    async def provision(self) -> None:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "teambus", "provision"),
            *("--app", self.environment["TEAMBUS_APP"]),
            *("--app-dir", self.environment["TEAMBUS_APP_DIR"]),
            env={**os.environ, **self.environment, **self._access(identities.PROVISION)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        assert process.returncode == 0, said.decode()

    async def teambus(self, *words: str, identity: str | None = None) -> tuple[int, str]:
        """The exit status of a command, and what it printed; as somebody else, if so wished."""
        others = {"doctor": identities.DOCTOR, "provision": identities.PROVISION}
        own = identity or others.get(words[0], identities.OPERATOR)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "teambus", *words),
            env={**os.environ, **self.environment, **self._access(own)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert b"Traceback" not in err, err.decode()
        assert process.returncode is not None
        return process.returncode, out.decode()

    async def start(self) -> None:
        await self.provision()
        await asyncio.gather(self.gateway.start(), self.runner.start(), self.hook_runner.start())

    async def close(self) -> None:
        await self.client.aclose()
        await asyncio.gather(*(process.close() for process in self.processes))

    async def post(
        self,
        message: str = "Write a short paragraph about Python",
        *,
        team: str = "content-team",
        key: str | None = None,
        **form: str,
    ) -> httpx2.Response:
        headers = {"Idempotency-Key": key} if key else {}
        fields = {"message": message, "stream": "false", **form}
        return await self.client.post(f"/teams/{team}/runs", data=fields, headers=headers)

    async def run(self, message: str = "Write about Python", **form: str) -> dict[str, Any]:
        """A run that is answered 200: its output."""
        response = await self.post(message, **form)
        assert response.status_code == 200, response.text
        output: dict[str, Any] = response.json()
        return output

    async def completed(
        self, run_id: str, *, team: str = "content-team", wait_s: float = 20
    ) -> RunCompleted:
        """The run-completed event, once it is there."""
        found = await until(
            lambda: self.events.completed("default", team, run_id),
            wait_s,
            f"no completed event for {run_id}; runner: {self.runner.tail()}",
        )
        assert found is not None
        return found

    async def every_completed(self) -> list[RunCompleted]:
        subject = f"{subjects.ROOT}.event.*.*.*.completed"
        bodies = Bodies(self.bus)
        return [
            decode(RunCompleted, await bodies.load(stored.data, stored.headers))
            for stored in await self.stored(topology.EVENTS, subject)
        ]

    async def stored(self, stream: str, subject: str) -> list[reads.Stored]:
        """Every message of a stream whose subject matches, oldest first."""
        found = reads.history(self.bus, stream, subject, until=sys.maxsize, messages_max=100_000)
        return [stored async for stored in found]

    async def queued(self) -> int:
        """How many run requests are in the queue, taken or not."""
        reply = await reads.call(self.bus, f"$JS.API.STREAM.INFO.{topology.REQUESTS}", b"")
        count: int = msgspec.json.decode(reply.data)["state"]["messages"]
        return count

    async def queue_emptied(self) -> None:
        """Return once no request is left: a reply does not wait for the acknowledgement."""

        async def is_empty() -> bool:
            return await self.queued() == 0

        await until(is_empty, 20, "a request was left in the queue")

    async def hook_lines(
        self, count: int, *, wait_s: float = 20, containing: str = ""
    ) -> list[str]:
        """The lines that hooks wrote to HOOK_LOG, once there are `count` of them."""

        def lines() -> list[str]:
            return [x for x in self.hook_log.read_text().splitlines() if containing in x]

        async def enough() -> list[str] | None:
            return lines() if len(lines()) >= count else None

        found = await until(
            enough, wait_s, lambda: f"{lines()}; hook-runner: {self.hook_runner.tail()}"
        )
        assert found is not None
        return found


async def until(
    ask: Callable[[], Awaitable[T]], wait_s: float, otherwise: str | Callable[[], str]
) -> T:
    """Ask until the answer is true, `wait_s` seconds at most."""
    deadline = time.monotonic() + wait_s
    while not (answer := await ask()):
        if time.monotonic() > deadline:
            raise AssertionError(otherwise if isinstance(otherwise, str) else otherwise())
        await asyncio.sleep(0.02)
    return answer


@asynccontextmanager
async def system_of(
    app: Path,
    folder: Path,
    *,
    environment: Mapping[str, str] | None = None,
    latency_ms: float = 0,
    start: bool = True,
    lock: Lock | None = None,
) -> AsyncIterator[System]:
    """The system around `app`, provisioned and started, in processes of its own."""
    async with AsyncExitStack() as stack:
        server = NatsServer(folder / "nats")
        if lock is not None:
            await lock.grant(app, environment={"TEST_FOLDER": str(folder)})
            server = LockedServer(folder / "nats", lock)
        nats = await stack.enter_async_context(server)
        model = await stack.enter_async_context(
            ModelServer(latency_ms=latency_ms, log=folder / "calls.jsonl")
        )
        settings = BusSettings((nats.url,), "test", publish_patience_s=20)
        if lock is not None:
            settings = lock.settings(ADMIN, nats.url, publish_patience_s=20)
        bus = await stack.enter_async_context(connect(settings))
        system = System(app, folder, nats, model, bus, environment or {}, lock)
        stack.push_async_callback(system.close)
        if start:
            await system.start()
        yield system


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
