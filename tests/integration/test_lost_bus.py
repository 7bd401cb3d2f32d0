"""A bus that turns a service away, for good or for one subject: seen by whoever runs it."""

import asyncio
import json
import signal
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from teambus.bus.bodies import Bodies
from teambus.bus.requests import Requests
from teambus.contracts.run import RunRequest
from teambus.runtime.service import BUS_LOST
from tests.support.cluster import Node
from tests.support.elsewhere import system_on
from tests.support.processes import Process
from tests.support.system import System, until

APP = Path(__file__).parent.parent / "e2e" / "apps" / "story.py"
SERVICES = ("gateway", "runner", "hook_runner")
DENIED = {
    "gateway": "teambus.v1.request.>",
    "runner": "teambus.v1.journal.>",
    "hook_runner": "teambus.v1.hook.>",
}
USERS = """\
authorization {{
  users: [
    {{ user: all, password: all }}
    {{ user: gateway, password: "{password}", permissions: {{ publish: {{ deny: "{gateway}" }} }} }}
    {{ user: runner, password: "{password}", permissions: {{ publish: {{ deny: "{runner}" }} }} }}
    {{ user: hook_runner, password: "{password}",
       permissions: {{ publish: {{ deny: "{hook_runner}" }} }} }}
  ]
}}
"""
NOTHING = dict.fromkeys(SERVICES, "nothing.at.all")


class GuardedNode(Node):
    """Who may connect, and what each may not say, is changed while it runs."""

    @property
    def url(self) -> str:
        return self.url_of("all", "all")

    def url_of(self, user: str, password: str) -> str:
        return f"nats://{user}:{password}@{self.host}:{self.port}"

    def let_in(self, password: str, denied: dict[str, str]) -> None:
        self.more = USERS.format(password=password, **denied)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.configure()
        if self.running:
            self.signal(signal.SIGHUP)


@dataclass
class Guarded:
    """The system on such a node; each service has a user of its own."""

    node: GuardedNode
    system: System

    async def started(self, service: str) -> Process:
        process: Process = getattr(self.system, service)
        await process.start(NATS_URL=self.node.url_of(service, "secret"))
        return process

    async def ask(self, run_id: str) -> None:
        requests = Requests(self.system.bus, Bodies(self.system.bus), "test")
        request = RunRequest(run_id=run_id, input="Write", session_id="s")
        await requests.submit("default", "content-team", request)


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[Guarded]:
    node = GuardedNode("guarded", tmp_path / "nats")
    node.let_in("secret", NOTHING)
    patience = {"GATEWAY_PUBLISH_PATIENCE_S": "1", "TEAM_RUNNER_DRAIN_S": "3600"}
    try:
        node.start()
        await node.ready()
        async with system_on(node, APP, tmp_path, environment=patience) as system:
            yield Guarded(node, system)
    finally:
        await node.close()


def reasons(process: Process) -> dict[str, str]:
    """Why it is not ready."""
    url = f"http://127.0.0.1:{process.facts['management_port']}/readyz"
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            said: dict[str, Any] = json.load(answer)
    except urllib.error.HTTPError as error:
        said = json.load(error)
    found: dict[str, str] = said["reasons"]
    return found


async def unready(process: Process) -> dict[str, str]:
    async def asked() -> dict[str, str]:
        return await asyncio.to_thread(reasons, process)

    return await until(asked, 30, process.tail)


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_that_is_shut_out_for_good_ends_and_says_why(
    guarded: Guarded, service: str
) -> None:
    process = await guarded.started(service)
    if service == "runner":
        await guarded.system.model.rules([{"match": "Write", "hold": "gate"}])
        await guarded.ask("in-hand")
        await guarded.system.model.wait_for_calls(1, timeout_s=30)
    guarded.node.let_in("another", NOTHING)
    assert await process.ended() == BUS_LOST
    assert "the bus connection is closed for good" in process.log.read_text()
    assert "uthorization" in process.log.read_text()
    assert "secret" not in process.log.read_text()


async def start_something(guarded: Guarded, service: str) -> None:
    """What makes a service say what it may not."""
    if service == "gateway":
        answer = await guarded.system.post("Write")
        assert (answer.status_code, answer.json()["code"]) == (503, "outcome_unknown")
        return
    if service == "hook_runner":
        await guarded.system.runner.start()
    await guarded.ask("refused")


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_that_may_not_say_something_is_unready_and_names_the_subject(
    guarded: Guarded, service: str
) -> None:
    guarded.node.let_in("secret", {**NOTHING, service: DENIED[service]})
    process = await guarded.started(service)
    assert reasons(process) == {}
    await start_something(guarded, service)
    found = await unready(process)
    subject = DENIED[service].removesuffix(">")
    assert subject in found["permissions"]
    lines = [json.loads(line) for line in process.log.read_text().splitlines() if '"event"' in line]
    [said] = [line for line in lines if line["event"] == "not permitted on the bus"][:1]
    assert said["subject"].startswith(subject)
    assert process.running
