"""Work in a thread with a connection: what is left out, what is finished, what an error costs."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from teambus_team_runner.sessions.threads import ConnectionThread

PATIENCE_S = 5


class FakeConnection:
    """Remembers what was done on it, in which thread it was made, and that it was closed."""

    def __init__(self) -> None:
        self.thread = threading.current_thread()
        self.done: list[str] = []
        self.closed = False
        self.recovers = False
        self.broken_off = threading.Event()

    def recover(self) -> bool:
        assert threading.current_thread() is self.thread
        return self.recovers

    def break_off(self) -> None:
        self.broken_off.set()

    def close(self) -> None:
        assert threading.current_thread() is self.thread
        self.closed = True

    def note(self, what: str) -> "FakeConnection":
        assert threading.current_thread() is self.thread
        self.done.append(what)
        return self

    def refuse(self) -> None:
        self.note("refused")
        raise OSError("refused")


def noting(what: str) -> Callable[[FakeConnection], FakeConnection]:
    return lambda connection: connection.note(what)


class Gate:
    """Work that says when it is begun and then waits to be let through."""

    def __init__(self) -> None:
        self._begun = threading.Event()
        self._open = threading.Event()

    def work(self, connection: FakeConnection) -> None:
        self._begun.set()
        assert self._open.wait(PATIENCE_S)
        connection.note("gate")

    async def begun(self) -> None:
        assert await asyncio.to_thread(self._begun.wait, PATIENCE_S)

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def made() -> list[FakeConnection]:
    return []


@pytest.fixture
async def thread(made: list[FakeConnection]) -> AsyncIterator[ConnectionThread[FakeConnection]]:
    started = new_thread(made)
    yield started
    started.end()
    async with asyncio.timeout(PATIENCE_S):
        await started.ended()


def new_thread(made: list[FakeConnection]) -> ConnectionThread[FakeConnection]:
    def connect() -> FakeConnection:
        made.append(FakeConnection())
        return made[-1]

    return ConnectionThread(connect, "a thread of a test")


async def test_work_is_done_in_order_on_one_connection_away_from_the_loop(
    thread: ConnectionThread[FakeConnection], made: list[FakeConnection]
) -> None:
    await asyncio.gather(*(thread.do(noting(what)) for what in "abc"))
    await thread.do(noting("d"))
    (connection,) = made
    assert connection.done == ["a", "b", "c", "d"]
    assert connection.thread is not threading.current_thread()


async def test_work_asked_for_in_one_turn_comes_back_in_one(
    thread: ConnectionThread[FakeConnection], monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, wakings = asyncio.get_running_loop(), []
    wake = loop.call_soon_threadsafe

    def counted(*arguments: Any) -> Any:
        wakings.append(arguments)
        return wake(*arguments)

    monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
    await asyncio.gather(*(thread.do(noting("a")) for _ in range(20)))
    assert len(wakings) == 1


async def test_work_that_fails_costs_the_connection_and_nobody_else(
    thread: ConnectionThread[FakeConnection], made: list[FakeConnection]
) -> None:
    answers = await asyncio.gather(
        thread.do(noting("a")),
        thread.do(FakeConnection.refuse),
        thread.do(noting("b")),
        return_exceptions=True,
    )
    broken, sound = made
    assert answers[0] is broken
    assert isinstance(answers[1], OSError)
    assert answers[2] is sound
    assert (broken.closed, sound.closed) == (True, False)


async def test_a_connection_that_cannot_be_made_is_tried_again() -> None:
    made: list[FakeConnection] = []

    def connect() -> FakeConnection:
        made.append(FakeConnection())
        return made[3]

    thread = ConnectionThread(connect, "a thread of a test")
    for _ in range(3):
        with pytest.raises(IndexError):
            await thread.do(noting("a"))
    assert (await thread.do(noting("b"))).done == ["b"]
    thread.end()
    await thread.ended()


async def test_work_that_nobody_awaits_any_more_is_left_out_unless_it_is_begun(
    thread: ConnectionThread[FakeConnection], made: list[FakeConnection]
) -> None:
    gate = Gate()
    begun = asyncio.create_task(thread.do(gate.work))
    await gate.begun()
    waiting = [asyncio.create_task(thread.do(noting("late"))) for _ in range(2)]
    await asyncio.sleep(0)
    for asked in (begun, *waiting):
        asked.cancel()
    await asyncio.wait((begun, *waiting))
    gate.open()
    assert (await thread.do(noting("next"))).done == ["gate", "next"]
    assert thread.busy == 0


async def test_work_given_up_leaves_its_neighbours_their_answers(
    thread: ConnectionThread[FakeConnection],
) -> None:
    gate = Gate()
    given_up = asyncio.create_task(thread.do(gate.work))
    neighbour = asyncio.create_task(thread.do(noting("b")))
    await gate.begun()
    given_up.cancel()
    await asyncio.wait((given_up,))
    gate.open()
    async with asyncio.timeout(PATIENCE_S):
        assert (await neighbour).done == ["gate", "b"]


async def test_the_end_finishes_what_was_asked_for_and_closes_the_connection(
    made: list[FakeConnection],
) -> None:
    thread, gate = new_thread(made), Gate()
    begun = asyncio.create_task(thread.do(gate.work))
    await gate.begun()
    later = asyncio.create_task(thread.do(noting("b")))
    await asyncio.sleep(0)
    thread.end()
    thread.end()
    ended = asyncio.create_task(thread.ended())
    await asyncio.wait((ended,), timeout=0.05)
    assert not ended.done()
    gate.open()
    await asyncio.wait_for(ended, PATIENCE_S)
    await asyncio.gather(begun, later)
    assert (made[0].done, made[0].closed) == (["gate", "b"], True)


async def test_a_thread_that_was_never_needed_is_never_started(made: list[FakeConnection]) -> None:
    thread = new_thread(made)
    before = threading.active_count()
    thread.end()
    await thread.ended()
    assert (made, threading.active_count()) == ([], before)


def test_a_thread_outlives_its_loop_to_close_its_connection(made: list[FakeConnection]) -> None:
    gate = Gate()

    async def leave() -> None:
        thread = new_thread(made)
        asked = asyncio.create_task(thread.do(gate.work))
        await gate.begun()
        thread.end()
        asked.cancel()

    asyncio.run(leave())
    gate.open()
    made[0].thread.join(PATIENCE_S)
    assert (made[0].done, made[0].closed) == (["gate"], True)


async def test_a_connection_that_recovers_from_work_that_failed_is_kept(
    thread: ConnectionThread[FakeConnection], made: list[FakeConnection]
) -> None:
    (await thread.do(noting("a"))).recovers = True
    with pytest.raises(OSError, match="refused"):
        await thread.do(FakeConnection.refuse)
    assert (await thread.do(noting("b"))).done == ["a", "refused", "b"]
    assert len(made) == 1


async def test_only_work_that_was_begun_long_ago_is_broken_off(
    thread: ConnectionThread[FakeConnection], made: list[FakeConnection]
) -> None:
    def wait(connection: FakeConnection) -> None:
        assert connection.broken_off.wait(PATIENCE_S)

    thread.break_off(after_s=0)  # nothing is begun
    gate = Gate()
    asked = asyncio.create_task(thread.do(gate.work))
    await gate.begun()
    thread.break_off(after_s=60)
    assert not made[0].broken_off.is_set()
    gate.open()
    await asked
    thread.break_off(after_s=0)
    assert not made[0].broken_off.is_set()
    waiting = asyncio.create_task(thread.do(wait))
    while not waiting.done():
        thread.break_off(after_s=0)
        await asyncio.sleep(0)
    await waiting
