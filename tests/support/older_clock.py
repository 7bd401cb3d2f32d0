"""Starting a process whose clock shows another time of day than the machine's.

nats-server is linked statically, so nothing can be preloaded into it: the function of the kernel by
which it asks for the time is replaced in its memory before its first instruction.
"""

import ctypes
import os
import platform
import struct
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import pytest

TRACE_ME, CONTINUE, DETACH = 0, 7, 17
ASKED = b"__vdso_clock_gettime"
SYMBOLS = 11


def started_at_another_time(
    program: Path,
    command: Sequence[str],
    shift_s: int,
    log: BinaryIO,
    before: Callable[[], None],
) -> "subprocess.Popen[bytes]":
    """Run `command`, which becomes `program`, for which it is `shift_s` seconds earlier; `before`
    is called in it first.
    """
    if platform.machine() != "x86_64" or platform.system() != "Linux":
        pytest.skip("only on Linux on x86-64 it is known how to give a process another time")
    kernel = ctypes.CDLL(None, use_errno=True)

    def traced() -> None:
        before()
        if kernel.ptrace(TRACE_ME, 0, 0, 0) != 0:
            os._exit(126)

    try:
        process = subprocess.Popen(command, stdout=log, stderr=log, preexec_fn=traced)  # noqa: PLW1509 - no thread
    except subprocess.SubprocessError as error:
        pytest.skip(f"a process may not be traced here: {error}")
    _stopped(process.pid)
    while os.path.realpath(f"/proc/{process.pid}/exe") != os.path.realpath(program):
        # Whatever enters a namespace first becomes the program by another exec.
        kernel.ptrace(CONTINUE, process.pid, 0, 0)
        _stopped(process.pid)
    _set_back(process.pid, shift_s)
    kernel.ptrace(DETACH, process.pid, 0, 0)
    return process


def _stopped(pid: int) -> None:
    _, status = os.waitpid(pid, 0)
    assert os.WIFSTOPPED(status), f"it did not stop to be changed: {status}"


def _set_back(pid: int, shift_s: int) -> None:
    start, end = _vdso(pid)
    with Path(f"/proc/{pid}/mem").open("r+b", buffering=0) as memory:
        memory.seek(start)
        offset, size = _symbol(memory.read(end - start), ASKED)
        code = _code(shift_s)
        assert len(code) <= size, size
        memory.seek(start + offset)
        memory.write(code)


def _code(shift_s: int) -> bytes:
    """Ask the kernel for the time; of the time of day take `shift_s` off."""
    ask = b"\xb8\xe4\x00\x00\x00\x0f\x05"
    return_unless_time_of_day = b"\x85\xff\x75\x0d"
    take_off = b"\x48\xb9" + struct.pack("<q", shift_s) + b"\x48\x29\x0e"
    return ask + return_unless_time_of_day + take_off + b"\xc3"


def _vdso(pid: int) -> tuple[int, int]:
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    [line] = [line for line in lines if "[vdso]" in line]
    start, _, end = line.split()[0].partition("-")
    return int(start, 16), int(end, 16)


def _symbol(image: bytes, name: bytes) -> tuple[int, int]:
    """Offset and size of a function in a shared library."""
    [table] = struct.unpack_from("<Q", image, 0x28)
    [count] = struct.unpack_from("<H", image, 0x3C)
    sections = [struct.unpack_from("<IIQQQQIIQQ", image, table + 64 * n) for n in range(count)]
    [symbols] = [section for section in sections if section[1] == SYMBOLS]
    names = sections[symbols[6]][4]
    for at in range(symbols[4], symbols[4] + symbols[5], 24):
        said, _, _, _, offset, size = struct.unpack_from("<IBBHQQ", image, at)
        if image.startswith(name + b"\0", names + said):
            return offset, size
    raise AssertionError(f"{name!r} is not in the kernel's library")
