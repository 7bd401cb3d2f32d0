"""`teambus demo`: the whole system as real processes, one run and its background hook."""

import asyncio
import http.client
import signal
import tempfile
import time
import urllib.parse
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from teambus.cli.sample import model_of, sample_app
from teambus.local.announce import QUESTION, curl, table
from teambus.local.child import Child, launch, watched_pipe
from teambus.local.errors import LocalError
from teambus.local.plan import ServiceSpec

Say = Callable[[str], None]
LOG_LINES_SHOWN = 20
OK = 200
FAILED = 1


@dataclass(frozen=True, slots=True)
class DemoLimits:
    """How long each step may take."""

    start_s: float = 120
    reply_s: float = 60
    hook_s: float = 30
    stop_s: float = 40


@dataclass(slots=True)
class Output:
    """What the system printed: users' lines with their time, and the last lines of the logs."""

    last_line: str
    lines: asyncio.Queue[tuple[float, str]] = field(default_factory=asyncio.Queue)
    log: deque[str] = field(default_factory=lambda: deque(maxlen=LOG_LINES_SHOWN))


async def run(
    variables: Mapping[str, str], say: Say, *, last_line: str, limits: DemoLimits = DemoLimits()
) -> int:
    """Returns the exit code: 1 when a step failed, after saying which and what was logged.

    The demo is over when a hook has printed a line that contains `last_line`.
    """
    variables, output = sample_app(variables), Output(last_line)
    loop, this = asyncio.get_running_loop(), asyncio.current_task()
    assert this is not None
    loop.add_signal_handler(signal.SIGTERM, this.cancel)
    try:
        async with model_of(variables) as model:
            say(model.line)
            await _show({**variables, **model.environment}, output, say, limits)
    except LocalError as error:
        say(f"the demo failed: {error}")
        say("\n".join(["the last lines logged:", *output.log] if output.log else []))
        return FAILED
    return 0


async def _show(variables: Mapping[str, str], output: Output, say: Say, limits: DemoLimits) -> None:
    with tempfile.TemporaryDirectory(prefix="teambus-demo-", ignore_cleanup_errors=True) as folder:
        say(f"starting NATS, gateway, team-runner and hook-runner; data in {folder}")
        async with _system(variables, Path(folder), output, limits) as system:
            say(table(system.facts))
            await _converse(system, output, say, limits)
    say("everything is stopped, and the data is deleted")


async def _converse(system: Child, output: Output, say: Say, limits: DemoLimits) -> None:
    url, path = system.facts["url"], f"/teams/{system.facts['teams'][0]}"
    say(f"\n{curl(url, path)}")
    asked_at = time.monotonic()
    reply = await asyncio.to_thread(_post, f"{url}{path}/runs", limits.reply_s)
    replied_at = time.monotonic()
    say(f"\n{reply.get('content')}\n")
    say(f"{reply.get('status')} after {replied_at - asked_at:.2f} s; run {reply.get('run_id')}")
    say("the reply is here; meanwhile, in the background:")
    try:
        async with asyncio.timeout(limits.hook_s):
            await _hear(output, replied_at, say)
    except TimeoutError as error:
        raise LocalError(
            f"the background hook did not finish within {limits.hook_s:g} s"
        ) from error


async def _hear(output: Output, since: float, say: Say) -> None:
    line = ""
    while output.last_line not in line:
        at, line = await output.lines.get()
        say(f"  {at - since:+.2f} s  {line}")


def _post(url: str, timeout_s: float) -> dict[str, Any]:
    """Ask as `curl -F` does. Blocks, so it runs in a thread."""
    parts = urllib.parse.urlsplit(url)
    boundary = uuid.uuid4().hex
    fields = {"message": QUESTION, "stream": "false"}
    body = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    )
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=timeout_s)
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    try:
        connection.request("POST", parts.path, f"{body}--{boundary}--\r\n".encode(), kind)
        response = connection.getresponse()
        return _decoded(response.status, response.read())
    except (OSError, http.client.HTTPException) as error:
        raise LocalError(f"no reply from {url} within {timeout_s:g} s: {error!r}") from error
    finally:
        connection.close()


def _decoded(status: int, body: bytes) -> dict[str, Any]:
    text = body.decode(errors="replace")
    try:
        reply = msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise LocalError(f"the reply is not JSON: {status} {text}") from error
    if status != OK or reply.get("status") != "COMPLETED":
        raise LocalError(f"the run did not complete: {status} {text}")
    return dict(reply)


@asynccontextmanager
async def _system(
    variables: Mapping[str, str], folder: Path, output: Output, limits: DemoLimits
) -> AsyncIterator[Child]:
    with watched_pipe() as watch_fd:
        system = await launch(
            _spec(variables, folder, watch_fd, limits),
            watch_fd,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        readers = [asyncio.create_task(_read_lines(system, output))]
        readers.append(asyncio.create_task(_read_log(system, output)))
        try:
            await _started(system, limits)
            yield system
        finally:
            await system.stop(within_s=limits.stop_s, hurry=asyncio.Event())
            await asyncio.gather(*readers)
    if system.code != 0:
        raise LocalError(f"stopping went wrong: the supervisor ended with code {system.code}")


async def _started(system: Child, limits: DemoLimits) -> None:
    ended, ready = asyncio.ensure_future(system.ended()), asyncio.ensure_future(system.ready.wait())
    try:
        await asyncio.wait(
            {ended, ready}, timeout=limits.start_s, return_when=asyncio.FIRST_COMPLETED
        )
    finally:
        ended.cancel()
        ready.cancel()
    if system.code is not None:
        raise LocalError(system.error or f"the supervisor ended with code {system.code}")
    if not system.ready.is_set():
        raise LocalError(f"the system was not ready within {limits.start_s:g} s")


def _spec(
    variables: Mapping[str, str], folder: Path, watch_fd: int, limits: DemoLimits
) -> ServiceSpec:
    places = {
        "TEAMBUS_APP_DIR": str(Path(variables.get("TEAMBUS_APP_DIR") or ".").absolute()),
        "TEAMBUS_DATA_DIR": str(folder / ".teambus"),
        "TEAMBUS_PORT": "0",
        "TEAMBUS_LOG": "console",
    }
    here = {name: value for name, value in variables.items() if name != "NATS_URL"}
    return ServiceSpec(
        "serve",
        ("-m", "teambus", "serve", "--watch-fd", str(watch_fd)),
        {**here, **places},
        drain_s=limits.stop_s,
        folder=folder,
    )


async def _read_lines(system: Child, output: Output) -> None:
    async for line in system.stdout:
        output.lines.put_nowait((time.monotonic(), line.decode(errors="replace").rstrip()))


async def _read_log(system: Child, output: Output) -> None:
    async for line in system.stderr:
        output.log.append(line.decode(errors="replace").rstrip())
