"""One run is one trace, from the client's span to the hook's process, and stays one when the runner
dies; collected by a real collector.
"""

import asyncio
import json
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from tests.e2e.conftest import APPS
from tests.support.collector import Collector, Seen, collecting
from tests.support.system import System, free_port, system_of

TEAM = "telling-team"
SHOWN = "gen_ai.input.messages"
RUN = Counter(
    {
        "POST /teams/{team_id}/runs": 1,
        "invoke_workflow TellingTeam": 1,
        "invoke_agent Researcher": 1,
        "invoke_agent Writer": 1,
        "chat gpt-5.2": 5,
        "execute_tool weigh": 1,
        "users own span in a tool": 1,
        "process note-run": 1,
        "hook note-run": 1,
        "users own span in a hook": 1,
    }
)
WEIGHS = {
    "match": "Give facts",
    "has_tool_results": False,
    "tool_calls": [{"name": "weigh", "arguments": {"thing": "tea"}}],
}


@asynccontextmanager
async def telling(folder: Path, **environment: str) -> AsyncIterator[tuple[System, Collector]]:
    with collecting() as collector:
        given = {**collector.environment, **environment}
        async with system_of(APPS / "telling.py", folder, environment=given) as system:
            await system.model.rules([WEIGHS])
            yield system, collector


lasting = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lasting_one(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[tuple[System, Collector]]:
    async with telling(tmp_path_factory.mktemp("telling")) as both:
        yield both


def client_span() -> tuple[str, str, dict[str, str]]:
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
    return trace_id, span_id, {"traceparent": f"00-{trace_id}-{span_id}-01", "tracestate": "own=1"}


async def ask(system: System, headers: dict[str, str], message: str = "How heavy is tea?") -> str:
    form = {"message": message, "stream": "false"}
    response = await system.client.post(f"/teams/{TEAM}/runs", data=form, headers=headers)
    assert response.status_code == 200, response.text
    run_id: str = response.json()["run_id"]
    return run_id


def parents(spans: list[Seen]) -> dict[str, set[str]]:
    """The names of each span's parents; of one that nobody told of, its id."""
    names = {each.span_id: each.name for each in spans}
    found: dict[str, set[str]] = {}
    for each in spans:
        found.setdefault(each.name, set()).add(names.get(each.parent_id, each.parent_id))
    return found


def check_is_whole(spans: list[Seen], client: str) -> None:
    """Every span hangs on another or on the client's, where it belongs."""
    workflow, researcher = "invoke_workflow TellingTeam", "invoke_agent Researcher"
    assert parents(spans) == {
        "POST /teams/{team_id}/runs": {client},
        workflow: {"POST /teams/{team_id}/runs"},
        researcher: {workflow},
        "invoke_agent Writer": {workflow},
        "chat gpt-5.2": {workflow, researcher, "invoke_agent Writer"},
        "execute_tool weigh": {researcher},
        "users own span in a tool": {"execute_tool weigh"},
        "process note-run": {workflow},
        "hook note-run": {"process note-run"},
        "users own span in a hook": {"hook note-run"},
    }


@lasting
async def test_a_run_is_one_trace_over_four_processes_with_its_hook_linked(
    lasting_one: tuple[System, Collector],
) -> None:
    system, collector = lasting_one
    trace_id, client, headers = client_span()
    run_id = await ask(system, headers)
    spans = await collector.trace_with(trace_id, RUN)
    processes = {(each.service, each.pid) for each in spans}
    gateway, runner, hooks = (
        each.pid for each in (system.gateway, system.runner, system.hook_runner)
    )
    assert Counter(each.name for each in spans) == RUN
    check_is_whole(spans, client)
    by_name = {each.name: each for each in spans}
    child = by_name["hook note-run"].pid
    assert processes == {
        ("teambus-gateway", gateway),
        ("teambus-team-runner", runner),
        ("teambus-hook-runner", hooks),
        ("teambus-hook-runner", child),
    }
    assert len({gateway, runner, hooks, child}) == 4
    workflow, hook = by_name["invoke_workflow TellingTeam"], by_name["process note-run"]
    assert hook.links == ((trace_id, workflow.span_id),)
    assert workflow.attributes["teambus.run_id"] == run_id
    assert workflow.attributes["gen_ai.operation.name"] == "invoke_workflow"
    assert by_name["invoke_agent Writer"].attributes["gen_ai.agent.name"] == "Writer"
    for chat in (each for each in spans if each.name == "chat gpt-5.2"):
        assert chat.kind == "client"
        assert chat.attributes["gen_ai.operation.name"] == "chat"
        assert chat.attributes["gen_ai.request.model"] == "gpt-5.2"
        assert chat.attributes["gen_ai.usage.input_tokens"] > 0
        assert chat.attributes["gen_ai.usage.output_tokens"] > 0
        assert workflow.began_ns <= chat.began_ns <= chat.ended_ns <= workflow.ended_ns
    assert by_name["execute_tool weigh"].attributes["gen_ai.tool.name"] == "weigh"
    # What was said stays where it was said.
    told = json.dumps([each.attributes for each in spans])
    assert SHOWN not in told
    assert "How heavy" not in told


async def test_a_trace_holds_together_when_the_runner_is_killed(tmp_path: Path) -> None:
    trace_id, client, headers = client_span()
    async with telling(tmp_path) as (system, collector):
        # The Researcher is done and told of; the Writer is asked when the runner dies.
        await system.model.rules([WEIGHS, {"match": "Write prose", "times": 1, "hold": "gate"}])
        asking = asyncio.create_task(ask(system, headers))
        await system.model.wait_for_calls(4)
        first = await collector.trace_with(
            trace_id, Counter({"chat gpt-5.2": 3, "invoke_agent Researcher": 1})
        )
        assert all("invoke_workflow" not in each.name for each in first)
        killed = system.runner.pid
        await system.runner.kill()
        await system.second_runner.start()
        await system.model.release("gate")
        await asking
        spans = await collector.trace_with(trace_id, RUN)
        second = system.second_runner.pid
    check_is_whole(spans, client)
    # What the dead runner had told of is told again by the next, under the same ids.
    ids = {each.name: set[str]() for each in spans}
    for each in spans:
        ids[each.name].add(each.span_id)
    assert {name: len(each) for name, each in ids.items()} == RUN
    again = [each for each in spans if each.attributes.get("teambus.replayed")]
    assert {each.pid for each in again} == {second}
    assert {each.span_id for each in again} <= {each.span_id for each in first}
    before = {each.span_id: each for each in first if each.pid == killed}
    for each in again:
        assert each.ended_ns == before[each.span_id].ended_ns, each.name
    (workflow,) = (each for each in spans if each.name == "invoke_workflow TellingTeam")
    assert workflow.pid == second
    assert workflow.began_ns <= min(each.began_ns for each in first if each.pid == killed)


@lasting
async def test_a_trace_that_is_not_sampled_is_not_told_of(
    lasting_one: tuple[System, Collector],
) -> None:
    system, collector = lasting_one
    trace_id, client, headers = client_span()
    headers["traceparent"] = f"00-{trace_id}-{client}-00"
    other, _, sampled = client_span()
    await ask(system, headers)
    await system.hook_lines(1, containing="COMPLETED")
    await ask(system, sampled)
    await collector.trace_with(other, RUN)
    assert collector.of(trace_id) == []


@lasting
async def test_a_run_that_nobody_traced_before_begins_a_trace(
    lasting_one: tuple[System, Collector],
) -> None:
    system, collector = lasting_one
    run_id = await ask(system, {"traceparent": "nonsense"})
    workflow = await collector.once(
        lambda each: (
            each.attributes.get("teambus.run_id") == run_id
            and each.name.startswith("invoke_workflow")
        )
    )
    check_is_whole(await collector.trace_with(workflow.trace_id, RUN), "")


async def test_what_is_left_is_told_before_the_end_and_messages_when_asked_for(
    tmp_path: Path,
) -> None:
    trace_id, _, headers = client_span()
    given = {
        "OTEL_BSP_SCHEDULE_DELAY": "600000",
        "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true",
    }
    async with telling(tmp_path, **given) as (system, collector):
        await ask(system, headers)
        await system.hook_lines(1)
        assert collector.spans == []
        stopped = await asyncio.gather(
            system.gateway.stop(), system.runner.stop(), system.hook_runner.stop()
        )
        assert list(stopped) == [0, 0, 0]
        spans = await collector.trace_with(trace_id, RUN)
    by_name = {each.name: each.attributes for each in spans}
    asked = json.loads(by_name["invoke_workflow TellingTeam"][SHOWN])
    assert asked == [{"role": "user", "parts": [{"type": "text", "content": "How heavy is tea?"}]}]
    assert by_name["execute_tool weigh"]["gen_ai.tool.call.result"] == "tea: 3 g"
    roles = [each["role"] for each in json.loads(by_name["chat gpt-5.2"][SHOWN])]
    assert roles[:2] == ["system", "user"]


async def test_a_collector_that_is_away_harms_nothing_and_holds_up_no_stop(tmp_path: Path) -> None:
    away = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
        "OTEL_BSP_MAX_QUEUE_SIZE": "16",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "8",
        "TRACES_FLUSH_S": "0.5",
    }
    async with system_of(APPS / "telling.py", tmp_path, environment=away) as system:
        await system.model.rules([WEIGHS])
        await asyncio.gather(*(ask(system, {}) for _ in range(10)))
        await system.hook_lines(10)
        # Stopping has a limit of its own, which is far below what the exporter would go on for.
        stopped = await asyncio.gather(
            system.gateway.stop(), system.runner.stop(), system.hook_runner.stop()
        )
        assert list(stopped) == [0, 0, 0]
