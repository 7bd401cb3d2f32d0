"""A hook-runner that is killed, stopped, cut off from the bus, or cannot start its hooks."""

import asyncio
import json
import signal
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from teambus.bus.connection import Bus, BusSettings, connect
from teambus.bus.topology import EVENTS, hook_consumer_name
from teambus.contracts.hook import DeadLetter, HookFailure, HookOutcome, delivery_id
from teambus.runtime.service import BUS_LOST
from teambus.runtime.settings import read_settings
from teambus_hook_runner import main
from teambus_hook_runner.settings import Settings
from tests.integration.hook_parts import (
    ACK_WAIT_S,
    HURRIED,
    TENANT,
    Ground,
    ground,
    is_alive,
    until,
)
from tests.support.processes import Process

RUNS = 5


@pytest.fixture
async def on(tmp_path: Path) -> AsyncIterator[Ground]:
    async with ground(tmp_path) as made:
        yield made


def ask(process: Process, path: str) -> tuple[int, Any]:
    url = f"http://127.0.0.1:{process.facts['management_port']}{path}"
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


async def test_hooks_of_a_killed_hook_runner_are_all_delivered_by_the_next(on: Ground) -> None:
    runs = [f"r{n}" for n in range(RUNS)]
    runner = await on.started()
    for run in runs:
        await on.complete(run, first=["sleep 1.5"])
    began = await on.told(RUNS, hook="first")
    await runner.kill()
    # The processes of the killed one go with it: else a hook would run on beside its own retry.
    await until(lambda: not any(is_alive(line["pid"]) for line in began), "hook processes gone", 2)
    assert on.story("ended", hook="first") == []
    await runner.start()
    for run in runs:
        done = await on.stands("first", run, "delivered")
        assert (done.attempt, done.failures) == (1, [])
    await on.settled("first", "second", "plain")


async def test_a_hook_that_holds_the_interpreter_does_not_outlive_its_hook_runner(
    on: Ground,
) -> None:
    runner = await on.started()
    await on.complete("r1", first=["hold 60"])
    [began] = await on.told(1, hook="first")
    await runner.kill()
    await until(lambda: not is_alive(began["pid"]), "the hook process gone", 2)


async def test_what_is_in_hand_is_finished_when_told_to_stop(on: Ground) -> None:
    runner = await on.started()
    await on.complete("r1", first=["sleep 1"])
    await on.told(1, hook="first")
    assert await runner.stop() == 0
    done = await on.outcome("first", "r1")
    assert done is not None
    assert done.state == "delivered"
    assert await on.unsettled("first") == 0


async def test_a_stopping_hook_runner_is_unready_and_takes_nothing_new(on: Ground) -> None:
    runner = await on.started()
    assert ask(runner, "/readyz")[0] == 200
    await on.complete("r1", first=["sleep 1.5"])
    await on.told(1, hook="first")
    runner.signal(signal.SIGTERM)
    await until(lambda: ask(runner, "/readyz")[0] == 503, "unready")
    await on.complete("r2")
    assert await runner.ended() == 0
    assert on.story(run="r2") == []


@pytest.mark.parametrize("act", ["sleep 1.9", "hold 1.9"])
async def test_what_outlasts_the_drain_is_given_back_uncounted(tmp_path: Path, act: str) -> None:
    """The bus would bring it again by itself only after a minute."""
    async with ground(tmp_path, ack_wait_s=60) as on:
        runner = await on.started(HOOK_RUNNER_DRAIN_S="0.3")
        await on.complete("r1", first=[act])
        [began] = await on.told(1, hook="first")
        assert await runner.stop() == 0
        assert not is_alive(began["pid"])
        assert await on.outcome("first", "r1") is None
        await runner.start()
        assert (await on.told(2, hook="first"))[1]["attempt"] == 1
        await on.stands("first", "r1", "delivered")


async def test_what_one_hook_runner_holds_no_other_takes(on: Ground) -> None:
    await on.started()
    await on.started()
    for n in range(RUNS):
        await on.complete(f"r{n}", first=["hold 1.5" if n == 0 else "sleep 1.5"])
    for n in range(RUNS):
        await on.stands("first", f"r{n}", "delivered")
    await on.settled("first", "second", "plain")
    assert len(on.story(hook="first")) == RUNS


async def test_a_bus_that_is_away_for_a_while_changes_nothing_for_a_running_hook(
    on: Ground,
) -> None:
    await on.started(HOOK_RUNNER_REQUEST_TIMEOUT_S="1", HOOK_RUNNER_PUBLISH_PATIENCE_S="1")
    await on.complete("r1", first=["sleep 1.9"])
    await on.told(1, hook="first")
    await on.server.kill()
    await on.told(1, "ended", hook="first")
    await asyncio.sleep(ACK_WAIT_S)  # Longer away than the bus keeps a delivery for its holder.
    await on.server.restart()
    await on.stands("first", "r1", "delivered")
    await on.settled("first", "second", "plain")
    assert len(on.story(run="r1", hook="first")) == 1


async def test_a_bus_connection_that_is_closed_for_good_ends_the_hook_runner(
    on: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in hand is not waited for: its outcome could not be written."""
    opened: list[Bus] = []

    @asynccontextmanager
    async def connected(settings: BusSettings) -> AsyncIterator[Bus]:
        async with connect(settings) as bus:
            opened.append(bus)
            yield bus

    monkeypatch.setattr(main, "connect", connected)
    monkeypatch.setenv("HOOK_STORY", on.environment["HOOK_STORY"])
    settings = read_settings(Settings, "HOOK_RUNNER", on.environment | HURRIED)
    running = asyncio.create_task(main.run(settings))
    await on.complete("r1", first=["sleep 1.9"])
    [began] = await on.told(1, hook="first")
    await opened[0].client.close()
    async with asyncio.timeout(10):
        assert await running == BUS_LOST
    assert not is_alive(began["pid"])
    assert on.story("ended", hook="first") == []


async def test_a_record_before_the_ack_spares_a_second_call(on: Ground) -> None:
    """As after a hook-runner that died between the two."""
    await on.complete("r1")
    delivered = await stand_in_outcome(on, "r1", "delivered")
    await on.deliver_once_before("first")
    await on.started()
    await on.settled("first", "second", "plain")
    assert on.story(run="r1", hook="first") == []
    assert await on.outcome("first", "r1") == delivered


async def test_a_recorded_failure_keeps_its_wait_when_the_hook_runner_died(on: Ground) -> None:
    await on.complete("r1")
    retry_at = time.time() + 4
    await stand_in_outcome(on, "r1", "failed", retry_at)
    await on.deliver_once_before("first")
    await on.started()
    done = await on.stands("first", "r1", "delivered")
    assert time.time() >= retry_at
    assert done.attempt == 2


async def test_a_letter_without_its_outcome_means_dead(on: Ground) -> None:
    """As after a hook-runner that died between burying and recording."""
    await on.complete("r1")
    id_ = delivery_id(TENANT, "first", "r1")
    letter = DeadLetter(
        id=id_, about="hook", name="first", tenant=TENANT, reason="x", died_at=1, attempts=3
    )
    assert await on.events.bury(letter)
    await on.deliver_once_before("first")
    await on.started()
    dead = await on.stands("first", "r1", "dead")
    await on.settled("first")
    assert dead.attempt == 3
    assert on.story(run="r1", hook="first") == []
    assert await on.letter("first", "r1") == letter


async def test_a_delivery_that_never_leaves_a_record_is_buried(on: Ground) -> None:
    """A hook that takes its hook-runner along, or a bus that takes no records."""
    await on.complete("r1")
    for _ in range(4):
        await on.deliver_once_before("first")
    await on.started(HOOK_RUNNER_CRASH_MAX="3")
    await on.stands("first", "r1", "dead")
    letter = await on.letter("first", "r1")
    assert letter is not None
    assert letter.reason == "delivered 4 times without an outcome"
    assert on.story(run="r1", hook="first") == []


async def test_a_delivered_outcome_is_not_undone_by_a_late_failure(on: Ground) -> None:
    """Two hook-runners had the same delivery, as after a cut; the other one's hook succeeded."""
    await on.complete("r1", first=["raise"])
    delivered = await stand_in_outcome(on, "r1", "delivered")
    await on.started()
    await on.settled("first")
    assert len(on.story(run="r1", hook="first")) == 1
    assert await on.outcome("first", "r1") == delivered


async def test_an_app_that_does_not_load_is_said_and_tried_again(
    on: Ground, tmp_path: Path
) -> None:
    broken = tmp_path / "app" / "hook_app.py"
    broken.parent.mkdir()
    broken.write_text("import no_such_thing\n")
    runner = on.runner(TEAMBUS_APP_DIR=str(broken.parent))
    starting = asyncio.create_task(runner.start())
    await until(lambda: sum("cannot start" in str(line) for line in on.log()) >= 3, "three tries")
    lines = [line for line in on.log() if "cannot start" in line["event"]]
    assert "no_such_thing" in lines[0]["reason"]
    assert lines[0]["hooks"]
    assert lines[0]["retry_in_s"] > 0
    await on.complete("r1")
    broken.write_text((Path(on.environment["TEAMBUS_APP_DIR"]) / "hook_app.py").read_text())
    await starting
    done = await on.stands("first", "r1", "delivered")
    assert done.attempt == 1


async def test_an_app_that_takes_too_long_to_load_is_given_up_and_tried_again(
    on: Ground, tmp_path: Path
) -> None:
    app = tmp_path / "app" / "hook_app.py"
    app.parent.mkdir()
    app.write_text("import time\ntime.sleep(60)\n")
    runner = on.runner(TEAMBUS_APP_DIR=str(app.parent), HOOK_RUNNER_START_TIMEOUT_S="0.5")
    starting = asyncio.create_task(runner.start())
    await until(lambda: any("within 0.5 s" in str(line) for line in on.log()), "given up")
    assert ask(runner, "/readyz")[0] == 503
    await given_up(starting)


async def test_an_app_that_is_wrong_stops_the_hook_runner_with_its_reason(
    on: Ground, tmp_path: Path
) -> None:
    app = tmp_path / "app" / "hook_app.py"
    app.parent.mkdir()
    app.write_text("import no_such_thing\n")
    runner = on.runner(TEAMBUS_APP_DIR=str(app.parent), TEAMBUS_APP_ID="")
    with pytest.raises(AssertionError, match="ended with 2"):
        await runner.start()
    assert "no_such_thing" in runner.facts["error"]


async def test_the_app_is_asked_what_hooks_it_has_when_its_id_is_not_given(on: Ground) -> None:
    await on.started(TEAMBUS_APP_ID="")
    await on.complete("r1")
    await on.stands("first", "r1", "delivered")


async def test_without_its_consumer_a_hook_waits_and_others_are_delivered(on: Ground) -> None:
    consumer = hook_consumer_name(on.hook("first"))
    await on.bus.client.jetstream().delete_consumer(EVENTS, consumer)
    runner = on.runner()
    starting = asyncio.create_task(runner.start())
    await on.complete("r1")
    await on.stands("second", "r1", "delivered")
    status, body = ask(runner, "/readyz")
    assert status == 503
    assert "provision" in json.loads(body)["reasons"]["hook first"]
    await given_up(starting)


async def test_hooks_share_processes_above_their_limit(on: Ground) -> None:
    await on.started(HOOK_RUNNER_PROCESSES_MAX="2")
    await on.complete("r1", first=["exit", "return"])
    for name in ("first", "second", "plain"):
        await on.stands(name, "r1", "delivered")
    await on.complete("r2")
    lines = await on.told(3, run="r2")
    assert len({line["pid"] for line in lines}) == 2


async def test_metrics_count_deliveries(on: Ground) -> None:
    runner = await on.started()
    await on.complete("r1")
    await on.settled("first", "second", "plain")
    status, body = ask(runner, "/metrics")
    assert status == 200
    assert b'teambus_hook_deliveries_total{hook="first",result="delivered"} 1.0' in body


async def given_up(starting: "asyncio.Task[None]") -> None:
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)


async def stand_in_outcome(on: Ground, run: str, state: Any, retry_at: float | None = None) -> Any:
    """What a hook-runner wrote before it died."""
    outcome = HookOutcome(
        delivery_id=delivery_id(TENANT, "first", run),
        tenant=TENANT,
        team_id="desk",
        run_id=run,
        hook="first",
        state=state,
        attempt=1,
        retry_at=retry_at,
        failures=[]
        if state == "delivered"
        else [HookFailure(attempt=1, code="raised", error="x", started_at=0, failed_at=0)],
    )
    assert await on.events.note_outcome(outcome)
    return outcome


async def test_groups_of_hook_runners_share_the_hooks_of_an_app(on: Ground) -> None:
    await on.started(HOOK_RUNNER_HOOKS="first")
    await on.complete("r1")
    await on.told(1, "ended", hook="first")
    assert {line["hook"] for line in on.story()} == {"first"}
    await on.started(HOOK_RUNNER_HOOKS_EXCEPT="first")
    for name in ("second", "plain"):
        await on.told(1, "ended", hook=name)
    assert sorted(line["hook"] for line in on.story()) == ["first", "plain", "second"]


async def test_a_group_of_hooks_that_the_app_has_not_does_not_start(on: Ground) -> None:
    runner = on.runner(HOOK_RUNNER_HOOKS="furst")
    with pytest.raises(AssertionError, match="ended with 2 before ready"):
        await runner.start()
    assert "HOOK_RUNNER_HOOKS names 'furst'" in runner.facts["error"]
