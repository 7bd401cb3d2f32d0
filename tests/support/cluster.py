"""Three nats-servers that replicate everything, on this machine, and what can befall each."""

import asyncio
import contextlib
import ctypes
import errno
import json
import os
import signal
import subprocess
import urllib.request
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from teambus.bus import reads
from teambus.bus.connection import Bus
from teambus.local.binary import find_binary
from teambus.local.ports import free_port
from tests.support.locked import Lock
from tests.support.namespaces import MISSING, Network, may_make_networks, network
from tests.support.older_clock import started_at_another_time
from tests.support.system import until

SIZE = 3
READY_S = 60
CONFIG = """\
server_name: {name}
host: {host}
port: {port}
http: "{host}:{http}"
logfile: {log}
max_payload: 1048576
jetstream {{
  store_dir: {store}
  sync_interval: always
  max_file_store: 256GB
  max_memory_store: 256MB
}}
{more}
"""
ROUTES = """\
cluster {{
  name: teambus
  host: {host}
  port: {port}
  no_advertise: true
  routes: [{routes}]
}}
"""


class Node:
    """One nats-server, always at the same address with the same store."""

    def __init__(self, name: str, folder: Path, host: str = "127.0.0.1") -> None:
        self.lock: Lock | None = None
        self.name = name
        self.folder = folder
        self.host = host
        self.port, self._http, self.route_port = free_port(), free_port(), free_port()
        self.more = ""
        self.inside: tuple[str, ...] = ()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"{'nats' if self.lock is None else 'tls'}://{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        """0 while it does not run."""
        return self._process.pid if self._process is not None and self.running else 0

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, *, earlier_s: int = 0) -> None:
        """Does not wait until it is ready. With `earlier_s` its clock is slow by so much."""
        assert not self.running, f"{self.name} runs already"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.configure()
        command = [*self.inside, str(find_binary()), "-c", str(self.folder / "nats-server.conf")]
        with (self.folder / "said").open("ab") as said:
            if earlier_s:
                self._process = started_at_another_time(
                    find_binary(), command, earlier_s, said, _die_with_us
                )
            else:
                self._process = subprocess.Popen(
                    command,
                    stdout=said,
                    stderr=said,
                    preexec_fn=_die_with_us,  # noqa: PLW1509 - no thread
                )

    def configure(self) -> None:
        text = CONFIG.format(
            name=self.name,
            host=self.host,
            port=self.port,
            http=self._http,
            log=json.dumps(str(self.folder / "nats-server.log")),
            store=json.dumps(str(self.folder / "store")),
            more=self.more,
        )
        if self.lock is not None:
            text += self.lock.configuration(self.folder)
        (self.folder / "nats-server.conf").write_text(text)

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "not started"
        self._process.send_signal(number)

    async def kill(self) -> None:
        self.signal(signal.SIGKILL)
        await self._gone()

    async def stop(self) -> None:
        """SIGTERM: it hands its leaderships over first."""
        self.signal(signal.SIGTERM)
        await self._gone()

    async def close(self) -> None:
        if self.running:
            self.signal(signal.SIGCONT)
            await self.kill()

    async def healthy(self) -> bool:
        """Whether it has all that the others have."""
        try:
            answer = await asyncio.to_thread(self.asked, "healthz")
        except OSError:
            return False
        return bool(answer.get("status") == "ok")

    async def ready(self) -> None:
        await until(self.healthy, READY_S, lambda: f"{self.name} is not ready: {self.tail()}")

    def tail(self) -> str:
        log = self.folder / "nats-server.log"
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        return "\n".join([(self.folder / "said").read_text(), *lines[-15:]])

    def asked(self, what: str) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://{self.host}:{self._http}/{what}", timeout=2) as said:
            answer: dict[str, Any] = json.load(said)
        return answer

    async def _gone(self) -> None:
        assert self._process is not None, "not started"
        await asyncio.to_thread(self._process.wait, 20)


class Cluster:
    """`nodes` run and replicate. In a network of their own, if root made them one."""

    def __init__(self, folder: Path, wires: Network | None) -> None:
        self._wires = wires
        self.nodes = [self._node(folder, number) for number in range(1, SIZE + 1)]
        for node in self.nodes:
            routes = [f'"nats://{other.host}:{other.route_port}"' for other in self.nodes]
            node.more = ROUTES.format(
                host=node.host, port=node.route_port, routes=", ".join(routes)
            )

    @property
    def url(self) -> str:
        return ",".join(node.url for node in self.nodes)

    @property
    def has_wires(self) -> bool:
        return self._wires is not None

    @property
    def wires(self) -> Network:
        """Skips the test where nodes cannot be cut off."""
        if self._wires is None:
            pytest.skip(MISSING)
        return self._wires

    def number(self, node: Node) -> int:
        return self.nodes.index(node) + 1

    def others(self, node: Node) -> list[Node]:
        return [other for other in self.nodes if other is not node]

    async def start(self) -> None:
        for node in self.nodes:
            node.start()
        await self.ready()

    async def ready(self) -> None:
        await asyncio.gather(*(node.ready() for node in self.nodes))
        for node in self.nodes:
            await until(lambda n=node: self._knows_all(n), READY_S, node.tail)  # type: ignore[misc]  # the default binds it

    async def close(self) -> None:
        await asyncio.gather(*(node.close() for node in self.nodes))

    async def leader(self, bus: Bus, stream: str, *, but: Iterable[Node] = ()) -> Node:
        """The node that leads a stream, once there is one that is none of `but`."""
        avoided = {node.name for node in but}

        async def asked() -> str | None:
            reply = await reads.call(bus, f"$JS.API.STREAM.INFO.{stream}", b"")
            name: str | None = json.loads(reply.data).get("cluster", {}).get("leader")
            return None if name in avoided else name

        name = await until(asked, READY_S, f"{stream} has no leader")
        return next(node for node in self.nodes if node.name == name)

    def connected_to(self, bus: Bus) -> Node:
        url = bus.client.connected_url
        assert url is not None, "not connected"
        return next(node for node in self.nodes if node.url.endswith(url.netloc))

    def _node(self, folder: Path, number: int) -> Node:
        name = f"n{number}"
        if self._wires is None:
            return Node(name, folder / name)
        node = Node(name, folder / name, self._wires.address(number))
        node.inside = self._wires.inside(number)
        return node

    async def _knows_all(self, node: Node) -> bool:
        known = (await asyncio.to_thread(node.asked, "jsz")).get("meta_cluster", {})
        return bool(known.get("leader")) and known.get("cluster_size") == SIZE


@asynccontextmanager
async def cluster_of_three(
    folder: Path, *, small_disk: int | None = None, lock: Lock | None = None
) -> AsyncIterator[Cluster]:
    """Started, and all know each other. The last node's disk has `small_disk` MiB, if given and
    root may mount one.
    """
    async with AsyncExitStack() as stack:
        wires = stack.enter_context(network(SIZE)) if may_make_networks() else None
        cluster = Cluster(folder, wires)
        if lock is not None:
            lock.certify("server", [*lock.hosts, *{node.host for node in cluster.nodes}])
        for node in cluster.nodes:
            node.lock = lock
        if small_disk is not None and os.geteuid() == 0:
            stack.enter_context(_disk(cluster.nodes[-1].folder, small_disk))
        stack.push_async_callback(cluster.close)
        await cluster.start()
        yield cluster


@contextlib.contextmanager
def _disk(folder: Path, size_mib: int) -> Iterator[None]:
    folder.mkdir(parents=True)
    options = ("-t", "tmpfs", "-o", f"size={size_mib}m", "tmpfs")
    subprocess.run(["mount", *options, str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Leave no byte free on the disk of a folder; returns what takes the room."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        with contextlib.suppress(OSError):
            while True:
                _write(file.fileno())
    return filler


def _write(descriptor: int) -> None:
    for size in (1024 * 1024, 4096, 1):
        try:
            os.write(descriptor, b"\0" * size)
        except OSError as error:
            if error.errno != errno.ENOSPC or size == 1:
                raise
        else:
            return


def _die_with_us() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
