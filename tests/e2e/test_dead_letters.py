"""What a hook gave up is mended and put back, over HTTP and from the command line."""

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.e2e.conftest import APPS
from tests.support.system import System, system_of, until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    async with system_of(APPS / "hooks.py", tmp_path_factory.mktemp("letters")) as system:
        yield system


async def standing(system: System, run_id: str) -> dict[str, dict[str, Any]]:
    answer = await system.client.get(f"/teams/desk/runs/{run_id}/hooks")
    assert answer.status_code == 200, answer.text
    return {each["name"]: each for each in answer.json()["hooks"]}


async def stands(system: System, run_id: str, state: str, redriven: int = 0) -> dict[str, Any]:
    """How the hook `first` stands, once it stands so."""

    async def it_does() -> dict[str, Any] | None:
        told = (await standing(system, run_id))["first"]
        return told if (told["state"], told["redriven"]) == (state, redriven) else None

    found = await until(it_does, 60, lambda: f"not {state}; {system.hook_runner.tail(30)}")
    assert found is not None
    return found


def calls(system: System, run_id: str) -> Counter[str]:
    """How often each hook was called for the run."""
    lines = [json.loads(line) for line in system.hook_log.read_text().splitlines()]
    return Counter(li["hook"] for li in lines if (li["what"], li["run"]) == ("began", run_id))


async def died(system: System, gate: str) -> tuple[str, str]:
    """A run that `first` gave up, to be mended by making the gate; its id and its letter's."""
    run = await system.run(f"first=until:{gate}", team="desk")
    told = await stands(system, run["run_id"], "dead")
    assert told["attempts"] == 3
    assert "not before somebody mends it" in told["last_error"]
    return run["run_id"], told["dead_letter"]


async def test_a_letter_is_mended_and_redriven_over_http_to_its_hook_only(desk: System) -> None:
    run_id, letter = await died(desk, "over-http")
    shown = (await desk.client.get(f"/dead-letters/{letter}")).json()
    assert (shown["run_id"], shown["attempts"]) == (run_id, 3)
    assert "not before somebody mends it" in shown["traceback"]
    listed = (await desk.client.get("/dead-letters?name=first")).json()["data"]
    assert run_id in [each["run_id"] for each in listed]
    (desk.folder / "over-http").touch()
    answer = await desk.client.post(f"/dead-letters/{letter}/redrive")
    assert answer.status_code == 202, f"{answer.text}; {desk.gateway.tail(20)}"
    done = await stands(desk, run_id, "delivered", redriven=1)
    assert done["attempts"] == 1
    assert calls(desk, run_id) == {"first": 4, "second": 1}
    assert (await desk.client.get(f"/dead-letters/{letter}")).status_code == 404


async def test_letters_are_listed_redriven_and_discarded_from_the_command_line(
    desk: System,
) -> None:
    one, letter = await died(desk, "one")
    two, _ = await died(desk, "others")
    three, unwanted = await died(desk, "never")
    status, listed = await desk.teambus("dead-letters", "list", "--name", "first", "--json")
    assert status == 0
    assert {one, two, three} <= {json.loads(line)["run_id"] for line in listed.splitlines()}
    status, shown = await desk.teambus("dead-letters", "show", letter)
    assert (status, json.loads(shown)["event"]["run_id"]) == (0, one)
    assert await desk.teambus("dead-letters", "discard", unwanted) == (
        0,
        f"discarded: {unwanted}\n",
    )
    (desk.folder / "one").touch()
    assert await desk.teambus("dead-letters", "redrive", letter) == (0, f"redriven: {letter}\n")
    await stands(desk, one, "delivered", redriven=1)
    status, said = await desk.teambus("dead-letters", "redrive", letter, unwanted)
    assert status == 1
    assert said.count("it was redriven or discarded") == 2
    (desk.folder / "others").touch()
    by_filter = ("redrive", "--name", "first", "--since", "1h")
    assert await desk.teambus("dead-letters", *by_filter) == (0, "1 letter redriven\n")
    await stands(desk, two, "delivered", redriven=1)
    assert calls(desk, one) == calls(desk, two) == {"first": 4, "second": 1}
    assert calls(desk, three) == {"first": 3, "second": 1}


async def test_a_hook_is_told_of_the_past_again_from_the_command_line(desk: System) -> None:
    run = await desk.run("hello", team="checked")
    run_id = run["run_id"]

    async def called(times: int) -> None:
        async def enough() -> bool:
            return calls(desk, run_id)["first"] >= times

        await until(enough, 60, lambda: f"{calls(desk, run_id)}; {desk.hook_runner.tail(30)}")

    await called(1)
    past = ("hooks", "replay", "first", "--since", "1h", "--team", "checked")
    await until_settled(desk, run_id)
    assert await desk.teambus(*past, "--dry-run") == (0, "1 run would be delivered again\n")
    assert await desk.teambus(*past, "--id", "again") == (0, "1 run will be delivered again\n")
    await called(2)
    assert await desk.teambus(*past, "--id", "again") == (
        0,
        "0 runs will be delivered again\n1 left out: asked for before under this id\n",
    )
    assert calls(desk, run_id) == {"first": 2}


async def until_settled(system: System, run_id: str) -> None:
    async def settled() -> bool:
        answer = await system.client.get(f"/teams/checked/runs/{run_id}/hooks")
        return bool(answer.json()["hooks"][0]["state"] == "delivered")

    await until(settled, 30, "not delivered")


async def test_a_hook_that_runs_is_seen_to_run(desk: System) -> None:
    run = await desk.run("first=wait:running", team="desk")
    running = await stands(desk, run["run_id"], "running")
    assert (running["attempts"], running["last_error"]) == (1, None)
    (desk.folder / "running").touch()
    await stands(desk, run["run_id"], "delivered")


async def test_what_the_command_line_cannot_do_it_says_in_one_line(desk: System) -> None:
    for words, says in (
        (("hooks", "replay", "nope", "--since", "1h"), "there are: first, second"),
        (("hooks", "replay", "first", "--since", "1h", "--team", "x"), "it is one of"),
        (("dead-letters", "redrive"), "or --all"),
    ):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "teambus", *words),
            env={**os.environ, **desk.environment},
            stderr=asyncio.subprocess.PIPE,
        )
        _, err = await process.communicate()
        assert process.returncode == 2
        assert says in err.decode()
        assert err.decode().count("\n") == 1
