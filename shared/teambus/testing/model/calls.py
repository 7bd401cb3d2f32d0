"""The memory of calls: who asked what, how it ended, and a way to wait for either."""

import asyncio
import hashlib
import os
import time
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from teambus.testing.model.parts import SeenFile
from teambus.testing.model.wire import ChatRequest, digest_of

REMEMBERED_MAX = 20_000
LAG_S = 0.05
_PREFIX_LENGTH = 200


class ScriptedCall(msgspec.Struct, kw_only=True, gc=False):
    """One call to the model as its client made it; one line of the log when it begins and ends.

    `at` and `ended_at` are seconds since the epoch. An outcome is "answered", "status 429",
    "garbage", "dropped", "client gone" or "stopped" (the server was); None while it is open.
    """

    n: int
    at: float
    phase: Literal["begin", "end"] = "begin"
    model: str = ""
    digest: str = ""
    stream: bool = False
    last_role: str = ""
    last_content: str = ""
    system: str = ""
    tools: tuple[str, ...] = ()
    files: tuple[SeenFile, ...] = ()
    authorization: str = ""
    user_agent: str = ""
    outcome: str | None = None
    ended_at: float | None = None


class Calls(msgspec.Struct, kw_only=True):
    """What `GET /_calls` answers: counts of all calls since the start, and the asked ones.

    `unlisted` of those are too old to be remembered one by one.
    """

    begun: int
    ended: int
    unlisted: int
    reached: bool
    calls: list[ScriptedCall]


class Asked(NamedTuple):
    """What a call came with. The request is None when it could not be read."""

    request: ChatRequest | None
    body: bytes
    authorization: bytes
    user_agent: bytes


class CallLog:
    """Remembers the latest calls and appends each one's beginning and end to a file.

    Describing and writing a call costs as much as answering it, so that is done for many at once:
    within `LAG_S`, before anyone is told of calls, and when `write` or `close` asks for it. Only a
    server that is killed takes what it had not written with it.
    """

    def __init__(self, path: Path | None = None) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        self._file = None if path is None else os.open(path, flags, 0o600)
        self._calls: deque[ScriptedCall] = deque(maxlen=REMEMBERED_MAX)
        # What has not been written: a call that began has what it came with, one that ended None.
        self._news: list[tuple[ScriptedCall, Asked | None]] = []
        self._encode = msgspec.json.Encoder().encode
        self._waiting: set[asyncio.Event] = set()
        self.begun = 0
        self.forgotten = 0
        self.ended = 0

    def begin(self, asked: Asked) -> ScriptedCall:
        self.begun += 1
        call = ScriptedCall(n=self.begun, at=time.time())
        self._calls.append(call)
        self._note(call, asked)
        return call

    def end(self, call: ScriptedCall, outcome: str) -> None:
        self.ended += 1
        call.phase, call.outcome, call.ended_at = "end", outcome, time.time()
        self._note(call, None)

    def write(self) -> None:
        """Bring memory and file up to date."""
        news, self._news = self._news, []
        lines = [self._line(call, asked) for call, asked in news]
        if self._file is not None and lines:
            os.write(self._file, b"".join(lines))

    def forget(self) -> None:
        """Leave the calls so far out of answers, also those still open when they end."""
        self.forgotten = self.begun

    def since(self, n: int, *, reached: bool) -> Calls:
        self.write()
        calls = [call for call in self._calls if call.n > n]
        return Calls(
            begun=self.begun,
            ended=self.ended,
            unlisted=max(0, self.begun - n - len(calls)),
            reached=reached,
            calls=calls,
        )

    def begun_since(self, n: int) -> int:
        return max(0, self.begun - n)

    def ended_since(self, n: int) -> int:
        return sum(call.n > n and call.outcome is not None for call in self._calls)

    async def wait(self, reached: Callable[[], bool], timeout_s: float) -> bool:
        """Whether it was reached in time."""
        changed = asyncio.Event()
        self._waiting.add(changed)
        try:
            async with asyncio.timeout(timeout_s):
                while not reached():
                    await changed.wait()
                    changed.clear()
        except TimeoutError:
            return reached()
        finally:
            self._waiting.discard(changed)
        return True

    def close(self) -> None:
        self.write()
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _note(self, call: ScriptedCall, asked: Asked | None) -> None:
        if not self._news:
            asyncio.get_running_loop().call_later(LAG_S, self.write)
        self._news.append((call, asked))
        for changed in self._waiting:
            changed.set()

    def _line(self, call: ScriptedCall, asked: Asked | None) -> bytes:
        if asked is not None:
            _describe(call, asked)
            call = msgspec.structs.replace(call, phase="begin", outcome=None, ended_at=None)
        return self._encode(call) + b"\n"


def _describe(call: ScriptedCall, asked: Asked) -> None:
    call.digest = digest_of(asked.body)
    call.authorization = _fingerprint(asked.authorization)
    call.user_agent = asked.user_agent.decode("latin-1")
    if (request := asked.request) is None:
        return
    last = request.messages[-1]
    call.model = request.model
    call.stream = bool(request.stream)
    call.last_role = last.role
    call.last_content = last.text[:_PREFIX_LENGTH]
    call.system = request.system_text[:_PREFIX_LENGTH]
    call.tools = tuple(request.tool_names)
    call.files = tuple(request.files)


@lru_cache(maxsize=256)
def _fingerprint(authorization: bytes) -> str:
    """Enough to tell two keys apart, nothing to learn one from."""
    return hashlib.sha256(authorization).hexdigest()[:12] if authorization else ""
