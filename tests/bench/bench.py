"""`make bench`: how fast it is, as ratios within one run, and where the time goes.

Everything is on: journal, sessions, hooks, every write synced. One process of each service.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from argparse import ArgumentParser, BooleanOptionalAction, Namespace
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import uvloop
from nats.aio.msg import Msg

from teambus.bus.connection import BusSettings, connect
from teambus.local.nats_server import NatsServer
from tests.bench.arms import HERE, Arm, agno_python, server
from tests.bench.load import Load, run_load
from tests.bench.streams import StreamLoad, memory_of_open, run_streams
from tests.support.system import System, system_of

RUNS = "/teams/content-team/runs"
QUIET = {
    "TOPOLOGY_ACK_WAIT_S": "30",
    "TEAMBUS_LOG_LEVEL": "warning",
    "TEAM_RUNNER_HANDS": "512",
}
MODEL_CALLS_IN_A_ROW = 3


@dataclass(slots=True)
class Figures:
    """What the rounds of one arm gave."""

    p50_ms: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    cpu_ms: list[dict[str, float]] = field(default_factory=list)
    failures: int = 0

    @property
    def p50(self) -> float:
        return statistics.median(self.p50_ms)

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)

    @property
    def cpu(self) -> float:
        return statistics.median(sum(parts.values()) for parts in self.cpu_ms)

    def parts(self) -> dict[str, float]:
        return {
            name: statistics.median(parts[name] for parts in self.cpu_ms) for name in self.cpu_ms[0]
        }


def form(number: int) -> dict[str, str]:
    return {"message": f"Write a short paragraph about Python, number {number}", "stream": "false"}


async def measure(arm: Arm, figures: Figures, options: Namespace) -> None:
    alone = await run_load(arm.port, arm.path, form, count=options.alone, concurrency=1)
    before = arm.cpu_s()
    many = await run_load(arm.port, arm.path, form, count=options.many, concurrency=64)
    after = arm.cpu_s()
    figures.p50_ms.append(alone.percentile_ms(0.5))
    figures.rates.append(many.rate)
    figures.cpu_ms.append({n: (after[n] - before[n]) * 1000 / options.many for n in after})
    figures.failures += len(alone.failures) + len(many.failures)


@asynccontextmanager
async def arms(folder: Path, options: Namespace) -> AsyncIterator[list[Arm]]:
    async with AsyncExitStack() as stack:
        ours = await stack.enter_async_context(
            system_of(HERE / "our_team.py", folder, environment=QUIET)
        )
        found = [arm_of(ours)]
        model = ours.model.base_url
        environment = {"OPENAI_BASE_URL": model, "OPENAI_API_KEY": "scripted"}
        bare = server(
            "FastAPI, bare", sys.executable, "bare_fastapi", "/", folder=folder, environment={}
        )
        found.append(await stack.enter_async_context(bare))
        if options.agno and (python := await agno_python(options.agno_venv)):
            agno = server(
                "Agno 3.1.10", python, "agno_team", RUNS, folder=folder, environment=environment
            )
            found.append(await stack.enter_async_context(agno))
        yield found


def arm_of(system: System) -> Arm:
    pids = {
        "gateway": system.gateway.pid,
        "team-runner": system.runner.pid,
        "hook-runner": system.hook_runner.pid,
        "nats-server": system.nats.pid,
    }
    return Arm("teambus", system.port, RUNS, pids)


async def ideal_share(options: Namespace) -> tuple[float, float]:
    """Runs a second at 200 ms a model call and 256 at once, and its share of what is possible."""
    calls_s = 0.2 * MODEL_CALLS_IN_A_ROW
    with tempfile.TemporaryDirectory(prefix="teambus-bench-") as folder:
        async with system_of(
            HERE / "our_team.py", Path(folder), environment=QUIET, latency_ms=200
        ) as system:
            await run_load(system.port, RUNS, form, count=256, concurrency=256)
            load = await run_load(
                system.port, RUNS, form, count=options.slow, concurrency=256, spread_s=calls_s
            )
    assert not load.failures, load.failures[:3]
    rate = load.steady_rate(256)
    return rate, rate * calls_s / 256


async def stream_figures(found: list[Arm], options: Namespace) -> None:
    """The first event and the rate of streamed runs, ours beside Agno's."""
    loads: dict[str, tuple[StreamLoad, StreamLoad]] = {}
    for arm in found:
        if arm.path == RUNS:
            alone = await run_streams(
                arm.port, arm.path, form, count=options.alone // 2, concurrency=1
            )
            many = await run_streams(
                arm.port, arm.path, form, count=options.many // 2, concurrency=64
            )
            loads[arm.name] = alone, many
    for name, (alone, many) in loads.items():
        failed = len(alone.failures) + len(many.failures)
        print(
            f"{name}, streamed: first event {statistics.median(alone.first_s) * 1000:.1f} ms alone,"
            f" {statistics.median(many.first_s) * 1000:.0f} ms 64 at once; {many.rate:.0f} runs/s,"
            f" {statistics.median(many.events):.0f} events a run"
            + (f" ({failed} failed)" * bool(failed))
        )
    ours = loads.pop("teambus")
    for name, other in loads.items():
        first, first_many = (
            statistics.median(mine.first_s) / statistics.median(its.first_s)
            for mine, its in zip(ours, other, strict=True)
        )
        print(
            f"teambus : {name}, streamed = runs/s {ours[1].rate / other[1].rate:.2f},"
            f" first event {first:.2f} alone, {first_many:.2f} 64 at once"
        )


async def stream_memory(options: Namespace) -> float:
    """KiB of the gateway's memory that an open stream costs, of 200 at once."""
    with tempfile.TemporaryDirectory(prefix="teambus-bench-") as folder:
        async with system_of(
            HERE / "our_team.py", Path(folder), environment=QUIET, latency_ms=3000
        ) as system:
            await run_streams(system.port, RUNS, form, count=20, concurrency=20)
            return await memory_of_open(
                system.port, RUNS, form, pid=system.gateway.pid, count=options.open_streams
            )


async def long_session(arm: Arm) -> tuple[float, float]:
    """The 10th and the 200th run of one session, in ms: medians of the ten around them."""
    load = await run_load(
        arm.port, RUNS, lambda n: {**form(n), "session_id": "long"}, count=200, concurrency=1
    )
    assert not load.failures, load.failures[:3]
    tenth, last = load.times_s[5:15], load.times_s[190:200]
    return statistics.median(tenth) * 1000, statistics.median(last) * 1000


async def request_reply() -> tuple[float, float]:
    """Core NATS without storage, from one process to itself: p50 alone and rate 64 at once."""
    with tempfile.TemporaryDirectory(prefix="teambus-bench-") as folder:
        async with (
            NatsServer(Path(folder)) as server,
            connect(BusSettings((server.url,), "bench")) as bus,
        ):
            load = Load()

            async def echo(message: Msg) -> None:
                await message.respond(message.data)

            await bus.client.subscribe("echo", cb=echo)

            async def ask(count: int) -> None:
                for _ in range(count):
                    asked = time.perf_counter()
                    await bus.client.request("echo", b"x" * 1000)
                    load.times_s.append(time.perf_counter() - asked)

            await ask(500)
            p50 = load.percentile_ms(0.5)
            began = time.perf_counter()
            await asyncio.gather(*(ask(100) for _ in range(64)))
            return p50, 6400 / (time.perf_counter() - began)


def show(figures: dict[str, Figures]) -> None:
    print(f"{'':<16}{'p50 ms, 1 at once':>18}{'runs/s, 64 at once':>20}{'CPU ms/run':>12}")
    for name, each in figures.items():
        failed = f"  ({each.failures} failed)" if each.failures else ""
        print(f"{name:<16}{each.p50:>18.2f}{each.rate:>20.0f}{each.cpu:>12.2f}{failed}")
    parts = ", ".join(f"{name} {ms:.2f}" for name, ms in figures["teambus"].parts().items())
    print(f"CPU ms a run, by process: {parts}")


def show_ratios(figures: dict[str, Figures]) -> None:
    ours = figures["teambus"]
    for name, other in figures.items():
        if other is ours:
            continue
        print(
            f"teambus : {name} = runs/s {ours.rate / other.rate:.2f}, "
            f"p50 {ours.p50 / other.p50:.2f}, CPU {ours.cpu / other.cpu:.2f}"
        )


async def main(options: Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="teambus-bench-") as folder:
        async with arms(Path(folder), options) as found:
            figures = {arm.name: Figures() for arm in found}
            for arm in found:
                await run_load(arm.port, arm.path, form, count=50, concurrency=8)
            for _ in range(options.rounds):
                for arm in found:
                    await measure(arm, figures[arm.name], options)
            show(figures)
            show_ratios(figures)
            p50, rate = await request_reply()
            ours = figures["teambus"]
            print(
                f"teambus : raw NATS request-reply = rate {ours.rate / rate:.4f}, "
                f"p50 {ours.p50 / p50:.0f} ({p50:.2f} ms, {rate:.0f}/s 64 at once)"
            )
            await stream_figures(found, options)
            tenth, last = await long_session(found[0])
            print(f"one session: 10th run {tenth:.1f} ms, 200th {last:.1f} ms = {last / tenth:.2f}")
    print(f"an open stream, of {options.open_streams}: {await stream_memory(options):.0f} KiB")
    rate, share = await ideal_share(options)
    print(f"200 ms a model call, 256 at once: {rate:.0f} runs/s = {share:.0%} of the ideal")


def options() -> Namespace:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--alone", type=int, default=60, help="requests one after another")
    parser.add_argument("--many", type=int, default=400, help="requests 64 at once")
    parser.add_argument("--slow", type=int, default=3072, help="requests against the slow model")
    parser.add_argument("--open-streams", type=int, default=200, help="streams open at once")
    parser.add_argument("--agno", default=True, action=BooleanOptionalAction)
    parser.add_argument("--agno-venv", default=Path(".peers/agno").absolute(), type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(options()))
