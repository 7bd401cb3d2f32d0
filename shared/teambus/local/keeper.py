"""The keeper: a small process between the supervisor and nats-server, so that neither outlives us.

nats-server cannot watch a pipe; the keeper does it for it. When its parent is gone, however it
went, the pipe closes and nats-server is stopped; when the keeper itself is killed, Linux kills
nats-server. The lock on the store is inherited by nats-server, so it is held exactly as long as
the store is open. Runs alone: standard library only, and nothing else of teambus.
"""

import argparse
import ctypes
import fcntl
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

STORE_IN_USE = 75
NOT_STARTED = 71
ABANDONED = 3
SIGNAL_EXIT_CODE = 128
LOCK_POLL_S = 0.02
PR_SET_PDEATHSIG = 1


class Keeper:
    """Stays with one nats-server until it ends."""

    def __init__(self, server: "subprocess.Popen[bytes]", watch_fd: int, stop_s: float) -> None:
        self._server = server
        self._stop_s = stop_s
        self._kill_at: float | None = None
        self._woken, wake = os.pipe()
        os.set_blocking(wake, False)
        self._watched = [watch_fd, self._woken]
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)

    def run(self) -> int:
        while (code := self._server.poll()) is None:
            self._turn()
        return code if code >= 0 else SIGNAL_EXIT_CODE - code

    def _turn(self) -> None:
        patience_s = None if self._kill_at is None else max(0, self._kill_at - time.monotonic())
        readable, _, _ = select.select(self._watched, [], [], patience_s)
        if self._kill_at is not None and time.monotonic() >= self._kill_at:
            self._server.kill()
        for descriptor in readable:
            self._heard(descriptor)

    def _heard(self, descriptor: int) -> None:
        said = os.read(descriptor, 64)
        if descriptor != self._woken and not said:
            self._watched.remove(descriptor)
            self._stop()
        if descriptor == self._woken and set(said) - {signal.SIGCHLD}:
            self._stop()

    def _stop(self) -> None:
        if self._kill_at is None:
            self._kill_at = time.monotonic() + self._stop_s
            self._server.terminate()


def main() -> int:
    arguments = _arguments()
    lock_fd = os.open(arguments.lock, os.O_RDWR | os.O_CREAT, 0o600)
    if code := _take(lock_fd, arguments.watch_fd, arguments.lock_wait_s):
        return code
    try:
        server = subprocess.Popen(
            arguments.command,
            stdin=subprocess.DEVNULL,
            pass_fds=(lock_fd,),
            preexec_fn=_dying_with(os.getpid()),  # noqa: PLW1509 - this process has one thread
        )
    except OSError as error:
        sys.stderr.write(f"cannot start {arguments.command[0]}: {error.strerror}\n")
        return NOT_STARTED
    return Keeper(server, arguments.watch_fd, arguments.stop_s).run()


def _take(lock_fd: int, watch_fd: int, wait_s: float) -> int:
    """Wait for the store: one whose supervisor has just been killed is about to be let go."""
    give_up_at = time.monotonic() + wait_s
    while not _locked(lock_fd):
        if time.monotonic() >= give_up_at:
            return STORE_IN_USE
        if select.select([watch_fd], [], [], LOCK_POLL_S)[0]:
            return ABANDONED
    return 0


def _locked(lock_fd: int) -> bool:
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _dying_with(keeper_pid: int) -> Callable[[], None] | None:
    """Has the kernel kill nats-server when the keeper is killed; only Linux knows how."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl

    def before_exec() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != keeper_pid:
            os._exit(ABANDONED)

    return before_exec


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="keeper")
    parser.add_argument("--watch-fd", type=int, required=True)
    parser.add_argument("--lock", type=Path, required=True)
    parser.add_argument("--lock-wait-s", type=float, default=5)
    parser.add_argument("--stop-s", type=float, default=1)
    parser.add_argument("command", nargs="+")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
