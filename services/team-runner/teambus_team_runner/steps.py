"""Paid work, looked up in the journal before it is done and recorded there after."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

import structlog

from teambus.bus.journal import Journal
from teambus.contracts.journal import (
    ModelAnswer,
    ModelAnswered,
    RunPinned,
    ToolIntended,
    ToolResult,
    ToolReturned,
)
from teambus.domain.replay import Past
from teambus_team_runner.engine.cancellation import Cancellation
from teambus_team_runner.metrics import STEPS_REPLAYED, count_step

log = structlog.get_logger(__name__)

MODEL, TOOL = "model", "tool"

BeforeTry = Callable[[], Awaitable[None]]
Alone = Callable[[], AbstractAsyncContextManager[None]]


class JournaledSteps:
    """The steps of one attempt.

    A record is not awaited when it is made but before the next step, so that steps side by side,
    and a final answer and the end, share one append. What is pinned goes with the first paid step:
    until something is paid, a later attempt may as well begin anew.

    `alone` is for a run that has killed its runners, it seems: until it makes a step, users' code
    is called in it, with nobody there to be killed too.
    """

    def __init__(
        self,
        journal: Journal,
        past: Past,
        cancellation: Cancellation,
        *,
        fresh_s: float,
        alone: Alone | None = None,
    ) -> None:
        self._journal = journal
        self._past = past
        self.cancellation = cancellation
        self._fresh_s = fresh_s
        self._alone = alone
        self._turn = asyncio.Lock()
        self._unwritten: RunPinned | None = None

    async def pin(self, make: Callable[[], Awaitable[RunPinned]]) -> RunPinned:
        if self._past.pinned is not None:
            return self._past.pinned
        async with self.cancellation.while_wanted():
            self._unwritten = await make()
        return self._unwritten

    async def model(
        self, path: str, digest: str, call: Callable[[BeforeTry], Awaitable[ModelAnswer]]
    ) -> ModelAnswered:
        recorded = self._past.answers.get(path)
        if recorded is not None and recorded.digest == digest:
            STEPS_REPLAYED.labels(MODEL).inc()
            return recorded
        if recorded is not None:
            log.warning(
                "the code changed since this step was recorded: it is done again, as is all after",
                step=path,
            )
            self._past.branch_at(path)
        await self._journal.settled()
        async with self.cancellation.while_wanted():
            began = time.perf_counter()
            answer = await call(self.prove)
            count_step(MODEL, began)
        made = ModelAnswered(path=path, digest=digest, answer=answer, at=time.time())
        self._advance(made)
        return made

    async def tool(
        self, path: str, digest: str, call: Callable[[], Awaitable[ToolResult]]
    ) -> ToolReturned:
        if (recorded := self._returned_before(path, digest)) is not None:
            return recorded
        await self._journal.settled()
        async with self.cancellation.while_wanted(), self.users_code():
            await self.prove()
            result = await _timed(call)
        return self._returned(path, digest, result)

    async def tool_once(
        self, path: str, digest: str, call: Callable[[], Awaitable[ToolResult]], *, tool: str
    ) -> ToolReturned:
        if (recorded := self._returned_before(path, digest)) is not None:
            return recorded
        if (intent := self._past.intents.get(path)) is not None and intent.digest == digest:
            return self._returned(path, digest, _unknown(tool))
        for earlier in self._past.left_behind(digest):
            return self._returned(path, digest, earlier.result if earlier else _unknown(tool))
        async with self.cancellation.while_wanted(), self.users_code():
            self._note(ToolIntended(path=path, digest=digest, tool=tool, at=time.time()))
            await self._journal.settled()
            await self.prove()
            result = await _timed(call)
        return self._returned(path, digest, result)

    def _returned_before(self, path: str, digest: str) -> ToolReturned | None:
        recorded = self._past.results.get(path)
        if recorded is None or recorded.digest != digest:
            return None
        STEPS_REPLAYED.labels(TOOL).inc()
        return recorded

    def _returned(self, path: str, digest: str, result: ToolResult) -> ToolReturned:
        made = ToolReturned(path=path, digest=digest, result=result, at=time.time())
        self._advance(made)
        return made

    def _advance(self, record: ModelAnswered | ToolReturned) -> None:
        self._note(record)
        self._alone = None

    def _note(self, record: ModelAnswered | ToolReturned | ToolIntended) -> None:
        if self._unwritten is not None:
            self._journal.add(self._unwritten)
            self._unwritten = None
        self._journal.add(record)

    def users_code(self) -> AbstractAsyncContextManager[None]:
        return nullcontext() if self._alone is None else self._apart()

    @asynccontextmanager
    async def _apart(self) -> AsyncIterator[None]:
        """Calls side by side take turns: each would wait for the others to be gone."""
        async with self._turn:
            alone = self._alone or nullcontext
            async with alone():
                yield

    async def settled(self) -> None:
        await self._journal.settled()

    async def prove(self) -> None:
        """The fence, before anything that costs: this runner still holds the run."""
        await self._journal.prove(self._fresh_s)


async def _timed(call: Callable[[], Awaitable[ToolResult]]) -> ToolResult:
    began = time.perf_counter()
    result = await call()
    count_step(TOOL, began)
    return result


def _unknown(tool: str) -> ToolResult:
    log.warning("a tool is not called again; its outcome is unknown", tool=tool)
    text = (
        f"The outcome of {tool} is unknown: the process that called it died before it returned."
        " It may have taken effect, so it was not called again. Find out before you call it again."
    )
    return ToolResult(content=text, error=True, started_at=time.time())
