"""The engine's small parts: prompts, state that meets again, threads, working together."""

import asyncio
import threading

import pytest

from teambus_team_runner.engine.prompt import known_values, system_prompt
from teambus_team_runner.engine.state import merged
from teambus_team_runner.engine.threads import Threads
from teambus_team_runner.engine.together import together
from tests.unit.engine_fakes import agent, team


def test_a_prompt_has_its_parts_in_order() -> None:
    writer = agent(
        "Writer",
        description="D",
        role="R",
        instructions=["one", "two"],
        markdown=True,
        expected_output="E",
        additional_context="C",
    )

    assert system_prompt(writer, {}) == (
        "<description>\nD\n</description>\n\n"
        "<your_role>\nR\n</your_role>\n\n"
        "<instructions>\n- one\n- two\n</instructions>\n\n"
        "<additional_information>\n- Write your answer in Markdown where that makes it easier to"
        " read.\n</additional_information>\n\n"
        "<expected_output>\nE\n</expected_output>\n\n"
        "<additional_context>\nC\n</additional_context>"
    )
    assert system_prompt(agent("Plain"), {}) is None
    assert system_prompt(agent("Plain", instructions=["only"]), {}) == "only"


def test_a_leader_reads_who_its_members_are() -> None:
    def brew() -> None: ...

    inner = team(agent("Secret"), id="inner", name='In "ner"', role="digs")
    prompt = system_prompt(team(agent("Writer", role="writes", tools=[brew]), inner), {})

    assert prompt
    assert (
        "<team_members>\n"
        '<member id="writer" name="Writer">\n  Role: writes\n  Tools: brew\n</member>\n'
        '<member id="inner" name="In &quot;ner&quot;" type="team">\n  Role: digs\n</member>\n'
        "</team_members>" in prompt
    )
    assert "secret" not in prompt.lower()
    assert "delegate_task_to_member" in prompt


def test_placeholders_are_filled_with_what_is_known_only() -> None:
    writer = agent("Writer", instructions="Greet {name} in {place}, not {nobody} {}.")
    known = known_values({"name": "Ada"}, None, {"name": "Bob", "place": "Jena"})

    assert system_prompt(writer, known) == "Greet Ada in Jena, not {nobody} {}."


def test_on_one_key_the_last_to_end_wins_and_what_nobody_touched_stays() -> None:
    base = {"kept": 1, "both": 0, "gone": 1}

    state = merged(
        base,
        [
            (2.0, {"kept": 1, "both": "late", "gone": 1}),
            (1.0, {"kept": 1, "both": "early", "new": 1}),
            (3.0, None),
        ],
    )

    assert state == {"kept": 1, "both": "late", "new": 1}
    assert base == {"kept": 1, "both": 0, "gone": 1}


async def test_there_are_never_more_blocking_calls_than_threads() -> None:
    threads, lock = Threads(2), threading.Lock()
    busy: list[int] = [0, 0]

    def work() -> None:
        with lock:
            busy[0] += 1
            busy[1] = max(busy)
        with lock:
            busy[0] -= 1

    await asyncio.gather(*(threads.call(work, {}) for _ in range(20)))

    assert busy[0] == 0
    assert busy[1] <= 2


async def test_a_call_whose_caller_left_keeps_its_thread_until_it_returns() -> None:
    threads, released = Threads(1), threading.Event()
    stuck = asyncio.create_task(threads.call(released.wait, {"timeout": 30}))
    await asyncio.sleep(0)
    stuck.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stuck

    following = asyncio.create_task(threads.call(lambda: "free", {}))
    await asyncio.sleep(0)
    assert not following.done()

    released.set()
    assert await following == "free"


async def test_the_first_failure_stops_the_others_and_is_raised_bare() -> None:
    stopped: list[str] = []

    async def fails() -> None:
        raise LookupError("fenced")

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append("waits")

    async def nests() -> None:
        await together([waits(), waits()])

    with pytest.raises(LookupError, match="fenced"):
        await together([nests(), fails()])

    assert stopped == ["waits", "waits"]
