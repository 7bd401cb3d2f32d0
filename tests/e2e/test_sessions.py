"""One run at a time in a session, none lost, and none COMPLETED that its database does not have."""

import asyncio
import json
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import httpx2
import pytest
import pytest_asyncio

from teambus.bus import topology
from teambus.bus.bodies import Bodies
from teambus.contracts.run import RunCompleted
from teambus.testing.model import ScriptedCall
from tests.e2e.conftest import APPS
from tests.support.system import System, system_of, until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

CALLS_OF_A_RUN = 3
PATIENT_S, HASTY_S = "60", "1"
HURRIED = {
    "TEAM_RUNNER_STORE_BUSY_TIMEOUT_S": "0.2",
    "TEAM_RUNNER_STORE_TIMEOUT_S": "2",
    "TEAM_RUNNER_STORE_RETRY_S": "0.2",
    "TEAM_RUNNER_STORE_GIVE_UP_S": PATIENT_S,
}


def works(*command: str) -> bool:
    return shutil.which(command[0]) is not None and subprocess.call(command) == 0


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A folder on a disk of its own, or any folder where that may not be made."""
    folder.mkdir()
    mounted = works("mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder))
    try:
        yield
    finally:
        if mounted:
            works("umount", "--lazy", str(folder))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kept(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    folder = tmp_path_factory.mktemp("sessions")
    with ExitStack() as stack:
        stack.enter_context(small_disk(folder / "small"))
        async with system_of(APPS / "sessions.py", folder, environment=HURRIED) as system:
            yield system


def stored(db: Path, session_id: str) -> list[tuple[str, str]]:
    """The runs of a session, (run_id, status), in their order, as another program reads them."""
    with sqlite3.connect(f"file:{db}?mode=ro", uri=True) as connection:
        rows = connection.execute(
            "SELECT run_id, status FROM teambus_sessions_runs WHERE session_id = ? ORDER BY fence",
            (session_id,),
        ).fetchall()
    connection.close()
    return rows


def stored_state(db: Path, session_id: str) -> Any:
    with sqlite3.connect(f"file:{db}?mode=ro", uri=True) as connection:
        [[state]] = connection.execute(
            "SELECT session_state FROM teambus_sessions WHERE session_id = ?", (session_id,)
        ).fetchall()
    connection.close()
    return json.loads(state)


async def last_call(system: System) -> int:
    calls = await system.model.calls()
    return calls[-1].n if calls else 0


def spans(calls: list[ScriptedCall]) -> dict[str, tuple[float, float, int]]:
    """From the first call of each run to the end of its last, and how many there were."""
    found: dict[str, tuple[float, float, int]] = {}
    for call in calls:
        named = re.search(r"work \d\d", call.last_content)
        assert named is not None, call
        assert call.ended_at is not None, call
        begin, end, n = found.get(named[0], (call.at, call.ended_at, 0))
        found[named[0]] = (min(begin, call.at), max(end, call.ended_at), n + 1)
    return found


async def test_of_fifty_runs_at_once_in_one_session_each_has_it_alone_and_none_is_lost(
    kept: System,
) -> None:
    await kept.second_runner.start()
    await kept.model.rules([{"match": "", "delay_ms": 20}])
    since = await last_call(kept)
    names = [f"work {n:02d}" for n in range(50)]
    answers = await asyncio.gather(
        *(kept.run(name, team="memory", session_id="fifty") for name in names)
    )
    calls = await kept.model.calls(since=since)
    assert await kept.second_runner.stop() == 0
    await kept.model.rules([])
    assert [answer["status"] for answer in answers] == ["COMPLETED"] * 50

    found = spans(calls)
    in_order = sorted(found, key=lambda name: found[name][0])
    assert {name: n for name, (_, _, n) in found.items()} == dict.fromkeys(names, CALLS_OF_A_RUN)
    for before, after in pairwise(in_order):
        assert found[before][1] <= found[after][0], f"{after} began before {before} had ended"

    run_of = dict(zip(names, (answer["run_id"] for answer in answers), strict=True))
    rows = stored(kept.folder / "sessions.db", "fifty")
    assert rows == [(run_of[name], "COMPLETED") for name in in_order]
    assert stored_state(kept.folder / "sessions.db", "fifty")["count"] == 50
    await until(partial(queue_is_empty, kept), 20, "a request was left in the queue")


async def queue_is_empty(system: System) -> bool:
    return await system.queued() == 0


async def test_earlier_runs_reach_the_model_as_many_as_the_team_asks_for(kept: System) -> None:
    await kept.model.rules(
        [
            {"match": ["alpha", "delta"], "reply": "too far back"},
            {"match": ["bravo", "an answer to charlie", "delta"], "reply": "the last two"},
            {"match": "charlie", "reply": "an answer to charlie"},
        ]
    )
    for message in ("alpha", "bravo", "charlie"):
        await kept.run(message, team="memory", session_id="history")
    assert (await kept.run("delta", team="memory", session_id="history"))["content"] == (
        "the last two"
    )
    alone = await kept.run("delta", team="memory", session_id="another")
    assert alone["content"] not in ("the last two", "too far back")


async def test_a_request_may_ask_for_the_history_its_team_does_not_show(kept: System) -> None:
    await kept.model.rules([{"match": ["alpha", "bravo"], "reply": "remembered"}])
    await kept.run("alpha", team="forgetful", session_id="asked")
    plain = await kept.run("bravo", team="forgetful", session_id="asked")
    asked = await kept.run(
        "bravo", team="forgetful", session_id="asked", add_history_to_context="true"
    )
    assert plain["content"] != "remembered"
    assert asked["content"] == "remembered"


async def test_session_state_outlives_the_run_and_the_runner(kept: System) -> None:
    db = kept.folder / "sessions.db"
    await kept.run("one", team="memory", session_id="state", session_state='{"mood": "good"}')
    await kept.run("two", team="memory", session_id="state", session_state='{"colour": "blue"}')
    await kept.runner.kill()
    await kept.runner.start()
    third = await kept.run("three", team="memory", session_id="state")
    expected = {"count": 3, "colour": "blue", "mood": "good"}
    assert expected.items() <= third["session_state"].items()
    assert stored_state(db, "state") == expected
    await kept.run("one", team="memory", session_id="other state")
    assert stored_state(db, "other state") == {"count": 1, "colour": "red"}


async def test_another_users_session_is_not_found_and_gains_no_run(kept: System) -> None:
    since = await last_call(kept)
    mine = await kept.run("mine", team="forgetful", session_id="private", user_id="ada")
    theirs = await kept.post("theirs", team="forgetful", session_id="private", user_id="eve")
    assert theirs.status_code == 404, theirs.text
    assert stored(kept.folder / "sessions.db", "private") == [(mine["run_id"], "COMPLETED")]
    assert len(await kept.model.calls(since=since)) == CALLS_OF_A_RUN


Breaking: TypeAlias = Callable[[Path], AbstractAsyncContextManager[None]]

HOLD_LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""


@asynccontextmanager
async def locked(db: Path) -> AsyncIterator[None]:
    """By a transaction of another process that does not end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HOLD_LOCK, str(db)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            assert await process.stdout.readline() == b"locked\n"
        yield
    finally:
        process.stdin.close()
        await process.wait()


@asynccontextmanager
async def full(db: Path) -> AsyncIterator[None]:
    """By a file that takes the rest of its disk."""
    filler = db.parent / "filler"
    try:
        fill(filler)
        yield
    finally:
        filler.unlink()


def fill(filler: Path) -> None:
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            assert file.tell() > 0


@asynccontextmanager
async def read_only(db: Path) -> AsyncIterator[None]:
    """For everybody, whoever has it open and as whom."""
    change_attributes("+i", db)
    try:
        yield
    finally:
        change_attributes("-i", db)


def change_attributes(change: str, db: Path) -> None:
    subprocess.run(("chattr", change, str(db), f"{db}-wal"), check=True)


@dataclass(frozen=True, slots=True)
class Fault:
    """How a database breaks, of which team, and in which words the run says so."""

    breaking: Breaking
    team: str
    file: str
    says: str


FAULTS = {
    "locked": Fault(locked, "forgetful", "sessions.db", "it is locked by another process"),
    "full": Fault(full, "small", "small/small.db", "its disk is full"),
    "read-only": Fault(read_only, "forgetful", "sessions.db", "it is read-only"),
}


@pytest.fixture(params=FAULTS)
def fault(request: pytest.FixtureRequest, kept: System) -> Fault:
    if request.param == "full" and not (kept.folder / "small").is_mount():
        pytest.skip("a disk of its own cannot be mounted here")
    if request.param == "read-only" and not may_be_immutable(kept.folder / "probe"):
        pytest.skip("a file cannot be made immutable here")
    return FAULTS[request.param]


def may_be_immutable(probe: Path) -> bool:
    probe.touch()
    return works("chattr", "+i", str(probe)) and works("chattr", "-i", str(probe))


async def give_up_after(system: System, give_up_s: str) -> None:
    assert await system.runner.stop() == 0
    await system.runner.start(TEAM_RUNNER_STORE_GIVE_UP_S=give_up_s)


@dataclass(frozen=True, slots=True)
class Paid:
    """A run whose last model call is held, so that nothing but its end is missing."""

    answer: "asyncio.Task[httpx2.Response]"
    since: int
    session_id: str


async def nearly_ended(system: System, fault: Fault, session_id: str) -> Paid:
    await system.model.rules([{"match": "", "has_tool_results": True, "hold": "gate"}])
    since = await last_call(system)
    # Large, so that what is to be stored does not fit into what the database has already.
    message = "tell me more " * 5000
    posted = asyncio.create_task(system.post(message, team=fault.team, session_id=session_id))
    await system.model.wait_for_calls(CALLS_OF_A_RUN, timeout_s=30, since=since)
    return Paid(posted, since, session_id)


async def said(system: System, words: str, after: int) -> bool:
    return words in system.runner.log.read_text()[after:]


async def completed_of(system: System, session_id: str) -> list[RunCompleted]:
    return [each for each in await system.every_completed() if each.session_id == session_id]


async def run_letters(system: System, team: str) -> list[dict[str, Any]]:
    messages = await system.stored(topology.DEAD, f"teambus.v1.dead.default.run.{team}.*")
    bodies = Bodies(system.bus)
    return [json.loads(await bodies.load(each.data, each.headers)) for each in messages]


async def test_a_run_its_database_cannot_take_is_answered_when_it_has_it(
    kept: System, fault: Fault
) -> None:
    session_id = f"patient {fault.says}"
    db = kept.folder / fault.file
    letters = await run_letters(kept, fault.team)
    paid = await nearly_ended(kept, fault, session_id)
    async with fault.breaking(db):
        heard = len(kept.runner.log.read_text())
        await kept.model.release("gate")
        await until(lambda: said(kept, fault.says, heard), 30, kept.runner.tail)
        assert not paid.answer.done()
        assert await completed_of(kept, session_id) == []
        assert stored(db, session_id) == []
    answer = await paid.answer
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "COMPLETED"
    assert stored(db, session_id) == [(answer.json()["run_id"], "COMPLETED")]
    assert len(await kept.model.calls(since=paid.since)) == CALLS_OF_A_RUN
    assert len(await completed_of(kept, session_id)) == 1
    assert await run_letters(kept, fault.team) == letters


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hasty(kept: System) -> System:
    await give_up_after(kept, HASTY_S)
    return kept


async def test_a_run_its_database_did_not_take_in_time_is_an_error_and_is_kept_as_a_letter(
    hasty: System, fault: Fault
) -> None:
    session_id = f"hasty {fault.says}"
    db = hasty.folder / fault.file
    paid = await nearly_ended(hasty, fault, session_id)
    async with fault.breaking(db):
        await hasty.model.release("gate")
        answer = await paid.answer
        assert answer.status_code == 200, answer.text
        run = answer.json()
        assert run["status"] == "ERROR"
        assert "could not be stored: the session database is unavailable" in run["content"]
        assert fault.says in run["content"]
        assert "Traceback" not in answer.text
    assert stored(db, session_id) == []
    assert len(await hasty.model.calls(since=paid.since)) == CALLS_OF_A_RUN
    [event] = await completed_of(hasty, session_id)
    assert (event.code, event.stored) == ("store_unavailable", False)
    [letter] = [
        each for each in await run_letters(hasty, fault.team) if each["run_id"] == run["run_id"]
    ]
    assert fault.says in letter["reason"]
    assert "Together we found this" in letter["event"]["output"]["content"]
    await hasty.model.rules([])
    again = await hasty.run("again", team=fault.team, session_id=session_id)
    assert again["status"] == "COMPLETED"
    assert stored(db, session_id) == [(again["run_id"], "COMPLETED")]
