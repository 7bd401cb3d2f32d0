"""The house that chaos is let loose in: a bus, a model, and replicas of every service."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from teambus.bus import identities
from teambus.testing.model import ModelServer
from tests.chaos.load import OTHER_TENANT, TENANT
from tests.chaos.nodes import Node, bus_of_one, bus_of_three
from tests.chaos.nursery import Cradle, Service
from tests.support.link import Link, link_to
from tests.support.locked import Lock
from tests.support.postgres import PostgresProcess
from tests.support.system import free_port

ROOT = Path(__file__).parents[2]
APP = Path(__file__).parent / "app.py"
REPLY_S = 20
MODEL_TIMEOUT_S = 2
ACK_WAIT_S = 1.5
TENANTS = (TENANT, OTHER_TENANT)

SETTINGS = {
    "TOPOLOGY_ACK_WAIT_S": str(ACK_WAIT_S),
    # Fewer than there are askers, so that requests wait for a hand.
    "TEAM_RUNNER_HANDS": "2",
    "TEAM_RUNNER_DRAIN_S": "1",
    "TEAM_RUNNER_SESSION_LOOK_S": "0.5",
    "TEAM_RUNNER_MODEL_BACKOFF_S": "0.05",
    "TEAM_RUNNER_MODEL_BACKOFF_MAX_S": "0.5",
    "TEAM_RUNNER_MODEL_TIMEOUT_S": str(MODEL_TIMEOUT_S),
    "TEAM_RUNNER_STORE_RETRY_S": "0.3",
    "TEAM_RUNNER_ALONE_WAIT_S": "2",
    "TEAM_RUNNER_ATTEMPTS_MAX": "20",
    "TEAM_RUNNER_REQUEST_TIMEOUT_S": "1",
    "HOOK_RUNNER_DRAIN_S": "1",
    "HOOK_RUNNER_KILL_AFTER_S": "0.5",
    "HOOK_RUNNER_PROCESSES_MAX": "2",
    "HOOK_RUNNER_RESTART_BACKOFF_S": "0.1",
    "HOOK_RUNNER_RECORD_RETRY_S": "0.2",
    "HOOK_RUNNER_REQUEST_TIMEOUT_S": "1",
    "HOOK_RUNNER_CRASH_MAX": "1000",
    "GATEWAY_DRAIN_S": "1",
    "GATEWAY_LOOK_S": "1",
    "OPENAI_API_KEY": "scripted",
    "TEAMBUS_LOG": "json",
    "TEAMBUS_LOG_LEVEL": "debug",
}


@dataclass(frozen=True, slots=True)
class Size:
    """How many of each. `nodes` are the servers of the bus: one, or three that replicate."""

    nodes: int = 1
    gateways: int = 2
    team_runners: int = 3
    hook_runners: int = 2


@dataclass
class House:
    """Everything that can be killed, and what clients connect to."""

    folder: Path
    nodes: list[Node]
    model: ModelServer
    gateways: list[Service] = field(default_factory=list)
    team_runners: list[Service] = field(default_factory=list)
    hook_runners: list[Service] = field(default_factory=list)
    links: dict[str, list[Link]] = field(default_factory=dict)
    clients: list[httpx2.AsyncClient] = field(default_factory=list)
    lock: Lock | None = None
    postgres: PostgresProcess | None = None

    @property
    def services(self) -> list[Service]:
        return [*self.gateways, *self.team_runners, *self.hook_runners]

    @property
    def urls(self) -> tuple[str, ...]:
        return tuple(node.url for node in self.nodes)


@asynccontextmanager
async def house(
    folder: Path, size: Size, environment: Mapping[str, str] | None = None, *, locked: bool = False
) -> AsyncIterator[House]:
    """Provisioned, and everything running. When `locked`, with TLS, the generated permissions and
    PostgreSQL.
    """
    async with AsyncExitStack() as stack:
        postgres = stack.enter_context(_postgres()) if locked else None
        lock = await _lock(folder, postgres) if locked else None
        bus = bus_of_one if size.nodes == 1 else bus_of_three
        nodes = await stack.enter_async_context(bus(folder, lock))
        log = folder / "calls.jsonl"
        model = await stack.enter_async_context(ModelServer(latency_ms=20, log=log))
        made = House(folder, nodes, model, lock=lock, postgres=postgres)
        shared = _environment(made) | dict(environment or {})
        await _provision(shared, made)
        await _furnish(stack, made, size, shared)
        stack.push_async_callback(_empty, made)
        await asyncio.gather(*(service.start() for service in made.services))
        yield made


@contextmanager
def _postgres() -> Iterator[PostgresProcess]:
    server = PostgresProcess()
    try:
        server.start()
        yield server
    finally:
        server.close()


async def _lock(folder: Path, postgres: PostgresProcess | None) -> Lock:
    lock = Lock(folder / "lock", TENANTS)
    described = {"TEST_FOLDER": str(folder), **_database(postgres)}
    await lock.grant(APP, environment=described)
    return lock


def _database(postgres: PostgresProcess | None) -> dict[str, str]:
    return {} if postgres is None else {"TEAM_RUNNER_DB_URL": postgres.url}


def _access(made: House, identity: str) -> dict[str, str]:
    return {} if made.lock is None else made.lock.environment(identity)


def _environment(made: House) -> dict[str, str]:
    folder = made.folder
    for name in ("hooks.log", "tools.log"):
        (folder / name).touch()
    return {
        **SETTINGS,
        **_database(made.postgres),
        "TOPOLOGY_REPLICAS": str(len(made.nodes)),
        "PYTHONPATH": os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), str(ROOT)]),
        "TEAMBUS_APP": str(APP),
        "TEAMBUS_APP_DIR": str(folder),
        "TEAMBUS_APP_ID": "chaos",
        "OPENAI_BASE_URL": made.model.base_url,
        "HOOK_LOG": str(folder / "hooks.log"),
        "TOOL_LOG": str(folder / "tools.log"),
        "TEST_FOLDER": str(folder),
    }


async def _provision(environment: Mapping[str, str], made: House) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "teambus", "provision"),
        *("--app", environment["TEAMBUS_APP"], "--app-dir", environment["TEAMBUS_APP_DIR"]),
        env={
            **os.environ,
            **environment,
            **_access(made, identities.PROVISION),
            "NATS_URL": ",".join(made.urls),
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()


async def _furnish(
    stack: AsyncExitStack, made: House, size: Size, environment: Mapping[str, str]
) -> None:
    """A cradle for each kind of service, and a link of its own to the bus for each replica."""
    for module, count, row in (
        ("teambus_gateway", size.gateways, made.gateways),
        ("teambus_team_runner", size.team_runners, made.team_runners),
        ("teambus_hook_runner", size.hook_runners, made.hook_runners),
    ):
        log = made.folder / f"{module}-cradle.log"
        access = {} if made.lock is None else made.lock.service(module)
        cradle = await stack.enter_async_context(Cradle(module, {**environment, **access}, log))
        for n in range(1, count + 1):
            name = f"{module.removeprefix('teambus_').replace('_', '-')}-{n}"
            links = made.links[name] = [
                await stack.enter_async_context(
                    link_to(each.port, each.host, each.url.partition(":")[0])
                )
                for each in made.nodes
            ]
            own = {
                "NATS_URL": ",".join(link.url for link in links),
                "OPENAI_API_KEY": key_of(name),
            }
            if row is made.gateways:
                own["GATEWAY_PORT"] = str(port := free_port())
                made.clients.append(await stack.enter_async_context(_client(port)))
            row.append(Service(name, cradle, own, made.folder))


def key_of(name: str) -> str:
    """Its own key for the model, which tells in its log who called."""
    return f"key-of-{name}"


def _client(port: int) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=REPLY_S)


async def _empty(made: House) -> None:
    await asyncio.gather(*(service.kill() for service in made.services))
