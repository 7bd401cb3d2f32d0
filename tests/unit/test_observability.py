"""The dashboard and the alert rules speak of metrics that exist, in PromQL that parses."""

import json
import re
from collections.abc import Iterator
from typing import Any

import promql_parser
import pytest
import yaml

from tests.support.metrics import DEPLOY, documented

FOLDER = DEPLOY / "observability"
OF_THE_SCRAPE = {"job", "instance", "le"}
OF_GRAFANA = {"$__rate_interval": "5m"}

Query = tuple[str, str]


def _alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def _dashboard() -> dict[str, Any]:
    board: dict[str, Any] = json.loads((FOLDER / "grafana-dashboard.json").read_text())
    return board


def _shown() -> list[Query]:
    return [
        (panel["title"], target["expr"])
        for panel in _dashboard()["panels"]
        for target in panel.get("targets", [])
    ]


def _queries() -> list[Query]:
    return [*((rule["alert"], rule["expr"]) for rule in _alerts()), *_shown()]


def _parsed(query: str) -> Any:
    for name, value in OF_GRAFANA.items():
        query = query.replace(name, value)
    return promql_parser.parse(query)


def _parts(expression: Any) -> Iterator[Any]:
    """An expression and all within it."""
    yield expression
    within = [getattr(expression, name, None) for name in ("expr", "lhs", "rhs", "vector_selector")]
    for each in [*within, *(getattr(expression, "args", None) or [])]:
        if each is not None:
            yield from _parts(each)


def _selectors(query: str) -> list[promql_parser.VectorSelector]:
    parts = _parts(_parsed(query))
    return [part for part in parts if isinstance(part, promql_parser.VectorSelector)]


def _documented_name(name: str) -> str:
    return re.sub(r"_(bucket|count|sum)$", "", name)


@pytest.mark.parametrize(("title", "query"), _queries())
def test_every_query_parses_and_names_documented_metrics_and_labels(title: str, query: str) -> None:
    known = documented()
    selectors = _selectors(query)
    assert selectors, title
    labels: set[str] = set()
    for selector in selectors:
        metric = known[_documented_name(selector.name or "")]
        assert (metric.kind == "histogram") == (metric.name != selector.name), title
        assert {each.name for each in selector.matchers.matchers} <= metric.labels, title
        labels |= metric.labels
    for part in _parts(_parsed(query)):
        if isinstance(part, promql_parser.AggregateExpr) and part.modifier:
            assert set(part.modifier.labels) <= labels | OF_THE_SCRAPE, title


@pytest.mark.parametrize(("title", "query"), _queries())
def test_a_counter_is_only_looked_at_as_a_rate_or_an_increase(title: str, query: str) -> None:
    bare = re.sub(r"(rate|increase)\([^()]*\)", "", query)
    assert "_total" not in bare, title
    assert "_bucket" not in bare, title


@pytest.mark.parametrize("rule", _alerts(), ids=lambda rule: rule["alert"])
def test_every_alert_says_what_is_wrong_and_where_it_is_written_what_to_do(
    rule: dict[str, Any],
) -> None:
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert rule["annotations"]["summary"]
    document, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert document == "deploy/operations.md"
    headings = re.findall(r"^## (.+)$", (DEPLOY / "operations.md").read_text(), re.M)
    assert anchor in {
        re.sub(r"[^a-z0-9 -]", "", each.lower()).replace(" ", "-") for each in headings
    }


@pytest.mark.parametrize("rule", _alerts(), ids=lambda rule: rule["alert"])
def test_a_summary_speaks_of_labels_that_its_query_leaves(rule: dict[str, Any]) -> None:
    said = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
    left = {
        label
        for part in _parts(_parsed(rule["expr"]))
        if isinstance(part, promql_parser.AggregateExpr) and part.modifier
        for label in part.modifier.labels
    }
    assert said <= left


def test_alerts_and_panels_have_names_of_their_own() -> None:
    for names in (
        [rule["alert"] for rule in _alerts()],
        [panel["id"] for panel in _dashboard()["panels"]],
    ):
        assert len(set(names)) == len(names)


def test_every_documented_metric_is_on_the_dashboard() -> None:
    shown = {
        _documented_name(each.name or "") for _, query in _shown() for each in _selectors(query)
    }
    assert documented().keys() - shown == set()
