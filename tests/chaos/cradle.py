"""`python -P -m tests.chaos.cradle <module> <fd>`: a service, imported once, born by forking.

Importing costs a service more than all else it does until it is ready; killed twice a second it
would do little else. Each birth is a process of its own that runs the service's `main`.
"""

import contextlib
import importlib
import json
import os
import select
import signal
import socket
import sys
from dataclasses import dataclass

MESSAGE_BYTES_MAX = 64 * 1024


@dataclass(frozen=True)
class Birth:
    """What a newborn is given: its environment, and descriptors for its pipes and log."""

    environment: dict[str, str]
    watch: int
    status: int
    log: int


def serve(line: socket.socket) -> Birth | None:
    """Returns in each newborn, with what it was given, and in the cradle when nobody asks."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    while True:
        ready, _, _ = select.select([line.fileno(), woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            _tell_of_deaths(line)
        if line.fileno() in ready:
            data, descriptors, _, _ = socket.recv_fds(line, MESSAGE_BYTES_MAX, 3)
            if not data:
                return None
            if born := _bear(line, json.loads(data), descriptors):
                return born


def _bear(line: socket.socket, asked: dict[str, str], descriptors: list[int]) -> Birth | None:
    pid = os.fork()
    if pid == 0:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        line.close()
        return Birth(asked, *descriptors)
    for descriptor in descriptors:
        os.close(descriptor)
    line.send(json.dumps({"born": pid}).encode())
    return None


def _tell_of_deaths(line: socket.socket) -> None:
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            code = os.waitstatus_to_exitcode(status)
            line.send(json.dumps({"died": pid, "code": code}).encode())


def become(birth: Birth) -> None:
    os.environ.clear()
    os.environ.update(birth.environment)
    os.environ["TEAMBUS_WATCH_FD"] = str(birth.watch)
    os.environ["TEAMBUS_STATUS_FD"] = str(birth.status)
    os.dup2(birth.log, 1)
    os.dup2(birth.log, 2)
    os.close(birth.log)


def main() -> None:
    service = importlib.import_module(f"{sys.argv[1]}.main")
    birth = serve(socket.socket(fileno=int(sys.argv[2])))
    if birth is not None:
        become(birth)
        service.main()


if __name__ == "__main__":
    main()
