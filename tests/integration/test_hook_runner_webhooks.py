"""Webhooks as hooks: with attempts, dead letters and a process, like any other."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from standardwebhooks import Webhook

from teambus.bus import reads, topology
from teambus_hook_runner.asked import Limits, Unavailable
from teambus_hook_runner.process import HookProcess
from teambus_hook_runner.spawning import Load
from tests.integration.hook_parts import SUPPORT, Ground, completed, ground, member_run, until
from tests.support.receiver import Receiver, plain, receiving, stalled

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()
NETWORKS = "HOOK_RUNNER_WEBHOOK_NETWORKS_ALLOWED"
LIMITS = Limits(start_timeout_s=30, kill_after_s=1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def on(receiver: Receiver, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ground]:
    """One hook-runner for all these tests. Whoever provisions has no secret."""
    folder = tmp_path_factory.mktemp("webhooks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECEIVER_URL", receiver.url)
        async with ground(folder, "webhook_app.py") as made:
            await made.started(BOOKS_SECRET=SECRET, **{NETWORKS: "127.0.0.0/8"})
            yield made


@pytest.fixture
def run(request: pytest.FixtureRequest, receiver: Receiver) -> str:
    receiver.told.clear()
    return str(request.node.name)


async def test_a_run_is_posted_once_and_delivered(on: Ground, receiver: Receiver, run: str) -> None:
    assert await on.events.complete(completed(run, content="done"))
    assert (await on.stands("books", run, "delivered")).attempt == 1
    [told] = receiver.told
    found = Webhook(SECRET).verify(told.body, told.headers)
    assert (found["data"]["run_id"], found["data"]["run"]["content"]) == (run, "done")
    assert told.headers["webhook-id"] == f"default:books:{run}"


async def test_a_run_of_an_agent_is_posted_as_its_agents(
    on: Ground, receiver: Receiver, run: str
) -> None:
    assert await on.events.complete(completed(run, "poet", agent_id="poet"))
    await on.stands("books", run, "delivered")
    [told] = receiver.told
    data = Webhook(SECRET).verify(told.body, told.headers)["data"]
    assert (data["agent_id"], data["run"]["agent_id"]) == ("poet", "poet")
    assert "team_id" not in data


async def test_a_refusal_is_an_attempt_and_its_retry_has_the_same_id(
    on: Ground, receiver: Receiver, run: str
) -> None:
    receiver.answers[:] = [plain(500, body=b"out of ink")]
    assert await on.events.complete(completed(run))
    outcome = await on.stands("books", run, "delivered")
    [failure] = outcome.failures
    assert (outcome.attempt, failure.code) == (2, "raised")
    assert failure.error == "SendFailed: answered 500: out of ink"
    first, second = receiver.told
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body


async def test_gone_is_a_dead_letter_at_once(on: Ground, receiver: Receiver, run: str) -> None:
    receiver.answers[:] = [plain(410)]
    assert await on.events.complete(completed(run))
    await on.stands("books", run, "dead")
    letter = await on.letter("books", run)
    assert letter is not None
    assert (letter.attempts, letter.failures[0].code) == (1, "permanent")
    assert letter.reason == "permanent: Permanent: answered 410"
    assert len(receiver.told) == 1


async def test_who_asks_for_time_is_given_it(on: Ground, receiver: Receiver, run: str) -> None:
    receiver.answers[:] = [plain(429, "Retry-After: 3")]
    began_at = time.time()
    assert await on.events.complete(completed(run))
    failed = await on.stands("books", run, "failed")
    assert failed.retry_at is not None
    assert failed.retry_at >= began_at + 3
    assert (await on.stands("books", run, "delivered")).at >= began_at + 3


async def test_each_run_of_a_member_is_posted_under_an_id_of_its_own(
    on: Ground, receiver: Receiver, run: str
) -> None:
    runs = [member_run(f"{run}-{n}", "writer") for n in (1, 2)]
    receiver.answers[:] = [plain(204), plain(500)]
    assert await on.events.complete(completed(run, "house", member_responses=runs))
    assert (await on.stands("pages", run, "delivered")).attempt == 2
    ids = [told.headers["webhook-id"] for told in receiver.told]
    assert ids == [f"default:pages:{run}:{run}-{n}" for n in (1, 2, 1, 2)]


async def test_neither_url_nor_secret_is_anywhere_on_the_bus_or_in_the_log(
    on: Ground, receiver: Receiver, run: str
) -> None:
    receiver.answers[:] = [plain(410, body=b"never heard of it")]
    assert await on.events.complete(completed(run))
    await on.stands("books", run, "dead")
    kept = [on.runners[0].log.read_bytes()]
    for stream in (topology.CATALOGUE, topology.HOOKS, topology.DEAD):
        found = reads.history(on.bus, stream, ">", until=2**62, messages_max=1000)
        kept += [stored.data + repr(stored.headers).encode() async for stored in found]
    assert any(b"never heard of it" in each for each in kept)
    for each in kept:
        for hidden in (b"whsec_", SECRET.removeprefix("whsec_").encode(), b"token", b"/told"):
            assert hidden not in each


async def test_a_receiver_that_is_silent_is_a_timeout(
    on: Ground, receiver: Receiver, run: str
) -> None:
    receiver.answers[:] = [stalled()]
    assert await on.events.complete(completed(run, "press"))
    outcome = await on.stands("hasty", run, "delivered")
    assert {each.code for each in outcome.failures} == {"timeout"}


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({NETWORKS: "127.0.0.0/8"}, "webhook 'books': the variable BOOKS_SECRET is not set"),
        ({"BOOKS_SECRET": SECRET}, "is at 127.0.0.1, which a webhook may not reach"),
    ],
    ids=["secret", "address"],
)
async def test_what_is_wrong_is_said_before_anything_is_delivered(
    environment: dict[str, str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECEIVER_URL", "http://127.0.0.1:9/told?token=hidden")
    async with ground(tmp_path, "webhook_app.py") as made:
        told = made.runner(**environment)
        starting = asyncio.ensure_future(told.start())
        await until(lambda: said in (told.log.read_text() if told.log.exists() else ""), said)
        assert told.running, "the app is known from the catalogue, so the mend is waited for"
        starting.cancel()
        await asyncio.wait({starting})
        alone = made.runner(TEAMBUS_APP_ID="", **environment)
        with pytest.raises(AssertionError, match="ended with 2 before ready"):
            await alone.start()
        assert said in alone.facts["error"]
        assert "hidden" not in told.log.read_text() + alone.facts["error"]


async def test_a_file_beside_the_app_does_not_stand_in_for_what_sends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECEIVER_URL", "http://127.0.0.1:9/")
    monkeypatch.setenv("BOOKS_SECRET", SECRET)
    (tmp_path / "app.py").write_text((SUPPORT / "webhook_app.py").read_text())
    (tmp_path / "h11.py").write_text("raise RuntimeError('not me')")
    load = Load("app.py", str(tmp_path), ("127.0.0.0/8",))
    process = await HookProcess.start(load, ["books", "pages"], 2, LIMITS)
    await process.stop()
    with pytest.raises(Unavailable, match="may not reach"):
        await HookProcess.describe(Load("app.py", str(tmp_path)), LIMITS)
