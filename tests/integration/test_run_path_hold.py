"""Holding a run: what is said about its message, and when nothing may be said any more."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest

from teambus.bus import journal as journal_module
from teambus.bus.journal import Fenced
from teambus.bus.publish import Ack, publish
from teambus.bus.pull import Delivery
from teambus.contracts.journal import ModelAnswer, ToolResult
from teambus.contracts.run import RunRequest
from teambus.domain.replay import Past
from teambus_team_runner.asked import Asked
from teambus_team_runner.engine.cancellation import Cancellation
from teambus_team_runner.hold import Handle, hold
from teambus_team_runner.steps import JournaledSteps
from tests.integration.bus_parts import here, journal_of, step

ASKED = Asked("default", "desk", RunRequest(run_id="r", input="x"), 1, "digest")


class Said:
    """A delivery that remembers what was said about it."""

    def __init__(self, arrived_ago_s: float = 0) -> None:
        self.arrived_at = time.monotonic() - arrived_ago_s
        self.said: list[str] = []
        self.connected = True

    async def ack(self) -> None:
        self.said.append("ack")

    async def nak(self, delay_s: float = 0) -> None:
        self.said.append(f"nak {delay_s:g}")

    async def in_progress(self) -> bool:
        self.said.append("in progress")
        return self.connected


def handle_of(said: Said, *, ack_wait_s: float = 10) -> Handle:
    return Handle(cast(Delivery, said), ASKED, ack_wait_s=ack_wait_s)


async def test_a_held_message_is_given_back_once() -> None:
    said = Said()
    handle = handle_of(said)
    await handle.give_back(delay_s=2)
    await handle.give_back()
    await handle.keep()
    assert said.said == ["nak 2"]


async def test_nothing_is_said_about_a_message_that_may_be_anothers() -> None:
    said = Said(arrived_ago_s=9)
    handle = handle_of(said)
    assert handle.lapsed
    await handle.keep()
    await handle.give_back()
    assert said.said == []


async def test_nothing_is_said_about_a_message_whose_run_was_lost() -> None:
    said = Said()
    handle = handle_of(said)
    handle.drop()
    for say in (handle.keep, handle.renew, handle.done, handle.give_back):
        await say()
    assert said.said == []


async def test_a_redelivery_is_spoken_about_in_place_of_the_older_delivery() -> None:
    older, newer = Said(arrived_ago_s=9), Said()
    handle = handle_of(older)
    handle.replace(cast(Delivery, newer))
    assert not handle.lapsed
    await handle.keep()
    await handle.done()
    assert (older.said, newer.said) == ([], ["in progress", "ack"])


async def test_a_delivery_that_arrived_earlier_replaces_nothing() -> None:
    older, newer = Said(arrived_ago_s=1), Said()
    handle = handle_of(newer)
    handle.replace(cast(Delivery, older))
    await handle.done()
    assert (older.said, newer.said) == ([], ["ack"])


async def test_a_message_that_could_not_be_kept_lapses() -> None:
    said = Said(arrived_ago_s=7)
    said.connected = False
    handle = handle_of(said, ack_wait_s=10)
    await handle.keep()
    handle.ack_wait_s = 5
    assert handle.lapsed


async def test_a_message_is_kept_while_the_block_runs() -> None:
    said = Said()
    handle = handle_of(said, ack_wait_s=0.09)
    with handle.kept():
        async with asyncio.timeout(5):
            await _until(lambda: len(said.said) >= 3)
    kept = len(said.said)
    await asyncio.sleep(0.1)
    assert len(said.said) == kept


async def test_a_lost_run_cuts_the_work_and_silences_its_handle(tmp_path: Path) -> None:
    async with here(tmp_path) as place:
        said = Said()
        handle = handle_of(said, ack_wait_s=0.3)
        journal = await journal_of(place.bus, "r")
        await journal.append(step("mine"))
        cut = asyncio.Event()

        async def work() -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cut.set()
                await handle.done()
                await handle.give_back()
                raise

        holding = asyncio.create_task(hold(handle, journal, work()))
        await (await journal_of(place.bus, "r")).append(step("theirs"))
        with pytest.raises(Fenced):
            await holding
        assert cut.is_set()
        assert {"ack", "nak 0"}.isdisjoint(said.said)


async def test_work_that_is_told_to_stop_may_still_write_that_it_was(tmp_path: Path) -> None:
    async with here(tmp_path) as place:
        journal = await journal_of(place.bus, "r")
        started = asyncio.Event()

        async def work() -> None:
            try:
                started.set()
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await journal.append(step("last words"))
                raise

        holding = asyncio.create_task(hold(handle_of(Said()), journal, work()))
        await started.wait()
        holding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await holding
        assert len(await place.stored("TEAMBUS_JOURNAL", ">")) == 1


async def test_no_paid_step_is_made_for_a_run_that_was_lost(tmp_path: Path) -> None:
    paid: list[str] = []

    async def ask_model(before_try: Callable[[], Awaitable[None]]) -> ModelAnswer:
        await before_try()
        paid.append("model")
        return ModelAnswer(content="said")

    async def call_tool() -> ToolResult:
        paid.append("tool")
        return ToolResult(content="done")

    async with here(tmp_path) as place:
        journal = await journal_of(place.bus, "r")
        steps = JournaledSteps(journal, Past(), Cancellation("r"), fresh_s=0)
        await steps.model("leader/0", "d", ask_model)
        await steps.tool("leader/0/tool:a", "d", call_tool)
        await steps.settled()
        assert paid == ["model", "tool"]
        await (await journal_of(place.bus, "r")).append(step("theirs"))
        with pytest.raises(Fenced):
            await steps.model("leader/1", "d", ask_model)
        with pytest.raises(Fenced):
            await steps.tool("leader/1/tool:b", "d", call_tool)
        assert paid == ["model", "tool"]


async def test_a_step_waits_until_the_one_before_it_is_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    durable: list[int] = []

    async def publish_late(*what: Any, **how: Any) -> Ack:
        await asyncio.sleep(0.1)
        return await publish(*what, **how)

    monkeypatch.setattr(journal_module, "publish", publish_late)

    async with here(tmp_path) as place:
        journal = await journal_of(place.bus, "r")
        steps = JournaledSteps(journal, Past(), Cancellation("r"), fresh_s=60)

        async def count() -> ToolResult:
            durable.append(len(await place.stored("TEAMBUS_JOURNAL", ">")))
            return ToolResult(content="done")

        for number in range(3):
            await steps.tool(str(number), "d", count)
    assert durable == [0, 1, 2]


async def _until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110 - what is waited for is a list of ours
        await asyncio.sleep(0.01)
