"""The first user story on what the chart renders, in containers of the images as shipped."""

import asyncio
import re
import sys
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
import pytest_asyncio

from teambus.bus import reads
from teambus.bus.connection import Bus, BusSettings, connect
from teambus.bus.topology import JOURNAL
from teambus.contracts import subjects
from tests.cluster.cluster import Cluster, Pod
from tests.cluster.conftest import Built
from tests.cluster.images import image
from tests.cluster.manifests import Manifests
from tests.cluster.model import Model
from tests.support.helm import CHART, ROOT, rendered
from tests.support.system import until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(1200)]

CALLS_OF_A_RUN = 4
DRAINING_S = 2
CAPABILITIES = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
HERE = Path(__file__).parent
VALUES = (CHART / "values-small.yaml", ROOT / "deploy/app/values.yaml", HERE / "values.yaml")
SECRETS = {
    "teambus-model": {"OPENAI_API_KEY": "scripted"},
    "desk-database": {"password": "s3cr3t-and-long"},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(built: Built, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    manifests = Manifests.of(rendered(*VALUES), SECRETS, tmp_path_factory.mktemp("cluster"))
    async with httpx2.AsyncClient(timeout=120) as client:
        cluster = Cluster(built.podman, manifests, client, Model(client))
        await cluster.install(image("team-runner"))
        yield cluster
        built.podman.remove_all()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bus(cluster: Cluster) -> AsyncIterator[Bus]:
    (nats,) = cluster.pods["nats"]
    url = f"nats://{await cluster.address(nats.name)}:4222"
    async with connect(BusSettings((url,), "test")) as bus:
        yield bus


@dataclass
class Story:
    """The story's app, asked through the published port."""

    cluster: Cluster
    bus: Bus

    async def post(self, message: str, run_id: str = "") -> httpx2.Response:
        form = {"message": message, "stream": "false", "run_id": run_id or str(uuid.uuid4())}
        return await self.cluster.client.post(self._url("runs"), data=form)

    async def hook_states(self, run_id: str) -> list[str]:
        told = (await self.cluster.client.get(self._url(f"runs/{run_id}/hooks"))).json()
        return [each["state"] for each in told.get("hooks", ())]

    async def hook_is(self, state: str, run_id: str) -> None:
        async def is_so() -> bool:
            return await self.hook_states(run_id) == [state]

        await until(is_so, 60, f"the hook of {run_id} is not {state}")

    async def hold(self) -> tuple[Pod, "asyncio.Task[httpx2.Response]"]:
        """A run whose third model call waits for "gate", and the pod that has it.

        The two answers before it are journaled.
        """
        run_id = str(uuid.uuid4())
        await self.cluster.model.rules({"match": "Collect the facts", "hold": "gate"})
        posted = asyncio.create_task(self.post("What is a bus?", run_id))
        await self.cluster.model.calls(begun=3, ended=2)
        pod = await until(lambda: self._holder(run_id), 60, "the answers were not journaled")
        assert pod is not None
        return pod, posted

    async def _holder(self, run_id: str) -> Pod | None:
        subject = f"{subjects.ROOT}.journal.*.{run_id}.*"
        found = reads.history(self.bus, JOURNAL, subject, until=sys.maxsize, messages_max=100)
        journal = b"".join([stored.data async for stored in found])
        if journal.count(b'"record":"model"') < 2:
            return None
        pods = self.cluster.pods["team-runner"]
        return next(pod for pod in pods if pod.name.encode() in journal)

    def _url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.cluster.http_port}/teams/content-team/{path}"


@pytest.fixture
def story(cluster: Cluster, bus: Bus) -> Story:
    return Story(cluster, bus)


def completed(answer: httpx2.Response) -> str:
    """The run's id."""
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "COMPLETED", answer.text
    run_id: str = answer.json()["run_id"]
    return run_id


async def test_the_request_is_answered_and_the_hook_is_told(story: Story) -> None:
    run_id = completed(await story.post("Write a short paragraph about Python"))
    await story.hook_is("delivered", run_id)
    (hook_runner,) = story.cluster.pods["hook-runner"]
    assert f"books: {run_id} is entered" in await story.cluster.logs(hook_runner)


async def test_the_charts_own_test_is_content(cluster: Cluster) -> None:
    (test,) = cluster.manifests.of_component("test")
    assert "the run ended as COMPLETED" in await cluster.do(test)


@pytest.mark.parametrize("component", ["gateway", "team-runner", "hook-runner"])
async def test_a_service_has_no_rights_and_writes_to_tmp_only(
    cluster: Cluster, component: str
) -> None:
    for pod in cluster.pods[component]:
        process = Path(f"/proc/{(await cluster.inspect(pod))['State']['Pid']}")
        status = dict(re.findall(r"(\w+):\t(.*)", (process / "status").read_text()))
        assert {*status["Uid"].split(), *status["Gid"].split()} == {"10001"}
        assert {int(status[name], 16) for name in CAPABILITIES} == {0}
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
        assert writable(process) == {"/tmp"}


def writable(process: Path) -> set[str]:
    """What is mounted to be written to, but for the kernel's own."""
    mounts = [line.split() for line in (process / "mountinfo").read_text().splitlines()]
    places = {each[4] for each in mounts if "rw" in each[5].split(",")}
    return {place for place in places if place.split("/")[1] not in ("proc", "sys", "dev")}


async def test_a_killed_team_runner_is_replaced_and_no_answer_is_paid_for_twice(
    story: Story,
) -> None:
    holder, posted = await story.hold()
    await story.cluster.kill(holder)
    await story.cluster.start(holder.workload)
    await story.cluster.model.release("gate")
    run_id = completed(await posted)
    calls = await story.cluster.model.calls()
    answered = [call["digest"] for call in calls if call["outcome"] == "answered"]
    assert len(answered) == len(set(answered)) == CALLS_OF_A_RUN
    assert len(calls) == CALLS_OF_A_RUN + 1, "only the call in flight at the kill is made again"
    await story.hook_is("delivered", run_id)


async def test_a_team_runner_told_to_stop_ends_the_run_it_has(story: Story) -> None:
    holder, posted = await story.hold()
    url = await story.cluster.url(holder)
    stopping = asyncio.create_task(story.cluster.terminate(holder))
    await draining(story.cluster, url)
    await story.cluster.model.release("gate")
    completed(await posted)
    assert await stopping == 0, await story.cluster.logs(holder)
    assert len(await story.cluster.model.calls()) == CALLS_OF_A_RUN
    await story.cluster.start(holder.workload)


async def test_a_gateway_told_to_stop_answers_first(story: Story) -> None:
    _, posted = await story.hold()
    (gateway,) = story.cluster.pods["gateway"]
    url = await story.cluster.url(gateway)
    stopping = asyncio.create_task(story.cluster.terminate(gateway))
    await draining(story.cluster, url)
    await story.cluster.model.release("gate")
    completed(await posted)
    assert await stopping == 0, await story.cluster.logs(gateway)
    await story.cluster.remove(gateway)
    await story.cluster.start(gateway.workload)


async def test_a_hook_runner_told_to_stop_ends_its_calls(story: Story) -> None:
    run_id = completed(await story.post("Stop while the books are kept"))
    await story.hook_is("running", run_id)
    (hook_runner,) = story.cluster.pods["hook-runner"]
    assert await story.cluster.terminate(hook_runner) == 0
    said = await story.cluster.logs(hook_runner)
    assert f"books: {run_id} is entered" in said
    await story.hook_is("delivered", run_id)
    await story.cluster.start(hook_runner.workload)


async def draining(cluster: Cluster, url: str) -> None:
    """Returns when it has been told to stop for so long that what it cuts short is cut short."""

    async def is_unready() -> bool:
        return await cluster.status(url) == 503

    await until(is_unready, 30, "it does not say that it stops")
    await asyncio.sleep(DRAINING_S)
