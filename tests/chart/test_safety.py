"""What the rendered chart keeps from whom."""

import json
import os
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.chart.parts import SETS, documents, environment, kinds, pods
from tests.support.helm import ROOT

SCANNER = Path(os.environ.get("TEAMBUS_PEERS_CHECKOV") or ROOT / ".peers/checkov")
CHECKOV = (
    *(str(SCANNER / "bin/python"), str(SCANNER / "bin/checkov"), "--framework", "kubernetes"),
    *("--output", "json", "--quiet", "--skip-download"),
)
LIST = ROOT / "deploy/helm/accepted.toml"
ACCEPTED: dict[str, dict[str, str]] = tomllib.loads(LIST.read_text())
SCAN_S = 100
FULL = "production with everything"

every_set = pytest.mark.parametrize("of", SETS)


def readers(of: str, secret: str) -> set[str]:
    """The components whose containers can read a Secret."""
    return {pod.component for pod in pods(of) if secret in pod.secrets}


@pytest.mark.parametrize(
    ("secret", "components"),
    [
        ("teambus-model", {"team-runner"}),
        ("teambus-bus-provision", {"provision"}),
        ("teambus-bus-gateway", {"gateway"}),
        ("teambus-bus-team-runner", {"team-runner", "sessions"}),
        ("teambus-bus-hook-runner", {"hook-runner"}),
        ("bus-night", {"team-runner", "sessions"}),
        ("teambus-database", {"team-runner", "sessions"}),
        ("teambus-gateway-key", {"gateway", "test"}),
    ],
)
def test_a_secret_is_only_for_who_needs_it(secret: str, components: set[str]) -> None:
    assert readers(FULL, secret) == components


def test_an_app_that_has_credentials_of_its_own_has_no_others() -> None:
    night = [pod for pod in pods(FULL) if pod.labels.get("teambus.dev/app") == "night"]
    runners = [pod for pod in night if pod.component in ("team-runner", "sessions")]
    assert len(runners) == 2
    for pod in runners:
        assert "teambus-bus-team-runner" not in pod.secrets
        found = environment(FULL, pod)
        assert found["NATS_NKEY_SEED_FILE"] == "/run/secrets/teambus/bus-credentials/seed"
        assert "NATS_CREDENTIALS_FILE" not in found


@every_set
def test_the_users_code_that_describes_an_app_can_read_no_secret(of: str) -> None:
    [job] = [pod for pod in pods(of) if pod.component == "provision"]
    secret = {each["name"] for each in job.spec["volumes"] if "secret" in each}
    for container in job.spec.get("initContainers", []):
        assert secret & {mount["name"] for mount in container["volumeMounts"]} == set()
        assert "envFrom" not in container
        assert not any(each["name"].startswith("NATS") for each in container.get("env", []))
    [applying] = job.spec["containers"]
    assert applying["image"].split("/")[-1] == "teambus-gateway:0.1.0"
    [descriptions] = [m for m in applying["volumeMounts"] if m["name"] == "descriptions"]
    assert descriptions["readOnly"] is True


@every_set
def test_no_secret_is_in_the_environment_or_among_the_manifests(of: str) -> None:
    assert kinds(of, "Secret") == {}
    for pod in pods(of):
        for container in pod.containers:
            assert all("valueFrom" not in each for each in container.get("env", [])), pod.name
            assert all("secretRef" not in each for each in container.get("envFrom", [])), pod.name


@every_set
def test_every_file_that_a_setting_names_is_mounted(of: str) -> None:
    for pod in pods(of):
        items = {
            f"/run/secrets/teambus/{volume['name']}/{item['path']}"
            for volume in pod.spec["volumes"]
            if volume["name"]
            in {mount["name"] for mount in pod.spec["containers"][0]["volumeMounts"]}
            for item in volume.get("secret", {}).get("items", [])
        }
        named = {text for text in environment(of, pod).values() if text.startswith("/run/secrets")}
        assert named <= items, pod.name
        assert pod.component in ("test", "postgres") or items <= named, pod.name


@every_set
def test_every_pod_is_locked_down(of: str) -> None:
    for pod in pods(of):
        assert pod.spec["automountServiceAccountToken"] is False, pod.name
        assert pod.spec["securityContext"]["runAsNonRoot"] is True
        assert pod.spec["securityContext"]["runAsUser"] in (10001, 70)
        assert pod.spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not pod.spec.keys() & {"hostNetwork", "hostPID", "hostIPC"}
        [tmp] = [volume for volume in pod.spec["volumes"] if volume["name"] == "tmp"]
        assert tmp["emptyDir"]["sizeLimit"]
        for container in pod.containers:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}
            assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]}


def policies(of: str) -> dict[str, Any]:
    """By the component they are for; of no component: for everybody."""
    component = "app.kubernetes.io/component"
    return {
        each["spec"]["podSelector"]["matchLabels"].get(component, ""): each["spec"]
        for each in kinds(of, "NetworkPolicy").values()
    }


@every_set
def test_what_no_policy_allows_is_denied_to_every_pod(of: str) -> None:
    found = policies(of)
    assert found[""]["policyTypes"] == ["Ingress", "Egress"]
    assert not found[""].keys() & {"ingress", "egress"}
    for pod in pods(of):
        assert found[""]["podSelector"]["matchLabels"].items() <= pod.labels.items()
        assert pod.component in found, f"nothing says what {pod.component} may"


def ports(rules: list[dict[str, Any]]) -> set[int]:
    return {port["port"] for rule in rules for port in rule["ports"]}


def test_each_service_reaches_only_what_it_needs() -> None:
    found = policies("production")
    out = {name: ports(each.get("egress", [])) for name, each in found.items() if name}
    assert out == {
        "gateway": {53, 4222},
        "team-runner": {53, 4222, 5432, 443},
        "sessions": {53, 4222, 5432},
        "hook-runner": {53, 4222},
        "provision": {53, 4222},
        "test": {53, 7777},
    }
    inward = {name: ports(each.get("ingress", [])) for name, each in found.items() if name}
    assert inward == {
        "gateway": {7777, 8081},
        "team-runner": {8081},
        "sessions": {8081},
        "hook-runner": {8081},
        "provision": set(),
        "test": set(),
    }
    for each in ("gateway", "team-runner", "sessions", "hook-runner"):
        assert 4318 in ports(policies(FULL)[each]["egress"])
    [model] = [rule for rule in found["team-runner"]["egress"] if ports([rule]) == {443}]
    assert model["to"] == [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}}]


def test_the_policy_scan_finds_nothing_that_is_not_accepted_with_its_reason(tmp_path: Path) -> None:
    if not (SCANNER / "bin/checkov").exists():
        pytest.skip("no checkov here: make peers")
    for number, of in enumerate(SETS):
        texts = [json.dumps(each) for each in documents(of)]
        (tmp_path / f"{number}.yaml").write_text("\n---\n".join(texts))
    scanned = subprocess.run(
        [*CHECKOV, "--directory", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=SCAN_S,
        check=False,
    )
    told = json.loads(scanned.stdout)
    assert told["summary"]["passed"] > 1000, scanned.stderr
    failed = [(each["check_id"], each["resource"]) for each in told["results"]["failed_checks"]]
    assert [each for each in failed if not is_accepted(*each)] == []
    assert ACCEPTED.keys() == {check for check, _ in failed}, "accepted, but not found any more"


def is_accepted(check: str, resource: str) -> bool:
    known = ACCEPTED.get(check)
    return known is not None and resource.endswith(known.get("on", ""))
