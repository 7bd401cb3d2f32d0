"""What the chart renders is what Kubernetes takes, for every values file and for all flags on."""

import pytest

from tests.chart.parts import SETS, documents, environment, kinds, pods
from tests.chart.variables import EVERYBODYS, OF_THE_MODELS, variables
from tests.support.helm import linted, notes, unfit

VERSIONS = ("1.30", "1.33", "1.36")
NOT_OF_KUBERNETES = {"ScaledObject", "ServiceMonitor", "HTTPRoute"}
SERVICES = {"gateway": "gateway", "team-runner": "team-runner", "sessions": "team-runner"}
WARNING = 2

every_set = pytest.mark.parametrize("of", SETS)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_document_has_the_fields_that_kubernetes_knows(version: str) -> None:
    core = [each for of in SETS for each in documents(of) if each["kind"] not in NOT_OF_KUBERNETES]
    assert len(core) > 100
    assert unfit(core, version) == []
    assert unfit([{**core[0], "sepc": {}}], version), "an unknown field should be found"


@every_set
def test_helm_finds_nothing_to_say_against_it(of: str) -> None:
    assert [found for found in linted(*SETS[of]) if found["severity"] >= WARNING] == []


@every_set
def test_no_two_documents_have_the_same_name(of: str) -> None:
    names = [(each["kind"], each["metadata"]["name"]) for each in documents(of)]
    assert len(names) == len(set(names))
    assert {each["metadata"].get("namespace", "teams") for each in documents(of)} == {"teams"}


def test_all_flags_on_make_the_objects_of_operators() -> None:
    found = {each["kind"] for each in documents("production with everything")}
    assert found >= {*NOT_OF_KUBERNETES, "Ingress", "PodDisruptionBudget", "NetworkPolicy"}
    assert "desk-more" in kinds("production with everything", "ConfigMap")


@every_set
def test_every_variable_is_a_setting_of_its_service(of: str) -> None:
    """The sample app's own variable is its `env`, which people choose."""
    for pod in pods(of):
        if pod.component in ("nats", "postgres", "test"):
            continue
        known = {*variables(SERVICES.get(pod.component, pod.component)), *EVERYBODYS}
        if pod.component in ("team-runner", "sessions"):
            known |= OF_THE_MODELS
        names = set(environment(of, pod))
        assert names, pod.name
        unknown = {name for name in names - known if not name.startswith("OTEL_")}
        assert unknown <= {"CONTENT_DESK_DB"}, pod.name


@every_set
def test_a_changed_setting_starts_new_pods(of: str) -> None:
    for name, each in kinds(of, "Deployment").items():
        notes_of_pods = each["spec"]["template"]["metadata"]["annotations"]
        assert len(notes_of_pods["teambus.dev/settings"]) == 64, name


@every_set
def test_selectors_find_the_pods_they_are_for(of: str) -> None:
    found = list(pods(of))
    for each in documents(of):
        spec = each.get("spec", {})
        selector = spec.get("podSelector", spec.get("selector", {}))
        labels = selector.get("matchLabels", selector if each["kind"] == "Service" else {})
        chosen = {pod.component for pod in found if labels.items() <= pod.labels.items()}
        if each["kind"] in ("Deployment", "StatefulSet", "PodDisruptionBudget"):
            matching = [pod.name for pod in found if labels.items() <= pod.labels.items()]
            assert matching == [each["metadata"]["name"]]
        if each["kind"] == "Service":
            assert chosen, each["metadata"]["name"]


def test_who_installs_it_is_told_what_is_missing() -> None:
    said = notes(*SETS["default"])
    assert "No app is served yet" in said
    assert "nobody is asked for a key" in said
    assert "no credentials for NATS are named" in said
    assert "WARNING" not in notes(*SETS["production"])
    assert "https://desk.example" in notes(*SETS["production with everything"])
