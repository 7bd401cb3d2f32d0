"""The board says whose code has the loop, step by step, and changes nothing for the code."""

import asyncio
import os
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

from teambus_hook_runner.board import Board
from teambus_hook_runner.marked import marked


@pytest.fixture
def board() -> Iterator[Board]:
    made, descriptor = Board.make(4)
    os.close(descriptor)
    yield made
    made.close()


async def test_a_call_has_the_loop_while_its_code_runs_and_not_while_it_waits(board: Board) -> None:
    seen = []

    async def work() -> str:
        seen.append(board.on_loop)
        await asyncio.sleep(0)
        seen.append(board.on_loop)
        return "done"

    doing = asyncio.ensure_future(drive(work(), board, 2))
    await asyncio.sleep(0)
    assert board.on_loop is None
    assert await doing == "done"
    assert seen == [2, 2]
    assert board.on_loop is None


async def test_two_calls_take_turns(board: Board) -> None:
    seen = []

    async def work(slot: int) -> None:
        for _ in range(3):
            seen.append((slot, board.on_loop))
            await asyncio.sleep(0)

    await asyncio.gather(drive(work(0), board, 0), drive(work(3), board, 3))
    assert all(slot == on_loop for slot, on_loop in seen)


async def test_an_exception_passes(board: Board) -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await drive(work(), board, 0)
    assert board.on_loop is None


async def test_a_cancel_reaches_the_code_which_has_the_loop_while_it_cleans_up(
    board: Board,
) -> None:
    seen = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            seen.append(board.on_loop)
            await asyncio.sleep(0)
            seen.append(board.on_loop)

    doing = asyncio.ensure_future(drive(work(), board, 1))
    await asyncio.sleep(0)
    doing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await doing
    assert seen == [1, 1]


async def test_what_fails_while_waiting_fails_in_the_code(board: Board) -> None:
    broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def work() -> str:
        try:
            await broken
        except ValueError:
            return "caught"
        return "not caught"

    doing = asyncio.ensure_future(drive(work(), board, 1))
    await asyncio.sleep(0)
    broken.set_exception(ValueError("no"))
    assert await doing == "caught"


def test_a_process_that_shares_a_board_sees_what_is_written(board: Board) -> None:
    written, descriptor = Board.make(2)
    read = Board(descriptor, 2)
    os.close(descriptor)
    assert (read.on_loop, read.started_at(1)) == (None, None)
    written.start(1, 12.5)
    written.enter_loop(0)
    assert (read.on_loop, read.started_at(0), read.started_at(1)) == (0, None, 12.5)
    written.clear(1)
    written.leave_loop()
    assert (read.on_loop, read.started_at(1)) == (None, None)


async def drive(work: Coroutine[Any, Any, Any], board: Board, slot: int) -> Any:
    return await marked(work, board, slot)
