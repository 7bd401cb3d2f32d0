"""Starting a hook process: its pipes, its shared memory, its environment."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from teambus_hook_runner.board import Board
from teambus_hook_runner.wire import Frames, FromChild, Start

NOT_ITS_OWN = ("TEAMBUS_WATCH_FD", "TEAMBUS_STATUS_FD")
"""Variables that name descriptors of the hook-runner, which a hook process does not have."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a hook process is to load, and which networks its webhooks may reach besides public
    ones. What is left of its traces is sent for `traces_flush_s` at its end.
    """

    app: str
    app_dir: str
    webhook_networks: tuple[str, ...] = ()
    traces_flush_s: float = 0


class Answers(asyncio.Protocol):
    """The end where answers arrive."""

    def __init__(self, hear: Callable[[FromChild], None]) -> None:
        self._frames: Frames[FromChild] = Frames(FromChild)
        self._hear = hear
        self.ended = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        for message in self._frames.feed(data):
            self._hear(message)

    def connection_lost(self, _: Exception | None) -> None:
        self.ended.set()


@dataclass(slots=True)
class Spawned:
    """A process and this side of all that connects us with it."""

    process: asyncio.subprocess.Process
    board: Board
    calls: asyncio.WriteTransport
    answers: asyncio.BaseTransport
    heard: Answers
    alive: int
    """Never written to. The process watches the other end, which closes when we are gone."""

    def kill(self) -> None:
        """The process and what it started itself, unless that left its group."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def close(self) -> None:
        if not self.calls.is_closing():
            self.calls.abort()
        self.answers.close()
        self.board.close()
        os.close(self.alive)


async def spawn(
    load: Load, hooks: list[str], slots: int, hear: Callable[[FromChild], None]
) -> Spawned:
    """Start a process that loads the app for `hooks`, or without any, describes it."""
    loop = asyncio.get_running_loop()
    board, board_end = Board.make(slots)
    calls_end, calls = os.pipe()
    answers, answers_end = os.pipe()
    parent_end, alive = os.pipe()
    start = Start(
        calls=calls_end,
        answers=answers_end,
        parent=parent_end,
        board=board_end,
        slots=slots,
        app=load.app,
        app_dir=load.app_dir,
        hooks=hooks,
        webhook_networks=list(load.webhook_networks),
        traces_flush_s=load.traces_flush_s,
    )
    theirs = (calls_end, answers_end, parent_end, board_end)
    try:
        process = await _execute(start, theirs)
    finally:
        for descriptor in theirs:
            os.close(descriptor)
    heard = Answers(hear)
    calls_transport, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(calls, "wb"))
    answers_transport, _ = await loop.connect_read_pipe(lambda: heard, os.fdopen(answers, "rb"))
    return Spawned(process, board, calls_transport, answers_transport, heard, alive)


async def _execute(start: Start, descriptors: tuple[int, ...]) -> asyncio.subprocess.Process:
    """In a session of its own: a Ctrl-C on the terminal is for the hook-runner, which drains."""
    environment = {name: value for name, value in os.environ.items() if name not in NOT_ITS_OWN}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "teambus_hook_runner.child",
        msgspec.json.encode(start).decode(),
        stdin=asyncio.subprocess.DEVNULL,
        pass_fds=descriptors,
        start_new_session=True,
        env=environment,
    )
