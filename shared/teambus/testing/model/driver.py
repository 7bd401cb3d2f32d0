"""Starts the model server for a test or a program, and asks it things. Needs only asyncio."""

import asyncio
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from teambus.testing.model.calls import Calls, ScriptedCall
from teambus.testing.model.rules import Rule

START_S = 15.0
STOP_S = 3.0
ANSWER_S = 10.0


class ModelServerError(RuntimeError):
    """The server did not start, or refused what it was asked."""


class _Ready(msgspec.Struct):
    port: int
    base_url: str


class ModelServer:
    """The scripted model as a process of its own; it ends with the block or with its parent."""

    def __init__(
        self,
        *,
        rules: Sequence[Rule | Mapping[str, object]] = (),
        latency_ms: float = 0.0,
        log: Path | None = None,
    ) -> None:
        self._first_rules = rules
        self._latency_ms = latency_ms
        self._scratch = None if log else tempfile.TemporaryDirectory(prefix="teambus-model-")
        self.log = log or Path(self._scratch.name if self._scratch else "") / "calls.jsonl"
        self._process: asyncio.subprocess.Process | None = None
        self._lifeline: int | None = None
        self._ready = _Ready(0, "")

    @property
    def port(self) -> int:
        return self._ready.port

    @property
    def base_url(self) -> str:
        return self._ready.base_url

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server was not started"
        return self._process.pid

    async def __aenter__(self) -> Self:
        try:
            await self._start()
            if self._first_rules:
                await self.rules(self._first_rules)
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stop()

    async def rules(self, rules: Sequence[Rule | Mapping[str, object]]) -> None:
        """Replace all rules. An empty list brings back the default script."""
        given = [_only_given(rule) if isinstance(rule, Rule) else rule for rule in rules]
        await self._ask("POST", "/_rules", msgspec.json.encode(given))

    async def reset(self) -> None:
        """Back to the default script, as if no call had been made. Numbers go on."""
        await self._ask("DELETE", "/_rules")
        await self._ask("DELETE", "/_calls")

    async def release(self, name: str) -> None:
        """Let calls held as `name` go on: those that wait, and those still to come."""
        await self._ask("POST", f"/_release/{name}")

    async def calls(self, *, since: int | None = None) -> list[ScriptedCall]:
        """The calls after number `since`, or after the last reset, oldest first."""
        return (await self._calls(_query(since=since))).calls

    async def wait_for_calls(
        self, n: int, timeout_s: float = ANSWER_S, *, since: int | None = None
    ) -> list[ScriptedCall]:
        """Wait until `n` calls after number `since` have begun."""
        return await self._wait("wait_for", n, timeout_s, since)

    async def wait_for_ended(
        self, n: int, timeout_s: float = ANSWER_S, *, since: int | None = None
    ) -> list[ScriptedCall]:
        """Wait until `n` calls after number `since` have ended, one way or another."""
        return await self._wait("wait_for_ended", n, timeout_s, since)

    async def _wait(
        self, what: str, n: int, timeout_s: float, since: int | None
    ) -> list[ScriptedCall]:
        told = await self._calls(_query(**{what: n}, timeout_s=timeout_s, since=since), timeout_s)
        if not told.reached:
            raise TimeoutError(
                f"{what}={n} was not reached in {timeout_s:g} s; there were "
                f" {[(call.n, call.outcome) for call in told.calls]}"
            )
        return told.calls

    async def _calls(self, query: str, timeout_s: float = 0.0) -> Calls:
        body = await self._ask("GET", f"/_calls?{query}", wait_s=timeout_s)
        return msgspec.json.decode(body, type=Calls)

    async def _start(self) -> None:
        watch_fd, self._lifeline = os.pipe()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "teambus.testing.model"),
                *("--port", "0", "--log", str(self.log)),
                *("--latency-ms", str(self._latency_ms), "--watch-fd", str(watch_fd)),
                pass_fds=[watch_fd],
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
            )
        finally:
            os.close(watch_fd)
        assert self._process.stdout is not None, "stdout is a pipe"
        line = await asyncio.wait_for(self._process.stdout.readline(), START_S)
        if not line:
            raise ModelServerError("the model server did not start; its reason is on stderr")
        self._ready = msgspec.json.decode(line, type=_Ready)

    async def _stop(self) -> None:
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None
        if self._process is not None:
            await _ended(self._process)
        if self._scratch is not None:
            self._scratch.cleanup()

    async def _ask(self, method: str, path: str, body: bytes = b"", wait_s: float = 0.0) -> bytes:
        async with asyncio.timeout(wait_s + ANSWER_S):
            status, answer = await _exchange(self.port, method, path, body)
        if status != 200:
            raise ModelServerError(_message_of(answer))
        return answer


async def _ended(process: asyncio.subprocess.Process) -> None:
    try:
        await asyncio.wait_for(process.wait(), STOP_S)
    except TimeoutError:
        process.kill()
        await process.wait()


async def _exchange(port: int, method: str, path: str, body: bytes) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        head = f"{method} {path} HTTP/1.1\r\nhost: model\r\nconnection: close\r\n"
        writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        answered_head, _, answer = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
    if not answered_head:
        raise ModelServerError(f"the model server closed the connection on {method} {path}")
    return int(answered_head.split()[1]), answer


def _query(**given: float | None) -> str:
    return "&".join(f"{name}={value}" for name, value in given.items() if value is not None)


def _message_of(answer: bytes) -> str:
    told: Any = msgspec.json.decode(answer)
    return str(told["error"]["message"])


def _only_given(rule: Rule) -> dict[str, object]:
    return {
        name: value for name, value in msgspec.structs.asdict(rule).items() if value is not None
    }
