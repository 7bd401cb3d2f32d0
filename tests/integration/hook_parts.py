"""A hook-runner as a real process on a real nats-server, and what its hooks wrote down."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from teambus.app.describe import describe
from teambus.bus import reads
from teambus.bus.bodies import Bodies
from teambus.bus.connection import Bus, BusSettings, connect
from teambus.bus.events import Events
from teambus.bus.provision import provision
from teambus.bus.pull import Inbox
from teambus.bus.topology import EVENTS, REDRIVE, TopologySettings, hook_consumer_name
from teambus.contracts import subjects
from teambus.contracts.catalogue import AppDescription, HookDescription
from teambus.contracts.hook import DeadLetter, HookOutcome, delivery_id
from teambus.contracts.ids import completed_event_id
from teambus.contracts.output import RunOutput, RunStatus, TeamRunInput, TeamRunOutput
from teambus.contracts.run import RunCompleted
from teambus.local.nats_server import NatsServer
from teambus.runtime.loading import load_app
from tests.support.processes import Process

SUPPORT = Path(__file__).parents[1] / "support"
ACK_WAIT_S = 1.0
WAIT_S = 25.0
HURRIED = {
    "HOOK_RUNNER_KILL_AFTER_S": "0.5",
    "HOOK_RUNNER_DRAIN_S": "5",
    "HOOK_RUNNER_RESTART_BACKOFF_S": "0.2",
    "HOOK_RUNNER_VERIFY_S": "0.2",
    "HOOK_RUNNER_RECORD_RETRY_S": "0.2",
    "HOOK_RUNNER_SESSION_TIMEOUT_S": "1",
    "TEAMBUS_LOG": "json",
    "PYTHONUNBUFFERED": "",
}
TENANT = "default"


def completed(run_id: str, team: str = "desk", **options: Any) -> RunCompleted:
    """A run-completed event; `content` tells the hooks of the test app what to do."""
    status = options.pop("status", RunStatus.COMPLETED)
    dependencies = options.pop("dependencies", None)
    output = TeamRunOutput(
        run_id=run_id,
        team_id=team,
        session_id=f"session of {run_id}",
        status=status,
        created_at=1,
        content_type="str",
        **{"input": TeamRunInput(input_content="ask"), "member_responses": [], **options},
    )
    return RunCompleted(
        event_id=completed_event_id(TENANT, team, run_id),
        tenant=TENANT,
        team_id=team,
        run_id=run_id,
        session_id=output.session_id,
        output=output,
        completed_at=time.time(),
        dependencies=dependencies,
    )


def member_run(run_id: str, agent_id: str | None = None, **options: Any) -> RunOutput:
    status = options.pop("status", RunStatus.COMPLETED)
    return RunOutput(run_id=run_id, status=status, created_at=1, agent_id=agent_id, **options)


@dataclass(slots=True)
class Ground:
    """The bus with the app provisioned, and the story its hooks write."""

    server: NatsServer
    bus: Bus
    events: Events
    app: AppDescription
    folder: Path
    environment: dict[str, str]
    runners: list[Process] = field(default_factory=list)

    def runner(self, **changes: str) -> Process:
        """A hook-runner of the app, not started yet."""
        log = self.folder / f"runner-{len(self.runners)}.log"
        process = Process("teambus_hook_runner", self.environment | HURRIED | changes, log)
        self.runners.append(process)
        return process

    async def started(self, **changes: str) -> Process:
        process = self.runner(**changes)
        await process.start()
        return process

    async def complete(self, run_id: str, **acts: list[str]) -> None:
        """Publish the end of a run, with what each hook is to do with it."""
        assert await self.events.complete(completed(run_id, content=json.dumps(acts)))

    def story(self, what: str = "began", **matching: Any) -> list[dict[str, Any]]:
        path = Path(self.environment["HOOK_STORY"])
        lines = path.read_text().splitlines() if path.exists() else []
        said = [json.loads(line) for line in lines]
        return [
            line
            for line in said
            if line["what"] == what and all(line.get(k) == v for k, v in matching.items())
        ]

    async def told(self, count: int, what: str = "began", **matching: Any) -> list[dict[str, Any]]:
        """Wait until the story has so many such lines."""
        await until(
            lambda: len(self.story(what, **matching)) >= count, f"{count} {what} {matching}"
        )
        return self.story(what, **matching)

    async def outcome(self, hook: str, run_id: str) -> HookOutcome | None:
        return (await self.events.outcome(TENANT, run_id, hook)).outcome

    async def stands(self, hook: str, run_id: str, state: str) -> HookOutcome:
        """Wait until the delivery stands so."""
        deadline = time.monotonic() + WAIT_S
        while (found := await self.outcome(hook, run_id)) is None or found.state != state:
            assert time.monotonic() < deadline, f"{hook} {run_id} is {found}, not {state}"
            await asyncio.sleep(0.03)
        return found

    async def stands_in(self, hook: str, run_id: str, state: str, generation: int) -> HookOutcome:
        """Wait until the delivery stands so after so many redrives."""
        deadline = time.monotonic() + WAIT_S
        while (found := await self.stands(hook, run_id, state)).generation != generation:
            assert time.monotonic() < deadline, f"{hook} {run_id} is {found}"
            await asyncio.sleep(0.03)
        return found

    async def deliver_once_before(self, hook: str) -> None:
        """As a hook-runner that took a delivery and left no trace."""
        consumer = hook_consumer_name(self.hook(hook))
        async with Inbox(self.bus, EVENTS, consumer) as inbox:
            taken = await inbox.fetch(1, asyncio.Event())
            while not taken:
                taken = await inbox.fetch(1, asyncio.Event())
            await taken[0].nak()

    async def letter(self, hook: str, run_id: str) -> DeadLetter | None:
        id_ = delivery_id(TENANT, hook, run_id)
        return await self.events.dead_letter(subjects.dead(TENANT, "hook", hook, id_))

    def mend(self) -> None:
        """From now on what was `unmended` returns."""
        Path(f"{self.environment['HOOK_STORY']}.mended").touch()

    async def unsettled(self, hook: str) -> int:
        """How many deliveries the hook's consumers still owe or wait for."""
        name, left = hook_consumer_name(self.hook(hook)), 0
        for stream in (EVENTS, REDRIVE):
            reply = await reads.call(self.bus, f"$JS.API.CONSUMER.INFO.{stream}.{name}", b"")
            info = json.loads(reply.data)
            left += int(info["num_pending"]) + int(info["num_ack_pending"])
        return left

    async def settled(self, *hooks: str) -> None:
        """Wait until nothing is left to deliver to these hooks."""
        deadline = time.monotonic() + WAIT_S
        for hook in hooks:
            while left := await self.unsettled(hook):
                assert time.monotonic() < deadline, f"{hook} has {left} unsettled"
                await asyncio.sleep(0.03)

    def hook(self, name: str) -> HookDescription:
        return next(each for each in self.app.hooks if each.name == name)

    def log(self) -> list[dict[str, Any]]:
        """What the hook-runners logged, all together."""
        logs = [each.log.read_text() for each in self.runners if each.log.exists()]
        lines = [line for log in logs for line in log.splitlines()]
        return [json.loads(line) for line in lines if line.startswith("{")]


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that ended but was not asked for its status does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        if Path("/proc/self").exists():
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def until(claim: Callable[[], bool], what: str, wait_s: float = WAIT_S) -> None:
    deadline = time.monotonic() + wait_s
    while not claim():
        assert time.monotonic() < deadline, f"not within {wait_s} s: {what}"
        await asyncio.sleep(0.02)


@asynccontextmanager
async def ground(
    folder: Path, app: str = "hook_app.py", *, ack_wait_s: float = ACK_WAIT_S
) -> AsyncIterator[Ground]:
    """A bus where the app in `tests/support` is provisioned."""
    environment = {
        "HOOK_STORY": str(folder / "story.jsonl"),
        "TEAMBUS_APP": app,
        "TEAMBUS_APP_DIR": str(SUPPORT),
    }
    with patch.dict(os.environ, environment):
        described = describe(load_app(app, str(SUPPORT)))
    async with NatsServer(folder / "nats") as server:
        environment |= {"NATS_URL": server.url, "TEAMBUS_APP_ID": described.id}
        async with connect(BusSettings(urls=(server.url,), name="test")) as bus:
            await provision(bus, described, TopologySettings(ack_wait_s=ack_wait_s))
            events = Events(bus, Bodies(bus), source="test")
            made = Ground(server, bus, events, described, folder, environment)
            try:
                yield made
            finally:
                for process in made.runners:
                    await process.close()
