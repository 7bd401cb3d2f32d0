"""What the chart renders, as what podman 4.3 can play. Whatever differs from Kubernetes is here:

- Deployments, StatefulSets and Jobs become pods, each under a name of its own, as their
  controllers make them; podman makes one of a Deployment, and knows neither of the others.
- Probes and preStop hooks are left out. Podman would run curl in the container; the harness asks
  from outside, where the readiness probe says.
- Volumes from Secrets, claims and emptyDirs become folders of this machine, with the files,
  owners and modes that a kubelet gives them. Their sizes are not limited.
- A Service is its name, which leads to the pods it selects, on their ports. Ports are published
  where the harness says so; podman would publish each of them on every address.
- NetworkPolicies, disruption budgets, accounts and scaling are left out: nobody heeds them here.

All else is played as it was rendered.
"""

import copy
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

Document = dict[str, Any]
PLAYED = ("Deployment", "StatefulSet", "Job", "Pod")
NOT_PLAYED = ("startupProbe", "livenessProbe", "readinessProbe", "lifecycle")


@dataclass(frozen=True)
class Workload:
    """What keeps pods of one kind, or is one."""

    name: str
    replicas: int
    component: str
    template: Document

    @classmethod
    def of(cls, document: Document) -> Self:
        name, replicas = document["metadata"]["name"], document["spec"].get("replicas", 1)
        template = document if document["kind"] == "Pod" else document["spec"]["template"]
        component = template["metadata"]["labels"]["app.kubernetes.io/component"]
        return cls(name, replicas, component, template)

    @property
    def grace_s(self) -> int:
        grace_s: int = self.template["spec"].get("terminationGracePeriodSeconds", 30)
        return grace_s

    @property
    def probe(self) -> tuple[int, str] | None:
        """The port and path that say whether a pod is ready."""
        container = self.template["spec"]["containers"][0]
        asked = container.get("readinessProbe", {}).get("httpGet")
        return asked and (_port(container, asked["port"]), asked["path"])


@dataclass
class Manifests:
    """All that was rendered, by what is done with it."""

    secrets: dict[str, dict[str, str]]
    folder: Path
    workloads: list[Workload] = field(default_factory=list)
    maps: dict[str, Document] = field(default_factory=dict)
    services: list[Document] = field(default_factory=list)

    @classmethod
    def of(
        cls, documents: list[Document], secrets: dict[str, dict[str, str]], folder: Path
    ) -> Self:
        """`secrets` are those that the documents name and expect to be there."""
        found = cls(secrets, folder)
        for document in documents:
            match document["kind"]:
                case kind if kind in PLAYED:
                    found.workloads.append(Workload.of(document))
                case "ConfigMap":
                    found.maps[document["metadata"]["name"]] = document
                case "Service":
                    found.services.append(document)
        return found

    def of_component(self, component: str) -> list[Workload]:
        return [each for each in self.workloads if each.component == component]

    def aliases(self, workload: Workload) -> list[str]:
        """The names of the Services that lead to its pods."""
        labels = workload.template["metadata"]["labels"].items()
        return [
            service["metadata"]["name"]
            for service in self.services
            if labels >= service["spec"]["selector"].items()
        ]

    def pod(self, workload: Workload, name: str, published: dict[str, int] | None = None) -> str:
        """What podman plays as the pod `name`; `published` ports, by name, on 127.0.0.1."""
        spec = copy.deepcopy(workload.template["spec"])
        group = spec["securityContext"]["fsGroup"]
        for container in (*spec.get("initContainers", ()), *spec["containers"]):
            for part in NOT_PLAYED:
                container.pop(part, None)
            container["ports"] = [
                {**port, "hostPort": published[port["name"]], "hostIP": "127.0.0.1"}
                for port in container.get("ports", ())
                if published and port["name"] in published
            ]
        spec["volumes"] = [self._volume(each, name, group) for each in spec.get("volumes", ())]
        metadata = {"name": name, "labels": workload.template["metadata"]["labels"]}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        return "\n---\n".join(json.dumps(each) for each in (*self.maps.values(), pod))

    def _volume(self, volume: Document, pod: str, group: int) -> Document:
        name: str = volume["name"]
        match volume:
            case {"secret": source}:
                folder = self._folder(pod, name, group, mode=0o755)
                secret = self.secrets[source["secretName"]]
                for item in source["items"]:
                    _write(folder / item["path"], secret[item["key"]], group, source["defaultMode"])
            case {"persistentVolumeClaim": {"claimName": claim}}:
                folder = self._folder("claims", claim, group)
            case {"emptyDir": _}:
                folder = self._folder(pod, name, group)
            case _:
                return volume
        return {"name": name, "hostPath": {"path": str(folder), "type": "Directory"}}

    def _folder(self, owner: str, name: str, group: int, *, mode: int = 0o2777) -> Path:
        folder = self.folder / owner / name
        folder.mkdir(parents=True, exist_ok=True)
        os.chown(folder, 0, group)
        folder.chmod(mode)
        return folder


def _write(path: Path, text: str, group: int, mode: int) -> None:
    path.write_text(text)
    os.chown(path, 0, group)
    path.chmod(mode)


def _port(container: Document, port: int | str) -> int:
    named = {each["name"]: each["containerPort"] for each in container["ports"]}
    return port if isinstance(port, int) else named[port]
