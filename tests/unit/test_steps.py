"""Steps: taken from the journal where they fit, done anew where code changed, or never again."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, cast

import pytest
import structlog

from teambus.bus.journal import Journal
from teambus.contracts.journal import (
    JournalEntry,
    ModelAnswer,
    Record,
    ToolIntended,
    ToolResult,
    ToolReturned,
)
from teambus.domain.replay import read_past
from teambus_team_runner.engine.cancellation import Cancellation, RunCancelled
from teambus_team_runner.steps import JournaledSteps


class Died(Exception):
    """the process ends here"""


class PaperJournal:
    """What was appended, and how much of it was durable at each proof."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.durable = 0
        self.durable_at_proof: list[int] = []

    def add(self, record: Record) -> None:
        self.records.append(record)

    async def settled(self) -> None:
        self.durable = len(self.records)

    async def prove(self, fresh_s: float) -> None:
        self.durable_at_proof.append(self.durable)


class Attempt:
    """One attempt after another at a run, each with what is durable of those before."""

    def __init__(self) -> None:
        self.paper = PaperJournal()
        self.cancellation = Cancellation("r")
        self.done: list[str] = []
        self.dies_alone = False
        self.is_alone = False
        self.called_alone: list[bool] = []
        self.begin()

    def begin(self) -> None:
        self.paper.records = self.paper.records[: self.paper.durable]
        entry = JournalEntry(nonce="n", attempt="a", n=0, records=self.paper.records.copy())
        self.past = read_past([entry])
        journal = cast(Journal, self.paper)
        self.steps = JournaledSteps(
            journal,
            self.past,
            self.cancellation,
            fresh_s=1,
            alone=self.alone if self.dies_alone else None,
        )

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        assert not self.is_alone, "nobody is alone twice"
        self.is_alone = True
        await asyncio.sleep(0)
        yield
        self.is_alone = False

    async def model(self, path: str, digest: str = "d") -> str | None:
        async def call(before_try: Callable[[], Awaitable[None]]) -> ModelAnswer:
            await before_try()
            self.done.append(path)
            return ModelAnswer(content=f"{path} {digest}")

        content = (await self.steps.model(path, digest, call)).answer.content
        await self.steps.settled()
        return content

    async def tool(self, path: str, digest: str = "t", *, dies: bool = False) -> ToolResult:
        async def call() -> ToolResult:
            self.done.append(path)
            self.called_alone.append(self.is_alone)
            if dies:
                raise Died
            return ToolResult(content=f"{path} {digest}")

        returned = await self.steps.tool_once(path, digest, call, tool="charge")
        await self.steps.settled()
        return returned.result


@pytest.fixture
def attempt() -> Attempt:
    return Attempt()


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as entries:
        yield entries


async def test_a_recorded_step_is_not_done_again(attempt: Attempt) -> None:
    await attempt.model("leader/0")
    await attempt.tool("leader/0/tool:c")
    attempt.begin()
    assert await attempt.model("leader/0") == "leader/0 d"
    assert (await attempt.tool("leader/0/tool:c")).content == "leader/0/tool:c t"
    assert attempt.done == ["leader/0", "leader/0/tool:c"]


async def test_a_step_that_changed_is_done_again_and_said(
    attempt: Attempt, logged: list[Any]
) -> None:
    await attempt.model("leader/0", "old")
    attempt.begin()
    assert await attempt.model("leader/0", "new") == "leader/0 new"
    (entry,) = logged
    assert entry["log_level"] == "warning"
    assert entry["event"].startswith("the code changed since this step was recorded")
    assert entry["step"] == "leader/0"


async def test_nothing_of_an_old_branch_is_mixed_into_the_new_one(attempt: Attempt) -> None:
    await attempt.model("leader/0", "old")
    await attempt.model("member:c1/0")
    await attempt.model("leader/1")
    attempt.begin()
    await attempt.model("leader/0", "new")
    attempt.done.clear()
    # The provider gave the same ids again, and the member is asked the very same.
    await attempt.model("member:c1/0")
    await attempt.model("leader/1")
    assert attempt.done == ["member:c1/0", "leader/1"]


async def test_an_old_branch_is_left_also_by_those_who_come_later(attempt: Attempt) -> None:
    await attempt.model("leader/0", "old")
    await attempt.model("member:c1/0")
    attempt.begin()
    await attempt.model("leader/0", "new")
    attempt.begin()
    attempt.done.clear()
    await attempt.model("leader/0", "new")
    await attempt.model("member:c1/0")
    assert attempt.done == ["member:c1/0"]


async def test_what_a_changed_member_stands_beside_is_kept(attempt: Attempt) -> None:
    await attempt.model("leader/0")
    await attempt.model("member:c1/0", "old")
    await attempt.model("member:c2/0")
    await attempt.model("member:c1/1")
    await attempt.model("member:c1/member:c3/0")
    attempt.begin()
    attempt.done.clear()
    await attempt.model("leader/0")
    await attempt.model("member:c1/0", "new")
    await attempt.model("member:c2/0")
    await attempt.model("member:c1/member:c3/0")
    await attempt.model("member:c1/1")
    assert attempt.done == ["member:c1/0", "member:c1/member:c3/0", "member:c1/1"]


async def test_what_an_agent_by_itself_did_after_a_change_is_left_too(attempt: Attempt) -> None:
    for number in range(3):
        await attempt.model(f"agent/{number}", "old")
    attempt.begin()
    attempt.done.clear()
    await attempt.model("agent/0", "old")
    await attempt.model("agent/1", "new")
    await attempt.model("agent/2", "old")
    assert attempt.done == ["agent/1", "agent/2"]


async def test_a_tool_called_once_has_its_intent_made_durable_first(attempt: Attempt) -> None:
    await attempt.tool("leader/0/tool:c")
    intent, returned = attempt.paper.records
    assert isinstance(intent, ToolIntended)
    assert (intent.path, intent.digest, intent.tool) == ("leader/0/tool:c", "t", "charge")
    assert isinstance(returned, ToolReturned)
    assert attempt.paper.durable_at_proof == [1]


async def test_a_tool_called_once_is_not_called_again_after_a_death(
    attempt: Attempt, logged: list[Any]
) -> None:
    with pytest.raises(Died):
        await attempt.tool("leader/0/tool:c", dies=True)
    for _ in range(2):
        attempt.begin()
        result = await attempt.tool("leader/0/tool:c")
        assert result.error
        assert result.content.startswith("The outcome of charge is unknown")
    assert attempt.done == ["leader/0/tool:c"]
    assert [entry["tool"] for entry in logged] == ["charge"]


async def test_a_death_before_the_intent_is_durable_costs_no_call(attempt: Attempt) -> None:
    async def lost() -> None:
        raise Died

    attempt.paper.settled = lost  # type: ignore[method-assign]  # this process dies there
    with pytest.raises(Died):
        await attempt.tool("leader/0/tool:c")
    del attempt.paper.settled
    attempt.begin()
    assert not (await attempt.tool("leader/0/tool:c")).error
    assert attempt.done == ["leader/0/tool:c"]


async def test_a_tool_of_a_cancelled_run_is_not_called(attempt: Attempt) -> None:
    attempt.cancellation.request()
    with pytest.raises(RunCancelled):
        await attempt.tool("leader/0/tool:c")
    assert attempt.done == []


@pytest.mark.parametrize("died", [False, True], ids=["returned", "died"])
@pytest.mark.parametrize("id_", ["c", "other"])
async def test_a_call_an_old_branch_made_is_not_made_again_by_a_new_one(
    attempt: Attempt, id_: str, died: bool
) -> None:
    await attempt.model("leader/0", "old")
    if died:
        with pytest.raises(Died):
            await attempt.tool("leader/0/tool:c", dies=True)
    else:
        await attempt.tool("leader/0/tool:c")
    attempt.begin()
    await attempt.model("leader/0", "new")
    for _ in range(2):
        assert (await attempt.tool(f"leader/0/tool:{id_}")).error is died
        attempt.begin()
    assert attempt.done.count("leader/0/tool:c") == 1
    assert "leader/0/tool:other" not in attempt.done


async def test_a_second_call_of_the_new_branch_is_a_call_of_its_own(attempt: Attempt) -> None:
    await attempt.model("leader/0", "old")
    await attempt.tool("leader/0/tool:c")
    attempt.begin()
    await attempt.model("leader/0", "new")
    await attempt.tool("leader/0/tool:d")
    attempt.begin()
    attempt.done.clear()
    await attempt.tool("leader/0/tool:e")
    await attempt.tool("leader/0/tool:f", "other arguments")
    assert attempt.done == ["leader/0/tool:e", "leader/0/tool:f"]


async def test_users_code_of_a_run_that_died_is_called_alone_until_it_makes_a_step(
    attempt: Attempt,
) -> None:
    attempt.dies_alone = True
    attempt.begin()
    async with attempt.steps.users_code():
        assert attempt.is_alone
    together = (attempt.tool(f"leader/0/tool:{id_}", id_) for id_ in "abc")
    await asyncio.gather(*together)
    assert attempt.called_alone == [True, False, False]
    async with attempt.steps.users_code():
        assert not attempt.is_alone


async def test_a_model_is_called_beside_others_and_its_answer_is_a_step(attempt: Attempt) -> None:
    attempt.dies_alone = True
    attempt.begin()
    await attempt.model("leader/0")
    await attempt.tool("leader/0/tool:a")
    assert attempt.called_alone == [False]


async def test_the_intent_of_a_tool_is_written_when_it_is_alone(attempt: Attempt) -> None:
    """Else whoever dies meanwhile leaves an outcome unknown that is not."""
    attempt.dies_alone = True
    attempt.begin()

    def crowded() -> AbstractAsyncContextManager[None]:
        assert attempt.paper.records == []
        raise Died

    attempt.steps._alone = crowded
    with pytest.raises(Died):
        await attempt.tool("leader/0/tool:a")
