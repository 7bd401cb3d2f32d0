"""The hook in JavaScript: what it promises, with the rights it says it needs and no others."""

import asyncio
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nats
import pytest
import pytest_asyncio
from aiohttp import web
from nats.aio.client import Client

from teambus.bus import reads
from teambus.local import nats_server
from tests.e2e.conftest import APPS
from tests.support.node import installed
from tests.support.supervised import ROOT
from tests.support.system import System, system_of, until

SAMPLE = ROOT / "deploy" / "hook-javascript"
CONSUMER = "hook_javascript"
READY_S = 20
TOLD_S = 20
USERS = """
authorization {
  users: [
    { user: everyone, password: all }
    { user: hook, password: secret, include permissions.conf }
  ]
}
no_auth_user: everyone
"""

pytestmark = [pytest.mark.timeout(420), pytest.mark.asyncio(loop_scope="module")]


@dataclass
class Told:
    """One request that the service got."""

    key: str
    attempt: int
    event: dict[str, Any]


@dataclass
class Service:
    """Stands in for the service that is told; answers with the next of `answers`, then with 204."""

    answers: list[int] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    """While it is not set, nobody is answered."""

    async def answer(self, request: web.Request) -> web.Response:
        headers = request.headers
        event = await request.json()
        self.told.append(Told(headers["Idempotency-Key"], int(headers["Teambus-Attempt"]), event))
        await self.go.wait()
        return web.Response(status=self.answers.pop(0) if self.answers else 204)

    async def until_told(self, count: int) -> list[Told]:
        async def enough() -> bool:
            return len(self.told) >= count

        await until(enough, TOLD_S, lambda: f"told {len(self.told)} times, not {count}")
        return self.told


@asynccontextmanager
async def serving(service: Service) -> AsyncIterator[str]:
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/told", service.answer)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/told"
    finally:
        await runner.cleanup()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded_story(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    """The system on a nats-server that knows the hook as a user of its own."""
    folder = tmp_path_factory.mktemp("story")
    (folder / "nats").mkdir()
    shutil.copy(SAMPLE / "permissions.conf", folder / "nats")
    users = USERS.replace("{", "{{").replace("}", "}}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nats_server, "CONFIG", nats_server.CONFIG + users)
        async with system_of(APPS / "story.py", folder) as system:
            yield system


async def as_hook(story: System, **options: Any) -> Client:
    return await nats.connect(
        story.nats.url, user="hook", password="secret", allow_reconnect=False, **options
    )


@pytest.fixture(scope="module")
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = getattr(request.config, "cache", None)
    kept = cache.mkdir("node") if cache else tmp_path_factory.mktemp("node")
    return installed(SAMPLE, kept) / "hook.mjs"


@dataclass
class Hook:
    """The hook as a process, started and killed."""

    program: Path
    environment: dict[str, str]
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Returns once it listens."""
        self.process = await asyncio.create_subprocess_exec(
            *("node", str(self.program)), env=self.environment, stdout=asyncio.subprocess.PIPE
        )
        assert self.process.stdout is not None
        async with asyncio.timeout(READY_S):
            line = await self.process.stdout.readline()
        assert line == f"{CONSUMER} listens to content-team\n".encode(), line

    async def end(self, how: signal.Signals = signal.SIGKILL) -> int:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(how)
        async with asyncio.timeout(READY_S):
            return await self.process.wait()


@asynccontextmanager
async def hooked(story: System, program: Path, url: str, **settings: str) -> AsyncIterator[Hook]:
    """The hook, listening, with a consumer of its own that is gone afterwards."""
    variables = {
        "NATS_URL": story.nats.url,
        "NATS_USER": "hook",
        "NATS_PASSWORD": "secret",
        "HOOK_URL": url,
        "HOOK_TEAM": "content-team",
        "HOOK_ACK_WAIT_S": "2",
        "HOOK_BACKOFF_S": "0.2",
    }
    hook = Hook(program, {**os.environ, **variables, **settings})
    await hook.start()
    try:
        yield hook
    finally:
        await hook.end()
        await reads.call(story.bus, f"$JS.API.CONSUMER.DELETE.TEAMBUS_EVENTS.{CONSUMER}", b"")


async def unsettled(story: System) -> tuple[int, int]:
    """How many events the hook has in hand, and how many it has not been given."""
    reply = await reads.call(story.bus, f"$JS.API.CONSUMER.INFO.TEAMBUS_EVENTS.{CONSUMER}", b"")
    info = json.loads(reply.data)
    return info["num_ack_pending"], info["num_pending"]


async def until_settled(story: System) -> None:
    async def settled() -> bool:
        return await unsettled(story) == (0, 0)

    await until(settled, TOLD_S, "not settled")


async def test_killed_before_its_acknowledgement_it_is_told_again(
    guarded_story: System, program: Path
) -> None:
    story, service = guarded_story, Service()
    async with serving(service) as url, hooked(story, program, url) as hook:
        output = await story.run("Tell the other service")
        await service.until_told(1)
        assert await hook.end(signal.SIGKILL) == -signal.SIGKILL
        assert (await unsettled(story))[0] == 1
        service.go.set()
        await hook.start()
        first, again = await service.until_told(2)
        await until_settled(story)
    assert first.key == again.key == f"default:content-team:{output['run_id']}:completed"
    assert (first.attempt, again.attempt) == (1, 2)
    assert again.event["output"] == output
    assert len(service.told) == 2


async def test_what_the_service_refuses_is_told_again_after_a_while(
    guarded_story: System, program: Path
) -> None:
    story, service = guarded_story, Service(answers=[503, 500])
    service.go.set()
    async with serving(service) as url, hooked(story, program, url):
        await story.run("Be patient")
        told = await service.until_told(3)
        await until_settled(story)
    assert [each.attempt for each in told] == [1, 2, 3]
    assert len({each.key for each in told}) == 1


async def test_with_its_attempts_used_up_it_goes_on_with_the_next(
    guarded_story: System, program: Path
) -> None:
    story, service = guarded_story, Service(answers=[500, 500])
    service.go.set()
    async with serving(service) as url, hooked(story, program, url, HOOK_ATTEMPTS_MAX="2"):
        lost = await story.run("Nobody takes this")
        await service.until_told(2)
        await until_settled(story)
        taken = await story.run("Somebody takes this")
        told = await service.until_told(3)
        await until_settled(story)
    assert [each.event["run_id"] for each in told] == [lost["run_id"]] * 2 + [taken["run_id"]]


async def test_stopped_and_started_it_misses_nothing_and_repeats_nothing(
    guarded_story: System, program: Path
) -> None:
    story, service = guarded_story, Service()
    service.go.set()
    async with serving(service) as url, hooked(story, program, url) as hook:
        before = await story.run("Before")
        await service.until_told(1)
        assert await hook.end(signal.SIGTERM) == 0
        meanwhile = await story.run("Meanwhile")
        await hook.start()
        told = await service.until_told(2)
        await until_settled(story)
    assert [each.event["run_id"] for each in told] == [before["run_id"], meanwhile["run_id"]]
    assert [each.attempt for each in told] == [1, 1]


async def test_a_run_that_failed_is_not_told_and_a_large_one_is(
    guarded_story: System, program: Path
) -> None:
    story, service = guarded_story, Service()
    service.go.set()
    await story.model.rules(
        [{"match": "Fail", "status": 401}, {"match": "Say a lot", "reply": "long " * 300_000}]
    )
    async with serving(service) as url, hooked(story, program, url):
        assert (await story.run("Fail"))["status"] == "ERROR"
        large = await story.run("Say a lot")
        [told] = await service.until_told(1)
        await until_settled(story)
    assert told.event["run_id"] == large["run_id"]
    assert len(told.event["output"]["content"]) == len("long " * 300_000)
    assert len(service.told) == 1


@pytest.mark.parametrize(
    "subject",
    [
        "teambus.v1.request.default.content-team.std",
        "teambus.v1.event.default.content-team.r-1.completed",
        "teambus.v1.control.default.r-1",
        "$JS.API.CONSUMER.DELETE.TEAMBUS_EVENTS.hook_javascript",
        "$JS.API.CONSUMER.MSG.NEXT.TEAMBUS_EVENTS.another",
        "$JS.API.STREAM.DELETE.TEAMBUS_EVENTS",
    ],
)
async def test_it_may_do_no_more_than_it_needs(guarded_story: System, subject: str) -> None:
    refused: asyncio.Queue[Exception] = asyncio.Queue()
    client = await as_hook(guarded_story, error_cb=refused.put)
    try:
        await client.publish(subject, b"{}")
        async with asyncio.timeout(READY_S):
            assert "permissions violation" in str(await refused.get()).lower()
    finally:
        await client.close()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"HOOK_TEAM": ""}, "HOOK_TEAM is not set"),
        ({"HOOK_BACKOFF_S": "soon"}, "HOOK_BACKOFF_S=soon is not a number above 0"),
    ],
)
async def test_a_wrong_setting_is_named(program: Path, settings: dict[str, str], said: str) -> None:
    variables = {"NATS_URL": "nats://127.0.0.1:1", "HOOK_URL": "http://x", "HOOK_TEAM": "t"}
    process = await asyncio.create_subprocess_exec(
        *("node", str(program)),
        env={**os.environ, **variables, **settings},
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(READY_S):
        _, wrong = await process.communicate()
    assert (process.returncode, wrong.decode().strip()) == (2, said)
