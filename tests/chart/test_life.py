"""How pods start, scale and stop, as the rendered chart says."""

import math
from typing import Any

import pytest

from teambus.bus import topology
from teambus.contracts.catalogue import AgentDescription, AppDescription, HookDescription
from tests.chart.parts import (
    PRODUCTION,
    SETS,
    SMALL,
    environment,
    kinds,
    pods,
)
from tests.support.helm import HelmRefused, rendered

FULL = "production with everything"
DRAIN = {
    "gateway": "GATEWAY_DRAIN_S",
    "team-runner": "TEAM_RUNNER_DRAIN_S",
    "sessions": "TEAM_RUNNER_DRAIN_S",
    "hook-runner": "HOOK_RUNNER_DRAIN_S",
}

every_set = pytest.mark.parametrize("of", SETS)


@every_set
def test_a_pod_has_more_time_to_stop_than_its_drain_takes(of: str) -> None:
    for pod in pods(of):
        if pod.component not in DRAIN:
            continue
        [container] = pod.spec["containers"]
        before = container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command")
        waits_s = int(before[-1].rstrip(")").rsplit("(", 1)[1]) if before else 0
        drain_s = float(environment(of, pod)[DRAIN[pod.component]])
        assert pod.spec["terminationGracePeriodSeconds"] >= waits_s + math.ceil(drain_s) + 30


def test_a_longer_drain_is_a_longer_grace() -> None:
    graces = {pod.name: pod.spec.get("terminationGracePeriodSeconds") for pod in pods(FULL)}
    assert graces["desk-teambus-night-team-runner"] == 630
    assert graces["desk-teambus-night-hook-runner-money"] == 35
    assert graces["desk-teambus-gateway"] == 65


@every_set
def test_probes_ask_the_management_port(of: str) -> None:
    for pod in pods(of):
        if pod.component not in DRAIN:
            continue
        [container] = pod.spec["containers"]
        [port] = [each for each in container["ports"] if each["name"] == "management"]
        settings = environment(of, pod)
        assert settings["MANAGEMENT_PORT"] == str(port["containerPort"])
        assert settings["MANAGEMENT_HOST"] == "0.0.0.0"
        paths = {
            probe: (container[probe]["httpGet"]["port"], container[probe]["httpGet"]["path"])
            for probe in ("startupProbe", "livenessProbe", "readinessProbe")
        }
        assert paths == {
            "startupProbe": ("management", "/livez"),
            "livenessProbe": ("management", "/livez"),
            "readinessProbe": ("management", "/readyz"),
        }


def test_scalers_ask_for_the_consumers_that_provision_makes() -> None:
    app = AppDescription(id="night", agents=[AgentDescription(id="owl", name="Owl")])
    settings = topology.TopologySettings()
    asked = {
        name: {(each["metadata"]["stream"], each["metadata"]["consumer"]) for each in triggers(of)}
        for name, of in kinds(FULL, "ScaledObject").items()
        if "night" in name
    }
    pool = topology.pool_consumer(app, settings)["name"]
    of_hooks = {
        hook: {(stream, hook_consumer(hook)) for stream in (topology.EVENTS, topology.REDRIVE)}
        for hook in ("bill", "refund", "note")
    }
    assert asked == {
        "desk-teambus-night-team-runner": {(topology.REQUESTS, pool)},
        "desk-teambus-night-hook-runner-money": of_hooks["bill"] | of_hooks["refund"],
        "desk-teambus-night-hook-runner-rest": of_hooks["note"],
    }


def triggers(scaled: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = scaled["spec"]["triggers"]
    return found


def hook_consumer(name: str) -> str:
    hook = HookDescription(name=name, app="night", function=name, teams=["owl"])
    return topology.hook_consumer_name(hook)


@every_set
def test_what_scales_is_there_and_has_no_number_of_its_own(of: str) -> None:
    deployments = kinds(of, "Deployment")
    scaled = {each["spec"]["scaleTargetRef"]["name"] for each in kinds(of, "ScaledObject").values()}
    assert scaled <= deployments.keys()
    for name, each in deployments.items():
        assert ("replicas" in each["spec"]) == (name not in scaled)


def test_the_gateway_scales_by_cpu_without_keda_too() -> None:
    bare = {"gateway": {"autoscaling": {"enabled": True, "maxReplicas": 7}}}
    found = {each["kind"]: each for each in rendered(bare)}
    assert found["HorizontalPodAutoscaler"]["spec"]["maxReplicas"] == 7
    assert "replicas" not in found["Deployment"]["spec"]
    assert "ScaledObject" not in found


def test_where_runners_may_all_be_gone_others_answer_for_the_sessions() -> None:
    [runner] = [p for p in pods("production") if p.component == "team-runner"]
    [sessions] = [p for p in pods("production") if p.component == "sessions"]
    assert environment("production", sessions)["TEAM_RUNNER_SESSIONS_ONLY"] == "true"
    assert "TEAM_RUNNER_SESSIONS_ONLY" not in environment("production", runner)
    assert sessions.spec["containers"][0]["image"] == runner.spec["containers"][0]["image"]
    assert "desk-teambus-sample-sessions" not in kinds("production", "ScaledObject")
    pool = kinds("production", "ScaledObject")["desk-teambus-sample-team-runner"]
    assert pool["spec"]["minReplicaCount"] == 0


def test_groups_share_the_hooks_of_an_app() -> None:
    settings = {
        pod.labels["teambus.dev/group"]: environment(FULL, pod)
        for pod in pods(FULL)
        if pod.labels.get("teambus.dev/app") == "night" and pod.component == "hook-runner"
    }
    assert settings["money"]["HOOK_RUNNER_HOOKS"] == "bill,refund"
    assert settings["rest"]["HOOK_RUNNER_HOOKS_EXCEPT"] == "bill,refund"
    assert "HOOK_RUNNER_HOOKS" not in settings["rest"]
    assert "HOOK_RUNNER_HOOKS_EXCEPT" not in settings["money"]


def test_provisioning_comes_first_where_there_is_a_bus_already() -> None:
    [job] = kinds("production", "Job").values()
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    [own] = kinds("small", "Job").values()
    assert "annotations" not in own["metadata"]
    # A Job cannot be changed, so each revision has one of its own.
    assert own["metadata"]["name"].endswith("-1")


def test_every_app_is_described_under_the_id_its_scaler_goes_by() -> None:
    [job] = [pod for pod in pods(FULL) if pod.component == "provision"]
    arguments = {c["name"]: c["args"] for c in job.spec["initContainers"]}
    assert "--id=background_hooks_team" in arguments["describe-sample"]
    assert "--id=night" in arguments["describe-night"]
    [container] = job.spec["containers"]
    assert container["args"] == [
        "provision",
        "--description=/descriptions/night.json",
        "--description=/descriptions/sample.json",
    ]
    [alone] = [pod for pod in pods("default") if pod.component == "provision"]
    assert alone.spec["containers"][0]["args"] == ["provision", "--streams-only"]


SOME_APP = {"app": "a:app"}
RUNNERS = {
    "teamRunner": {"image": {"repository": "a-team-runner"}},
    "hookRunner": {"image": {"repository": "a-hook-runner"}},
}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"apps": {"a": SOME_APP}}, "apps.a.teamRunner.image.repository is empty"),
        (
            {
                "apps": {"a": {**SOME_APP, **RUNNERS}},
                "teamRunner": {"persistence": {"enabled": True}},
            },
            "apps.a.teamRunner.persistence is a folder that one pod has: set replicas to 1",
        ),
        (
            {
                "apps": {"a": {**SOME_APP, **RUNNERS}},
                "keda": {"enabled": True, "monitor": "nats:8222"},
                "teamRunner": {"keda": {"minReplicas": 0}},
                "hookRunner": {"keda": {"enabled": False}},
            },
            "minReplicas is 0, and then nobody would answer for the sessions",
        ),
        (
            {"apps": {"a": {**SOME_APP, **RUNNERS}}, "keda": {"enabled": True}},
            "apps.a.hookRunner.groups.default.keda.hooks is empty",
        ),
    ],
)
def test_what_cannot_work_is_refused_with_the_mend(values: dict[str, Any], said: str) -> None:
    with pytest.raises(HelmRefused) as caught:
        rendered(values)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ({"one": {}, "two": {}}, "one and two name no hooks; only one may"),
        ({"one": {"hooks": ["x"]}}, "add one that names no hooks"),
        (
            {"one": {"hooks": ["x"]}, "two": {"hooks": ["y", "x"]}, "rest": {}},
            'the hook "x" is in two groups, one and two',
        ),
    ],
)
def test_groups_with_a_gap_or_an_overlap_are_refused(groups: dict[str, Any], said: str) -> None:
    app = {**SOME_APP, **RUNNERS, "hookRunner": {**RUNNERS["hookRunner"], "groups": groups}}
    with pytest.raises(HelmRefused) as caught:
        rendered({"apps": {"a": app}})
    assert said in str(caught.value)


def test_a_long_name_is_cut_without_meeting_another() -> None:
    names = []
    for app in ("a" * 31 + "x", "a" * 31 + "y"):
        found = rendered(SMALL, {"apps": {app: {**SOME_APP, **RUNNERS}}}, release="r" * 40)
        names.append({each["metadata"]["name"] for each in found})
    assert all(len(name) <= 63 for found in names for name in found)
    assert len(names[0] - names[1]) == len(names[1] - names[0]) > 0


def test_production_is_for_more_than_one_of_everything() -> None:
    gateway = next(each for each in rendered(PRODUCTION) if each["kind"] == "ScaledObject")
    assert gateway["spec"]["minReplicaCount"] >= 2
