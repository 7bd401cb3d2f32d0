"""How long a light tenant waits for its runs beside a heavy tenant's flood, and without it.

`python -m tests.bench.fairness`: each run of the light tenant is asked for when its last has ended.
Requests go to the bus directly, for a gateway serves one tenant. `first come` is the same with
nothing pulled ahead, so that requests are taken in the order they came.
"""

import asyncio
import tempfile
import time
import uuid
from argparse import ArgumentParser, Namespace
from pathlib import Path

import uvloop

from teambus.bus.bodies import Bodies
from teambus.bus.connection import Bus
from teambus.bus.requests import Requests
from teambus.bus.waiter import RunKey, Waiter
from teambus.contracts.run import RunRequest
from tests.bench.arms import HERE
from tests.bench.load import Load
from tests.support.system import System, system_of

TEAM = "content-team"
HEAVY, LIGHT = "heavy", "light"
PATIENCE_S = 600
SUBMITTING = 32


def request(run_id: str) -> RunRequest:
    return RunRequest(run_id=run_id, session_id=run_id, input=f"Write about {run_id}")


async def flood(bus: Bus, count: int) -> None:
    """Return when all of it is in the queue."""
    requests, numbers = Requests(bus, Bodies(bus), "bench"), iter(range(count))

    async def submit() -> None:
        for number in numbers:
            await requests.submit(HEAVY, TEAM, request(f"flood-{number}-{uuid.uuid4().hex}"))

    await asyncio.gather(*(submit() for _ in range(SUBMITTING)))


async def one_after_another(bus: Bus, count: int) -> Load:
    """The light tenant's runs: seconds from asking to the end of each."""
    requests, waiter, load = Requests(bus, Bodies(bus), "bench"), Waiter(bus, Bodies(bus)), Load()
    for _ in range(count):
        asked = request(uuid.uuid4().hex)
        began = time.perf_counter()
        async with waiter.listening(RunKey(LIGHT, TEAM, asked.run_id)) as listener:
            seq = await requests.submit(LIGHT, TEAM, asked)
            ended = await listener.ended(seq, wait_s=PATIENCE_S, look_s=1)
        assert ended is not None, "a light run did not end"
        load.times_s.append(time.perf_counter() - began)
    return load


async def measure(name: str, options: Namespace, **environment: str) -> None:
    with tempfile.TemporaryDirectory(prefix="teambus-bench-") as folder:
        async with system_of(
            HERE / "our_team.py",
            Path(folder),
            environment={
                "TEAMBUS_LOG_LEVEL": "warning",
                "TEAM_RUNNER_HANDS": str(options.hands),
                "TOPOLOGY_ACK_WAIT_S": "30",
                **environment,
            },
            latency_ms=options.latency_ms,
        ) as system:
            await one_after_another(system.bus, 5)
            show(f"{name}, no flood", await one_after_another(system.bus, options.light))
            await flood(system.bus, options.flood)
            show(f"{name}, flood of {options.flood}", await beside_it(system, options))


async def beside_it(system: System, options: Namespace) -> Load:
    load = await one_after_another(system.bus, options.light)
    left = await system.queued()
    print(f"  ({left} requests of the flood were left when the light tenant was done)")
    return load


def show(name: str, load: Load) -> None:
    print(
        f"{name:<34} p50 {load.percentile_ms(0.5):>8.0f} ms   p99 {load.percentile_ms(0.99):>8.0f}"
        f" ms   of {len(load.times_s)}",
        flush=True,
    )


async def main(options: Namespace) -> None:
    await measure("fair", options)
    if options.first_come:
        once = Namespace(**{**vars(options), "light": 1})
        await measure("first come", once, TEAM_RUNNER_AHEAD_MAX="0")


def options() -> Namespace:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--flood", type=int, default=3000, help="requests of the heavy tenant")
    parser.add_argument("--light", type=int, default=50, help="runs of the light one, one by one")
    parser.add_argument("--hands", type=int, default=32)
    parser.add_argument("--latency-ms", type=float, default=100, help="of a model call")
    parser.add_argument("--first-come", action="store_true", help="also without fairness")
    return parser.parse_args()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(options()))
