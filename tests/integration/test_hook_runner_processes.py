"""Hook processes as they are kept: started, shared, lost, closed, and what they leave behind."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from teambus.contracts.catalogue import HookDescription
from teambus.contracts.message import encode
from teambus_hook_runner.asked import Asked, Limits, Unavailable
from teambus_hook_runner.keeper import Keeper, Restarts
from teambus_hook_runner.spawning import Load
from teambus_hook_runner.wire import Raised, Returned
from tests.integration.hook_parts import completed, is_alive, until

LIMITS = Limits(start_timeout_s=20, kill_after_s=0.3)
RESTARTS = Restarts(backoff_s=0.1, backoff_max_s=0.2)
APP = """
import asyncio, atexit, ctypes, os, subprocess, sys, threading, time
from teambus import Agent, OpenAIChat, Team, TeamBus, hook
from pathlib import Path

here = Path(__file__).parent

def farewell():
    here.joinpath("farewell").touch()

def hold():
    here.joinpath("holding").touch()
    ctypes.PyDLL(None).sleep(60)

@hook(run_in_background=True, name="odd")
async def odd(run_output):
    act = run_output.content
    here.joinpath("begun-" + act).write_text(str(os.getpid()))
    if act == "farewell":
        atexit.register(farewell)
    if act == "leave a lock holder":
        threading.Timer(0.1, hold).start()
    if act == "leave a child":
        child = subprocess.Popen(["sleep", "60"])
        here.joinpath("child").write_text(str(child.pid))
        os._exit(1)
    if act == "fork":
        read, write = os.pipe()
        if os.fork() == 0:
            os.setsid()
            os.write(write, b".")
            time.sleep(8)
            os._exit(0)
        os.read(read, 1)
        os._exit(1)
    if act == "wait":
        await asyncio.sleep(60)
    if act == "block":
        time.sleep(60)

app = TeamBus(id="odd", teams=[
    Team(id="desk", model=OpenAIChat(id="m"), members=[Agent(name="W")], post_hooks=[odd])
])
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tmp_path.joinpath("odd_app.py").write_text(APP)
    return tmp_path


@asynccontextmanager
async def kept(folder: Path, name: str = "odd") -> AsyncIterator[Keeper]:
    hook = HookDescription(name=name, app="odd", function="odd", teams=["desk"])
    keeper = Keeper(Load("odd_app.py", str(folder)), [hook], LIMITS, RESTARTS)
    running = asyncio.create_task(keeper.run())
    try:
        yield keeper
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


def asked(act: str, timeout_s: float = 30) -> Asked:
    return Asked("odd", "d", 1, encode(completed("r", content=act)), timeout_s)


async def pid_of(folder: Path, act: str) -> int:
    path = folder / f"begun-{act}"
    await until(lambda: path.exists() and path.read_text() != "", f"{act} has begun")
    return int(path.read_text())


async def test_a_process_that_begins_no_call_is_replaced_and_the_call_made_again(
    folder: Path,
) -> None:
    async with kept(folder) as keeper:
        await keeper.call(asked("leave a lock holder"), suspect=False)
        await until(lambda: folder.joinpath("holding").exists(), "the lock held")
        answer = await keeper.call(asked("nothing", timeout_s=0.3), suspect=False)
    assert isinstance(answer, Returned)
    assert await pid_of(folder, "nothing") != await pid_of(folder, "leave a lock holder")


async def test_what_a_hook_started_goes_with_its_process(folder: Path) -> None:
    async with kept(folder) as keeper:
        answer = await keeper.call(asked("leave a child"), suspect=False)
    assert isinstance(answer, Raised)
    assert answer.code == "crashed"
    left = int(folder.joinpath("child").read_text())
    await until(lambda: not is_alive(left), "the hook's own process gone", 3)


async def test_a_process_that_forked_is_seen_to_end(folder: Path) -> None:
    """What it forked left its session, and holds the pipe on which it answers."""
    async with kept(folder) as keeper:
        await keeper.call(asked("nothing"), suspect=False)
        async with asyncio.timeout(5):
            answer = await keeper.call(asked("fork"), suspect=False)
    assert isinstance(answer, Raised)
    assert answer.code == "crashed"


@pytest.mark.parametrize("suspect", [False, True])
@pytest.mark.parametrize("act", ["wait", "block"])
async def test_a_call_that_is_given_up_no_longer_runs(
    folder: Path, act: str, suspect: bool
) -> None:
    async with kept(folder) as keeper:
        calling = asyncio.create_task(keeper.call(asked(act), suspect=suspect))
        pid = await pid_of(folder, act)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        assert not is_alive(pid)


@pytest.mark.parametrize("suspect", [False, True])
async def test_a_closed_keeper_calls_nothing_any_more(folder: Path, suspect: bool) -> None:
    async with kept(folder) as keeper:
        calling = asyncio.create_task(keeper.call(asked("wait"), suspect=suspect))
        await pid_of(folder, "wait")
        await keeper.close()
        with pytest.raises(Unavailable):
            await calling
        with pytest.raises(Unavailable):
            await keeper.call(asked("nothing"), suspect=suspect)


async def test_a_process_with_nothing_in_hand_may_say_farewell(folder: Path) -> None:
    async with kept(folder) as keeper:
        await keeper.call(asked("farewell"), suspect=False)
    assert folder.joinpath("farewell").exists()


async def test_a_suspect_is_called_apart_from_others(folder: Path) -> None:
    async with kept(folder) as keeper:
        await keeper.call(asked("nothing"), suspect=False)
        shared = await pid_of(folder, "nothing")
        await keeper.call(asked("apart"), suspect=True)
    assert await pid_of(folder, "apart") != shared


async def test_a_hook_the_app_does_not_have_is_said(folder: Path) -> None:
    async with kept(folder, "gone") as keeper:
        await until(lambda: "no background hook gone" in (keeper.reason or ""), "the reason")
        with pytest.raises(Unavailable, match="provision"):
            await keeper.call(asked("nothing"), suspect=False)


async def test_a_process_that_starts_again_has_no_reason_against_it(folder: Path) -> None:
    good = folder.joinpath("odd_app.py").read_text()
    folder.joinpath("odd_app.py").write_text("raise RuntimeError('broken')")
    async with kept(folder) as keeper:
        await until(lambda: "broken" in (keeper.reason or ""), "the reason")
        folder.joinpath("odd_app.py").write_text(good)
        assert await keeper.ready(asyncio.Event())
        assert keeper.reason is None
        assert isinstance(await keeper.call(asked("nothing"), suspect=False), Returned)


async def test_a_stop_ends_the_waiting_for_a_process(folder: Path) -> None:
    folder.joinpath("odd_app.py").write_text("raise RuntimeError('broken')")
    stop = asyncio.Event()
    async with kept(folder) as keeper:
        waiting = asyncio.create_task(keeper.ready(stop))
        await until(lambda: "broken" in (keeper.reason or ""), "the reason")
        stop.set()
        assert await waiting is False
