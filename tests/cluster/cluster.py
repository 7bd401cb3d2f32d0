"""What a cluster does with a chart: makes its pods, asks whether they are ready, replaces them."""

import asyncio
import itertools
import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx2

from tests.cluster.engine import Podman
from tests.cluster.manifests import Manifests, Workload
from tests.cluster.model import PORT, Model
from tests.support.system import free_port, until

NETWORK = f"teambus-{os.getpid()}"  # DNS is the machine's, and goes by the network's name.
READY_S = 120
JOB_S = 180
INFRASTRUCTURE = ("nats", "postgres")


@dataclass(frozen=True)
class Pod:
    """One that was played."""

    name: str
    workload: Workload
    container: str


@dataclass
class Cluster:
    """The pods of one release, by workload."""

    podman: Podman
    manifests: Manifests
    client: httpx2.AsyncClient
    model: Model
    http_port: int = field(default_factory=free_port)
    pods: dict[str, list[Pod]] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    async def install(self, model_image: str) -> None:
        """As helm does: what it stands on, then the provision job, then everything else."""
        await self.podman("network", "create", NETWORK)
        await self._start_model(model_image)
        for component in INFRASTRUCTURE:
            await self._start_all(component)
        for job in self.manifests.of_component("provision"):
            await self.do(job)
        await asyncio.gather(
            *(self._start_all(component) for component in ("gateway", "team-runner", "hook-runner"))
        )

    async def _start_all(self, component: str) -> None:
        workloads = self.manifests.of_component(component)
        assert workloads, f"the chart has no {component}"
        for workload in workloads:
            for _ in range(workload.replicas):
                await self.start(workload)

    async def start(self, workload: Workload) -> Pod:
        """A new pod, once it is ready."""
        pod = await self._play(workload)
        self.pods.setdefault(workload.component, []).append(pod)
        await self.ready(pod)
        return pod

    async def _play(self, workload: Workload) -> Pod:
        name = f"{workload.name}-{next(self._numbers)}"
        published = {"http": self.http_port} if workload.component == "gateway" else None
        file = self.manifests.folder / f"{name}.yaml"
        file.write_text(self.manifests.pod(workload, name, published))
        names = ",".join(f"alias={name}" for name in self.manifests.aliases(workload))
        await self.podman("kube", "play", f"--network={NETWORK}:{names}", str(file))
        container = workload.template["spec"]["containers"][0]["name"]
        return Pod(name, workload, f"{name}-{container}")

    async def ready(self, pod: Pod) -> None:
        if pod.workload.probe is None:
            return
        url = await self.url(pod)

        async def is_ready() -> bool:
            return await self.status(url) == 200

        try:
            await until(is_ready, READY_S, f"{pod.name} is not ready")
        except AssertionError as error:
            raise AssertionError(f"{error}: {await self.logs(pod)}") from None

    async def url(self, pod: Pod) -> str:
        """Where its readiness is asked for."""
        assert pod.workload.probe is not None
        port, path = pod.workload.probe
        return f"http://{await self.address(pod.name)}:{port}{path}"

    async def status(self, url: str) -> int | None:
        try:
            return (await self.client.get(url, timeout=5)).status_code
        except httpx2.TransportError:
            return None

    async def address(self, pod: str) -> str:
        infra = await self.podman("pod", "inspect", "--format={{.InfraContainerID}}", pod)
        told = json.loads(await self.podman("inspect", infra))[0]
        address: str = told["NetworkSettings"]["Networks"][NETWORK]["IPAddress"]
        return address

    async def logs(self, pod: Pod) -> str:
        return (await self.podman.outcome("logs", pod.container))[1]

    async def inspect(self, pod: Pod) -> dict[str, Any]:
        told: list[dict[str, Any]] = json.loads(await self.podman("inspect", pod.container))
        return told[0]

    async def kill(self, pod: Pod) -> None:
        """SIGKILL; then it is gone."""
        self.pods[pod.workload.component].remove(pod)
        await self.podman("pod", "kill", pod.name)
        status = (await self.inspect(pod))["State"]["ExitCode"]
        assert status == 128 + signal.SIGKILL, status
        await self.podman("pod", "rm", pod.name)

    async def terminate(self, pod: Pod) -> int:
        """SIGTERM, and SIGKILL after the grace period; the exit status.

        The pod itself stays, for podman would take its network away at once.
        """
        self.pods[pod.workload.component].remove(pod)
        grace_s = pod.workload.grace_s
        await self.podman("stop", f"--time={grace_s}", pod.container, wait_s=grace_s + 60)
        status: int = (await self.inspect(pod))["State"]["ExitCode"]
        return status

    async def remove(self, pod: Pod) -> None:
        """What is left of one that has ended."""
        await self.podman("pod", "rm", "--force", pod.name)

    async def do(self, job: Workload) -> str:
        """Its pod, to its end, and what it said; one that failed is not tried again."""
        pod = await self._play(job)
        status = await self.podman("wait", pod.container, wait_s=JOB_S)
        said = await self.logs(pod)
        assert status == "0", f"{pod.name} ended with {status}: {said}"
        return said

    async def _start_model(self, image: str) -> None:
        words = ["run", "--detach", "--name=model", f"--network={NETWORK}:alias=model"]
        words += [f"--publish=127.0.0.1:{self.model.port}:{PORT}", "--entrypoint=python", image]
        await self.podman(*words, *self.model.command)
