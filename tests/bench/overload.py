"""What more than can be taken does to memory: `python -m tests.bench.overload`.

Each round asks all at once for far more than there are hands, places and room: callers who wait,
streams that nobody reads, large uploads, and a flood of two tenants on the bus. Then it waits until
all is done. Memory is flat when one round leaves no more behind than the round before it.
"""

import asyncio
import tempfile
import uuid
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import uvloop

from teambus.bus.bodies import Bodies
from teambus.bus.errors import QuotaExceeded
from teambus.bus.requests import Requests
from teambus.contracts.run import RunRequest
from tests.bench.arms import HERE
from tests.support.system import System, system_of, until

TEAM = "content-team"
RUNS = f"/teams/{TEAM}/runs"
MIB = 1024 * 1024
TENANTS = ("heavy", "other")
LIMITS = {
    "TEAMBUS_LOG_LEVEL": "error",
    "TEAM_RUNNER_HANDS": "32",
    "TOPOLOGY_ACK_WAIT_S": "30",
    "TOPOLOGY_REQUESTS_PER_TEAM_MAX": "2000",
    "GATEWAY_WAITING_MAX": "200",
    "GATEWAY_STREAMS_MAX": "100",
    "GATEWAY_UPLOADS_BYTES_MAX": str(48 * MIB),
    "GATEWAY_STREAM_STALL_S": "5",
}
LOOK_S = 0.1
PATIENCE_S = 600


@dataclass(slots=True)
class Memory:
    """The resident memory of each process, in MiB: now, and the most that was seen."""

    processes: dict[str, psutil.Process]
    peak: dict[str, float] = field(default_factory=dict)

    def now(self) -> dict[str, float]:
        return {name: _mib(process) for name, process in self.processes.items()}

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        self.peak = self.now()
        watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watching.cancel()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            for name, mib in self.now().items():
                self.peak[name] = max(self.peak[name], mib)


def _mib(process: psutil.Process) -> float:
    """With its children: a hook-runner's hooks are its memory too."""
    family = [process, *process.children(recursive=True)]
    return float(sum(each.memory_info().rss for each in family)) / MIB


@dataclass(slots=True)
class Round:
    """One round of too much, and what it was answered."""

    system: System
    options: Namespace
    answers: Counter[str] = field(default_factory=Counter)

    async def all(self) -> None:
        options = self.options
        await asyncio.gather(
            *(self._wait() for _ in range(options.callers)),
            *(self._do_not_read() for _ in range(options.streams)),
            *(self._upload() for _ in range(options.uploads)),
            *(self._flood(tenant) for tenant in TENANTS),
        )

    async def _wait(self) -> None:
        self.answers["wait " + await self._ask(b"message=hi&stream=false")] += 1

    async def _upload(self) -> None:
        body = b"message=hi&stream=false&session_state=" + b"x" * self.options.upload_bytes
        self.answers["upload " + await self._ask(body)] += 1

    async def _do_not_read(self) -> None:
        """Ask for a stream, read its status, and then nothing until the round is almost over."""
        reader, writer = await self._send(b"message=hi&stream=true")
        try:
            self.answers["stream " + await _status(reader)] += 1
            await asyncio.sleep(self.options.unread_s)
        finally:
            writer.transport.abort()

    async def _flood(self, tenant: str) -> None:
        requests = Requests(self.system.bus, Bodies(self.system.bus), "bench")
        for _ in range(self.options.flood):
            id_ = uuid.uuid4().hex
            asked = RunRequest(run_id=id_, session_id=id_, input="hi " * self.options.words)
            try:
                await requests.submit(tenant, TEAM, asked)
                self.answers["flood taken"] += 1
            except QuotaExceeded:
                self.answers["flood refused"] += 1

    async def _ask(self, body: bytes) -> str:
        reader, writer = await self._send(body)
        try:
            status = await _status(reader)
            async with asyncio.timeout(PATIENCE_S):
                await reader.read(-1)
        except (ConnectionError, EOFError):
            # Refused before all was sent, which ends the connection.
            return "cut"
        finally:
            writer.transport.abort()
        return status

    async def _send(self, body: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.system.port, limit=4096)
        head = (
            f"POST {RUNS} HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n"
            "content-type: application/x-www-form-urlencoded\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        return reader, writer


async def _status(reader: asyncio.StreamReader) -> str:
    async with asyncio.timeout(PATIENCE_S):
        return (await reader.readline()).split(b" ")[1].decode()


async def done(system: System) -> None:
    """Return when every request has been carried out and every hook called."""

    async def nothing_left() -> bool:
        return await system.queued() == 0

    await until(nothing_left, PATIENCE_S, "requests are left")
    await asyncio.sleep(2 * LOOK_S + 6)


async def main(options: Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="teambus-bench-") as folder:
        async with system_of(
            HERE / "our_team.py", Path(folder), environment=LIMITS, latency_ms=options.latency_ms
        ) as system:
            pids = {
                "gateway": system.gateway.pid,
                "team-runner": system.runner.pid,
                "hook-runner": system.hook_runner.pid,
                "nats-server": system.nats.pid,
            }
            memory = Memory({name: psutil.Process(pid) for name, pid in pids.items()})
            show("before", memory.now())
            for number in range(1, options.rounds + 1):
                asked = Round(system, options)
                async with memory.watched():
                    await asked.all()
                    await done(system)
                show(f"round {number}, most", memory.peak)
                show(f"round {number}, after", memory.now())
                print("   ", dict(sorted(asked.answers.items())), flush=True)


def show(when: str, mib: dict[str, float]) -> None:
    print(f"{when:<16}" + "".join(f"{name:>14} {value:>6.0f} MiB" for name, value in mib.items()))


def options() -> Namespace:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--callers", type=int, default=600, help="who wait for a reply")
    parser.add_argument("--streams", type=int, default=200, help="that nobody reads")
    parser.add_argument("--unread-s", type=float, default=10, help="how long they stay so")
    parser.add_argument("--uploads", type=int, default=64)
    parser.add_argument("--upload-bytes", type=int, default=3 * MIB)
    parser.add_argument("--flood", type=int, default=600, help="requests of each of two tenants")
    parser.add_argument("--words", type=int, default=1000, help="of each of these requests")
    parser.add_argument("--latency-ms", type=float, default=20, help="of a model call")
    return parser.parse_args()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(options()))
