"""One started process: what it reports, and how it ends."""

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import structlog

from teambus.local.plan import ServiceSpec
from teambus.runtime.management import STATUS_FD
from teambus.runtime.stopping import WATCH_FD

log = structlog.get_logger(__name__)

REPORT_BYTES_MAX = 256 * 1024
LINE_BYTES_MAX = 1024 * 1024


class Child:
    """`facts` is what it reported so far; `ready` is set when it said that it is.

    `on_report` is called after each report.
    """

    def __init__(self, name: str, process: asyncio.subprocess.Process, reports_fd: int) -> None:
        self.name = name
        self.facts: dict[str, Any] = {}
        self.ready = asyncio.Event()
        self.on_report: Callable[[], None] = lambda: None
        self._process = process
        self._reading = asyncio.create_task(self._read(reports_fd), name=f"reports of {name}")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def code(self) -> int | None:
        return self._process.returncode

    @property
    def error(self) -> str | None:
        """Why it refused to start, in its own words."""
        said = self.facts.get("error")
        return None if said is None else str(said)

    async def ended(self) -> int:
        """Returns its exit code once all that it reported is read."""
        code = await self._process.wait()
        await asyncio.wait({self._reading})
        return code

    @property
    def stdout(self) -> asyncio.StreamReader:
        assert self._process.stdout is not None, "started without a pipe for it"
        return self._process.stdout

    @property
    def stderr(self) -> asyncio.StreamReader:
        assert self._process.stderr is not None, "started without a pipe for it"
        return self._process.stderr

    async def stop(self, *, within_s: float, hurry: asyncio.Event) -> None:
        """Ask it to end; kill it when it has not within the time, or at once when it hurries."""
        if self.code is None:
            self._process.terminate()
        ended = asyncio.ensure_future(self.ended())
        hurried = asyncio.ensure_future(hurry.wait())
        try:
            await asyncio.wait(
                {ended, hurried}, timeout=within_s, return_when=asyncio.FIRST_COMPLETED
            )
            if not ended.done():
                log.warning("killed", service=self.name, pid=self.pid, waited_s_max=within_s)
                self.kill()
            await ended
        finally:
            hurried.cancel()
            ended.cancel()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def _read(self, reports_fd: int) -> None:
        reader = asyncio.StreamReader(limit=REPORT_BYTES_MAX)
        pipe = os.fdopen(reports_fd, "rb", buffering=0)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        with contextlib.closing(transport):
            async for line in reader:
                self._note(line)

    def _note(self, line: bytes) -> None:
        try:
            self.facts |= msgspec.json.decode(line, type=dict[str, Any])
        except msgspec.MsgspecError:
            log.warning("unreadable report", service=self.name, line=line[:200])
        if self.facts.get("ready"):
            self.ready.set()
        self.on_report()


async def launch(
    spec: ServiceSpec, watch_fd: int, *, stdout: int | None = None, stderr: int | None = None
) -> Child:
    """Start it in a session of its own, so that Ctrl-C reaches the supervisor alone.

    Its output goes where ours goes, unless `stdout` and `stderr` say otherwise.
    """
    reports_fd, told_fd = os.pipe()
    fds = {WATCH_FD: watch_fd, STATUS_FD: told_fd, **spec.descriptors}
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", *spec.arguments),
            env={**spec.environment, **{name: str(fd) for name, fd in fds.items()}},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            limit=LINE_BYTES_MAX,
            cwd=spec.folder,
            pass_fds=tuple(fds.values()),
            start_new_session=True,
        )
    except BaseException:
        os.close(reports_fd)
        raise
    finally:
        os.close(told_fd)
    return Child(spec.name, process, reports_fd)


@contextlib.contextmanager
def watched_pipe() -> Iterator[int]:
    """The end that children watch; the other end closes with this process, however it dies."""
    watched, held = os.pipe()
    try:
        yield watched
    finally:
        os.close(held)
        os.close(watched)
