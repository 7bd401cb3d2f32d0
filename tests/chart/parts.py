"""Values to render the chart with, and ways to look at what it rendered."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from tests.support.helm import CHART, Document, Values, rendered

SMALL = CHART / "values-small.yaml"
PRODUCTION = CHART / "values-production.yaml"
POSTGRES: dict[str, Any] = {
    "small": {"postgres": {"enabled": True, "password": {"name": "desk-database"}}},
    "teamRunner": {"persistence": {"enabled": False}},
}
TWO_POOLS: dict[str, Any] = {
    "apps": {
        "night": {
            "app": "night:app",
            "teamRunner": {
                "image": {"repository": "night-team-runner", "tag": "7"},
                "credentials": {"name": "bus-night", "key": "seed", "kind": "nkey"},
                "replicas": 1,
                "drainS": 600,
                "keda": {"lagThreshold": 3},
            },
            "hookRunner": {
                "image": {"repository": "night-hook-runner", "digest": "sha256:" + "0" * 64},
                "groups": {
                    "money": {"hooks": ["bill", "refund"], "drainS": 5},
                    "rest": {"keda": {"hooks": ["note"]}},
                },
            },
        }
    }
}
EVERYTHING: dict[str, Any] = {
    **TWO_POOLS,
    "commonLabels": {"team": "platform"},
    "commonAnnotations": {"owner": "platform"},
    "image": {"registry": "images.example/teambus", "pullSecrets": ["registry"]},
    "gateway": {
        "settings": {
            "GATEWAY_WAITING_MAX": 10_000_000,
            "TEAMBUS_LOG_LEVEL": "warning",
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318",
        },
        "ingress": {"enabled": True, "className": "nginx", "hosts": [{"host": "desk.example"}]},
        "httpRoute": {"enabled": True, "parentRefs": [{"name": "door"}]},
        "nodeSelector": {"pool": "web"},
        "tolerations": [{"key": "web", "operator": "Exists"}],
        "priorityClassName": "high",
        "extraEnv": [{"name": "ZONE", "value": "a"}],
    },
    "teamRunner": {"settings": {"TEAM_RUNNER_HANDS": 64, "TEAM_RUNNER_FRAMES_COALESCE_S": 0.1}},
    "nats": {"tls": {"client": {"name": "bus-client"}}},
    "test": {"component": "teams/content-team"},
    "networkPolicies": {
        "tracing": [{"ports": [{"port": 4318, "protocol": "TCP"}]}],
        "hookRunner": {"extraEgress": [{"ports": [{"port": 443, "protocol": "TCP"}]}]},
    },
    "extraObjects": [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "{{ .Release.Name }}-more", "namespace": "teams"},
        }
    ],
}
SETS: dict[str, tuple[Values, ...]] = {
    "default": (),
    "small": (SMALL,),
    "small with PostgreSQL": (SMALL, POSTGRES),
    "production": (PRODUCTION,),
    "production with everything": (PRODUCTION, EVERYTHING),
}


@cache
def documents(of: str) -> list[Document]:
    return rendered(*SETS[of])


def kinds(of: str, kind: str) -> dict[str, Document]:
    """Those of a kind, by name."""
    return {each["metadata"]["name"]: each for each in documents(of) if each["kind"] == kind}


@dataclass(frozen=True, slots=True)
class Pod:
    """The pods of one workload."""

    name: str
    component: str
    labels: dict[str, str]
    spec: dict[str, Any]

    @property
    def containers(self) -> list[dict[str, Any]]:
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    @property
    def secrets(self) -> set[str]:
        """The Secrets its containers can read."""
        secret = [volume for volume in self.spec["volumes"] if "secret" in volume]
        volumes = {volume["name"]: volume["secret"]["secretName"] for volume in secret}
        return {
            volumes[mount["name"]]
            for container in self.containers
            for mount in container["volumeMounts"]
            if mount["name"] in volumes
        }


def pods(of: str) -> Iterator[Pod]:
    for each in documents(of):
        template = each["spec"]["template"] if "template" in each.get("spec", {}) else each
        if "containers" in template.get("spec", {}):
            labels = template["metadata"]["labels"]
            component = labels["app.kubernetes.io/component"]
            yield Pod(each["metadata"]["name"], component, labels, template["spec"])


def environment(of: str, pod: Pod) -> dict[str, str]:
    """What the settings of a service's pods are, but for what people add themselves."""
    maps = kinds(of, "ConfigMap")
    found: dict[str, str] = {}
    for container in pod.spec["containers"]:
        for source in container.get("envFrom", []):
            found |= maps[source["configMapRef"]["name"]]["data"]
        if pod.component == "provision":
            found |= {each["name"]: each["value"] for each in container["env"]}
    return found
