"""Background hooks are delivered whatever happens to their runner; foreground ones have a say."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from teambus.bus import topology
from teambus.contracts.hook import HookOutcome
from tests.e2e.conftest import APPS
from tests.support.system import System, system_of, until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

DEAD_OF_HOOKS = "teambus.v1.dead.default.hook.{hook}.*"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    async with system_of(APPS / "hooks.py", tmp_path_factory.mktemp("hooks")) as system:
        yield system


@pytest_asyncio.fixture(loop_scope="module")
async def desk(served: System) -> System:
    """The system with its hook-runner up, whatever the test before did to it."""
    if not served.hook_runner.running:
        await served.hook_runner.start()
    return served


def notes(system: System, what: str, **wanted: Any) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in system.hook_log.read_text().splitlines()]
    wanted["what"] = what
    return [line for line in lines if wanted.items() <= line.items()]


async def noted(system: System, what: str, pairs: set[tuple[str, str]], wait_s: float = 30) -> None:
    """Wait until each of these (hook, run) noted that it began or ended."""

    def missing() -> set[tuple[str, str]]:
        return pairs - {(line["hook"], line["run"]) for line in notes(system, what)}

    async def all_there() -> bool:
        return not missing()

    await until(
        all_there, wait_s, lambda: f"not {what}: {missing()}; {system.hook_runner.tail(60)}"
    )


async def outcome(system: System, hook: str, run_id: str, state: str) -> HookOutcome:
    """How a delivery stands, once it stands like this."""

    async def stands() -> HookOutcome | None:
        found = (await system.events.outcome("default", run_id, hook)).outcome
        return found if found is not None and found.state == state else None

    found = await until(
        stands, 60, lambda: f"{hook} of {run_id} never {state}; {system.hook_runner.tail(60)}"
    )
    assert found is not None
    return found


async def letters(system: System, hook: str) -> dict[str, dict[str, Any]]:
    """The dead letters of a hook by run, read as any NATS client would read them."""
    stored = await system.stored(topology.DEAD, DEAD_OF_HOOKS.format(hook=hook))
    read = [json.loads(message.data) for message in stored]
    return {letter["run_id"]: letter for letter in read}


@pytest.mark.parametrize("when", ["at once after the answers", "while the hooks run"])
async def test_a_killed_hook_runner_delivers_each_hook_of_each_run_once_it_is_back(
    desk: System, when: str
) -> None:
    gate = f"gate-{when.replace(' ', '-')}"
    message = f"first=wait:{gate} second=wait:{gate}"
    answers = await asyncio.gather(*(desk.run(message, team="desk") for _ in range(5)))
    pairs = {(hook, answer["run_id"]) for hook in ("first", "second") for answer in answers}
    if when == "while the hooks run":
        await noted(desk, "began", pairs)
    await desk.hook_runner.kill()
    assert not [line for line in notes(desk, "ended") if (line["hook"], line["run"]) in pairs]
    await desk.hook_runner.start()
    (desk.folder / gate).touch()
    await noted(desk, "ended", pairs)
    for hook, run_id in pairs:
        done = await outcome(desk, hook, run_id, "delivered")
        assert (done.attempt, done.failures) == (1, []), "a killed hook-runner is no failure"
        assert len(notes(desk, "ended", hook=hook, run=run_id)) == 1


async def test_a_hook_that_raises_stops_no_other_and_ends_as_a_dead_letter(desk: System) -> None:
    run = await desk.run("first=raise", team="desk")
    await outcome(desk, "second", run["run_id"], "delivered")
    await outcome(desk, "first", run["run_id"], "dead")
    letter = (await letters(desk, "first"))[run["run_id"]]
    assert letter["attempts"] == len(letter["failures"]) == 3
    assert letter["event"]["output"] == run, "the letter holds the event the hook was given"
    assert "ValueError: the hook said no" in letter["reason"]
    assert 'raise ValueError("the hook said no")' in letter["traceback"]
    assert str(APPS / "hooks.py") in letter["traceback"]
    for number, failure in enumerate(letter["failures"], 1):
        assert (failure["attempt"], failure["code"]) == (number, "raised")
        assert failure["error"] == "ValueError: the hook said no"
        assert failure["started_at"] <= failure["failed_at"] <= letter["died_at"]
    tries = notes(desk, "began", hook="first", run=run["run_id"])
    assert [line["attempt"] for line in tries] == [1, 2, 3]
    assert len(notes(desk, "began", hook="second", run=run["run_id"])) == 1


async def test_a_hook_that_raises_never_closes_the_clients_connection(desk: System) -> None:
    limits = httpx2.Limits(max_connections=1, max_keepalive_connections=1)
    form = {"message": "first=raise", "stream": "false"}
    runs, ports = set(), set()
    async with httpx2.AsyncClient(base_url=desk.client.base_url, limits=limits, timeout=60) as one:
        for _ in range(20):
            answer = await one.post("/teams/desk/runs", data=form)
            assert answer.status_code == 200, answer.text
            runs.add(answer.json()["run_id"])
            ports.add(answer.extensions["network_stream"].get_extra_info("client_addr")[1])
    assert len(runs) == 20
    assert len(ports) == 1

    async def all_raised() -> bool:
        return runs <= {line["run"] for line in notes(desk, "began", hook="first")}

    await until(all_raised, 30, "the hook was not called for each run")


async def test_a_background_hook_hears_of_no_run_that_failed_unless_it_asks_to(
    desk: System,
) -> None:
    refused = await desk.run("forbidden", team="checked", user_id="ada")
    accepted = await desk.run("allowed", team="checked", user_id="ada")
    await noted(desk, "ended", {("first", accepted["run_id"])})
    assert not notes(desk, "began", run=refused["run_id"])


async def test_foreground_hooks_get_what_they_name_and_change_what_they_are_given(
    desk: System,
) -> None:
    run = await desk.run(
        "allowed", team="checked", user_id="ada", session_id="s1", metadata='{"n": 1}'
    )
    assert run["status"] == "COMPLETED"
    assert run["input"]["input_content"] == "allowed (asked by ada of Checked in s1)"
    assert "asked by ada of Checked in s1" in run["content"], "what the pre-hook wrote was asked"
    assert run["content"].endswith("(seen with {'n': 1})")


@pytest.mark.parametrize(
    ("message", "kind", "says", "calls"),
    [
        ("forbidden", "input_check_error", "that may not be asked", 0),
        ("unspeakable", "output_check_error", "that may not be said", 3),
    ],
)
async def test_a_check_that_refuses_ends_the_run_as_an_error_with_its_words(
    desk: System, message: str, kind: str, says: str, calls: int
) -> None:
    await desk.model.reset()
    answer = await desk.post(message, team="checked", user_id="ada")
    assert answer.status_code == 200, answer.text
    run = answer.json()
    assert (run["status"], run["content"]) == ("ERROR", says)
    assert [event["error_type"] for event in run["events"]] == [kind]
    assert "Traceback" not in answer.text
    assert len(await desk.model.calls()) == calls
    assert (await desk.completed(run["run_id"], team="checked")).code == kind


KIND, HOSTILE = 20, 2
HOSTILE_HOOKS = {"blocks": "timeout", "holds": "timeout", "clings": "timeout", "exits": "crashed"}


@dataclass(frozen=True, slots=True)
class Storm:
    """Runs whose hooks misbehave, and runs posted one by one while they did.

    `still_blocked`: the hooks that had not been given up when all were answered and the good
    hook had heard of each.
    """

    system: System
    hostile: set[str]
    kind: set[str]
    still_blocked: set[str]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def storm(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Storm]:
    async with system_of(APPS / "hostile.py", tmp_path_factory.mktemp("storm")) as system:
        hostile = {(await system.run("hostile", team="desk"))["run_id"] for _ in range(HOSTILE)}
        for name in HOSTILE_HOOKS:
            await until(partial(has_begun, system, name), 30, f"{name} never began")
        kind = {(await system.run("kind", team="desk"))["run_id"] for _ in range(KIND)}
        await noted(system, "ended", {("good", run) for run in hostile | kind})
        still = {name for name in HOSTILE_HOOKS if not await letters(system, name)}
        yield Storm(system, hostile, kind, still)


async def has_begun(system: System, hook: str) -> bool:
    return bool(notes(system, "began", hook=hook))


async def test_neither_an_answer_nor_a_good_hook_waits_for_a_hostile_one(storm: Storm) -> None:
    assert len(storm.kind) == KIND
    assert {"blocks", "holds", "clings"} <= storm.still_blocked


@pytest.mark.parametrize("hook", HOSTILE_HOOKS)
async def test_a_hostile_hook_is_ended_tried_again_and_given_up(storm: Storm, hook: str) -> None:
    for run in storm.hostile:
        dead = await outcome(storm.system, hook, run, "dead")
        letter = (await letters(storm.system, hook))[run]
        assert [failure.code for failure in dead.failures] == [HOSTILE_HOOKS[hook]] * 3
        assert [failure["code"] for failure in letter["failures"]] == [HOSTILE_HOOKS[hook]] * 3
        assert letter["event"]["run_id"] == run
        assert notes(storm.system, "ended", hook=hook, run=run) == []


async def test_what_waited_behind_a_hostile_call_is_delivered_and_counts_no_failure(
    storm: Storm,
) -> None:
    pairs = {(hook, run) for hook in HOSTILE_HOOKS for run in storm.kind}
    await noted(storm.system, "ended", pairs, wait_s=90)
    for hook, run in pairs:
        done = await outcome(storm.system, hook, run, "delivered")
        assert (done.attempt, done.failures) == (1, [])


async def test_no_call_begins_while_an_earlier_one_of_its_delivery_runs(storm: Storm) -> None:
    for hook in HOSTILE_HOOKS:
        for run in storm.hostile:
            await outcome(storm.system, hook, run, "dead")
    began = notes(storm.system, "began")
    assert [line for line in began if line["beside"]] == []
    for hook in HOSTILE_HOOKS:
        for run in storm.hostile:
            tries = notes(storm.system, "began", hook=hook, run=run)
            assert {line["attempt"] for line in tries} == {1, 2, 3}
            assert len({line["pid"] for line in tries}) == len(tries)


async def test_an_app_may_put_all_its_unmarked_post_hooks_in_the_background(tmp_path: Path) -> None:
    async with system_of(APPS / "unmarked.py", tmp_path) as system:
        run = await system.run("ask", team="desk")
        assert run["status"] == "COMPLETED"
        assert run["input"]["input_content"] == "ask, please", "a pre-hook stays in the foreground"
        assert system.hook_log.read_text() == "", "the hook still waits, and so did no answer"
        (tmp_path / "gate").touch()
        assert await system.hook_lines(1) == [f"{run['run_id']} COMPLETED"]
        completed = await system.completed(run["run_id"], team="desk")
        assert completed.output.content == run["content"] != "changed"


async def test_a_hook_that_names_the_session_is_given_it_with_its_runs(tmp_path: Path) -> None:
    async with system_of(APPS / "remembering.py", tmp_path) as system:
        await system.run("first", session_id="of both")
        await system.hook_lines(1)
        await system.run("second", session_id="of both")
        assert await system.hook_lines(2) == ["of both 1 True", "of both 2 True"]
