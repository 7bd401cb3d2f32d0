"""What real processes show on `/metrics` after real runs is what the table says, and no more."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.e2e.conftest import APPS
from tests.support.metrics import Metric, documented, scrape
from tests.support.system import System, system_of, until

WITHOUT_SAMPLES = {
    "teambus_model_retries_total",
    "teambus_steps_replayed_total",
}
"""These have labels, and nothing of theirs happens in a story that goes well."""
WEIGHS = {
    "match": "Give facts",
    "has_tool_results": False,
    "tool_calls": [{"name": "weigh", "arguments": {"thing": "tea"}}],
}
HOSTILE = 40


TEAM = "telling-team"

lasting = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def telling(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    folder, often = tmp_path_factory.mktemp("telling"), {"TEAM_RUNNER_JANITOR_SWEEP_S": "0.5"}
    async with system_of(APPS / "telling.py", folder, environment=often) as system:
        await system.model.rules([WEIGHS])
        yield system


async def settled(system: System) -> None:
    """Return once all figures of the runs are there."""
    await system.queue_emptied()

    async def is_counted() -> bool:
        shown = await scrape(system.hook_runner)
        return shown.value("teambus_hook_deliveries_total", result="delivered") >= 1

    await until(is_counted, 30, "no delivery was counted")

    async def is_swept() -> bool:
        return bool((await scrape(system.runner)).value("teambus_stream_bytes_max"))

    await until(is_swept, 30, "the janitor did not sweep")


@lasting
async def test_the_names_kinds_and_labels_scraped_are_those_of_the_table(telling: System) -> None:
    await telling.run(team=TEAM)
    await settled(telling)
    services = {
        "gateway": telling.gateway,
        "team-runner": telling.runner,
        "hook-runner": telling.hook_runner,
    }
    for service, process in services.items():
        shown, described = await scrape(process), documented(service)
        assert shown.kinds == {name: each.kind for name, each in described.items()}, service
        for name, samples in shown.samples.items():
            assert samples or name in WITHOUT_SAMPLES, f"{service} never told {name}"
            labels = {frozenset(given) - {"le"} for given, _ in samples}
            assert labels <= {described[name].labels}, name


@lasting
async def test_what_is_counted_is_what_happened(telling: System) -> None:
    before, http_before = await scrape(telling.runner), await scrape(telling.gateway)
    run = await telling.run(team=TEAM)
    await settled(telling)
    runner, gateway = await scrape(telling.runner), await scrape(telling.gateway)

    def grown(name: str, **labels: str) -> float:
        return runner.value(name, **labels) - before.value(name, **labels)

    calls = 5  # the leader's two, the Researcher's two around a tool, and the Writer's one
    assert grown("teambus_runs_total", team=TEAM, status="COMPLETED") == 1
    assert grown("teambus_run_duration_seconds", team=TEAM) == 1
    assert grown("teambus_run_queue_seconds") == 1
    assert grown("teambus_model_calls_total", model="gpt-5.2", outcome="ok") == calls
    assert grown("teambus_step_duration_seconds", kind="model") == calls
    assert grown("teambus_step_duration_seconds", kind="tool") == 1
    spent = [run["metrics"], *(each["metrics"] for each in run["member_responses"])]
    for direction in ("input", "output"):
        counted = grown("teambus_model_tokens_total", model="gpt-5.2", direction=direction)
        assert counted == sum(each[f"{direction}_tokens"] for each in spent)
    route = {"route": "/teams/{team_id}/runs", "method": "POST", "status": "200"}
    name = "teambus_http_requests_total"
    assert gateway.value(name, **route) - http_before.value(name, **route) == 1


@lasting
async def test_no_client_makes_new_labels(telling: System) -> None:
    system = telling
    await system.run(team=TEAM)
    await _ask_strangely(system, "0")
    before = [(await scrape(each)).series for each in (system.gateway, system.runner)]
    await asyncio.gather(*(_ask_strangely(system, str(n)) for n in range(1, HOSTILE)))
    after = [(await scrape(each)).series for each in (system.gateway, system.runner)]
    assert after == before


async def _ask_strangely(system: System, stranger: str) -> None:
    """What a client may choose: teams, tenants, paths, methods, models."""
    client = system.client
    form = {"message": "hi", "stream": "false", "model": stranger, "session_id": stranger}
    await client.post(f"/teams/team-{stranger}/runs", data=form)
    await client.post(
        "/teams/telling-team/runs", data=form, headers={"X-Tenant": stranger, "Host": stranger}
    )
    await client.get(f"/path/{stranger}/of/no/route?x={stranger}")
    await client.request(f"METHOD{stranger}", "/teams")
    await client.get(f"/teams/telling-team/runs/{stranger}", params={"session_id": stranger})


def test_every_metric_is_named_as_prometheus_names_them() -> None:
    assert [each.name for each in documented().values() if not _is_well_named(each)] == []


def _is_well_named(metric: Metric) -> bool:
    is_counter = metric.kind == "counter"
    is_timed = metric.kind != "histogram" or metric.name.endswith(("_seconds", "_bytes"))
    return is_counter == metric.name.endswith("_total") and is_timed


@pytest.mark.parametrize("service", ["gateway", "team-runner", "hook-runner"])
def test_each_service_documents_metrics_of_its_own(service: str) -> None:
    assert len(documented(service)) > len(documented("none"))
