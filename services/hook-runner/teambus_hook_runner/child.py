"""`python -P -m teambus_hook_runner.child`: a process in which hooks are called.

It is started by the hook-runner only, loads the user's app, and knows neither bus nor settings.
"""

import asyncio
import ctypes
import importlib
import io
import os
import signal
import sys
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NoReturn

import msgspec

from teambus.app.describe import describe as describe_app
from teambus.app.errors import DefinitionError
from teambus.app.hooks import BackgroundHook, background_hooks
from teambus.app.teambus import TeamBus
from teambus.contracts.message import encode
from teambus.runtime.loading import LoadError, load_app
from teambus.runtime.tracing import tracing
from teambus_hook_runner.board import Board
from teambus_hook_runner.calls import Calls
from teambus_hook_runner.failures import describe
from teambus_hook_runner.traced import calling
from teambus_hook_runner.wire import (
    Call,
    Described,
    Frames,
    FromChild,
    Ready,
    Start,
    ToChild,
    Unable,
    frame,
)

READ_BYTES = 256 * 1024
PR_SET_PDEATHSIG = 1


def main() -> None:
    start = msgspec.json.decode(sys.argv[1], type=Start)
    for descriptor in (start.calls, start.answers, start.parent, start.board):
        os.set_inheritable(descriptor, False)
    sys.argv[1:] = []
    _end_with_parent(start.parent)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    voice = Voice(start.answers)
    own_path = list(sys.path)
    try:
        app = load_app(start.app, start.app_dir)
        hooks = _sending(_chosen(app, start.hooks), start.webhook_networks, own_path)
    except Exception as error:  # noqa: BLE001 - user code ends here
        known = isinstance(error, LoadError | DefinitionError)
        voice.say(Unable(str(error) if known else describe(error)))
        return
    if not start.hooks:
        voice.say(Described(encode(describe_app(app))))
        return
    asyncio.run(_live(start, app, hooks, voice))


class Voice:
    """Says things to the hook-runner, from any thread, at once and in one piece."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def say(self, message: FromChild) -> None:
        data = memoryview(frame(message))
        with self._lock:
            while data:
                data = data[os.write(self._descriptor, data) :]


async def _live(start: Start, app: TeamBus, hooks: dict[str, BackgroundHook], voice: Voice) -> None:
    """The hook-runner has logged whether traces can be sent: what is said here is the user's."""
    board = Board(start.board, start.slots)
    threads = ThreadPoolExecutor(max(1, start.slots), thread_name_prefix="hook")
    calls = Calls(app, hooks, board, threads, voice.say)
    async with tracing(
        "hook-runner", os.environ, flush_s=start.traces_flush_s, users=True, is_logged=False
    ) as tracer:
        if tracer is not None:
            calls.around = partial(calling, tracer)
        await _serve(start, calls, voice)


async def _serve(start: Start, calls: Calls, voice: Voice) -> None:
    """Take calls until the hook-runner closes the pipe."""
    frames: Frames[ToChild] = Frames(ToChild)
    over = asyncio.Event()

    def read() -> None:
        data = os.read(start.calls, READ_BYTES)
        if not data:
            over.set()
        for message in frames.feed(data):
            if isinstance(message, Call):
                calls.take(message)
            else:
                calls.cancel(message.number)

    os.set_blocking(start.calls, False)
    loop = asyncio.get_running_loop()
    loop.add_reader(start.calls, read)
    voice.say(Ready([name for name, hook in calls.hooks.items() if not hook.is_async]))
    await over.wait()
    loop.remove_reader(start.calls)


def _chosen(app: TeamBus, names: Iterable[str]) -> dict[str, BackgroundHook]:
    """All of them where none is named."""
    there = {hook.name: hook for hook in background_hooks(app)}
    names = list(names) or list(there)
    missing = [name for name in names if name not in there]
    if missing:
        raise LoadError(
            f"the app {app.id!r} has no background hook {', '.join(missing)}; it is not the app"
            " that was provisioned: run `teambus provision` again, or deploy the right version"
        )
    return {name: there[name] for name in names}


def _sending(
    hooks: dict[str, BackgroundHook], networks: list[str], own_path: list[str]
) -> dict[str, BackgroundHook]:
    """The hooks, webhooks among them with a function that sends.

    What sends is imported for an app that has webhooks, and not from beside the user's program,
    where a file may be named like something it imports.
    """
    if not any(hook.webhook for hook in hooks.values()):
        return hooks
    users, sys.path[:] = list(sys.path), own_path
    try:
        sender = importlib.import_module("teambus_hook_runner.webhooks.sender")
    finally:
        sys.path[:] = users
    return {name: sender.sending(hook, networks) for name, hook in hooks.items()}


def _end_with_parent(descriptor: int) -> None:
    """Whatever way the hook-runner ends, this process does too.

    The thread sees it on any system, unless a hook holds the interpreter's lock; Linux sees to it
    in any case.
    """

    def watch() -> NoReturn:
        os.read(descriptor, 1)
        os._exit(0)

    threading.Thread(target=watch, name="parent watch", daemon=True).start()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main()
