"""The same gateway for programs on the bus: `run.start`, `run.wait` and `run.cancel` by
request-reply.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import (
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    nullcontext,
)
from typing import TypeVar

import msgspec
import structlog

from teambus.bus.api import Answer, Question, Reply, answering
from teambus.bus.bodies import Bodies
from teambus.bus.connection import Bus
from teambus.bus.waiter import RunKey
from teambus.contracts import headers as names
from teambus.contracts import subjects
from teambus.contracts.ids import TEXT_ID_RULE, RunId, is_text_id, new_id, token
from teambus.contracts.run import Continuation, RunRequest
from teambus.contracts.runs_api import CancelThisRun, RunStarted, StartRun, WaitForRun
from teambus.contracts.tracing import TraceContext
from teambus.domain.media import mistake_in
from teambus_gateway.fields import check_json
from teambus_gateway.parts import Parts
from teambus_gateway.problems import Problem
from teambus_gateway.room import Hold
from teambus_gateway.submission import Origin, Submission, check_run_id, session_of
from teambus_gateway.traced import serving

log = structlog.get_logger(__name__)

QUEUE = "gateway"
S = TypeVar("S", bound=msgspec.Struct)


class Questions:
    """Answers questions about runs, in the tenant their subject names."""

    def __init__(self, bus: Bus, parts: Parts) -> None:
        self._bodies = Bodies(bus)
        self._parts = parts

    async def start(self, question: Question) -> Reply | None:
        return await self._told(self._start, question)

    async def wait(self, question: Question) -> Reply | None:
        return await self._told(self._wait, question)

    async def cancel(self, question: Question) -> Reply | None:
        return await self._told(self._cancel, question)

    async def _told(self, answer: Answer, question: Question) -> Reply | None:
        try:
            with self._parts.door, self._serving(question):
                return await answer(question)
        except Problem as problem:
            log.debug("refused", subject=question.subject, detail=problem.detail)
            said = problem.detail if isinstance(problem.detail, str) else "the request is not valid"
            reply = Reply.error(problem.status, said, problem.body())
            if problem.retry_after_s is not None:
                reply.headers[names.RETRY_AFTER] = str(problem.retry_after_s)
            return reply

    def _serving(self, question: Question) -> AbstractContextManager[object]:
        if (tracer := self._parts.tracer) is None:
            return nullcontext()
        verb = ".".join(question.subject.split(".")[-2:])
        return serving(tracer, TraceContext.of(question.headers), name=verb)

    async def _start(self, question: Question) -> Reply:
        with self._parts.room.hold() as hold:
            data = await self._body(question, hold)
            asked = _submission(question.tenant, _read(StartRun, data))
        await self._parts.catalogue.component(None, asked.team_id)
        seq = await self._parts.runs.start(asked)
        request = asked.request
        assert request.session_id is not None, request
        event = subjects.event(asked.tenant, asked.team_id, request.run_id, "completed")
        started = RunStarted(
            run_id=request.run_id, session_id=request.session_id, seq=seq, event_subject=event
        )
        if request.stream:
            started.frame_subject = subjects.frames(asked.tenant, request.run_id)
            started.live_subject = subjects.live_frames(asked.tenant, request.run_id)
        return Reply(msgspec.json.encode(started))

    async def _body(self, question: Question, hold: Hold) -> bytes:
        """The question's body, which takes room like one that comes over HTTP."""
        name = question.headers.get(names.BODY)
        entry = None if name is None else await self._bodies.find(name)
        hold.grow(len(question.data) if entry is None else entry.size)
        hold.check()
        return await self._bodies.load(question.data, question.headers)

    async def _wait(self, question: Question) -> Reply:
        wanted = _read(WaitForRun, question.data)
        await self._parts.catalogue.component(None, wanted.team_id)
        wait_s = min(max(wanted.timeout_s, 0), self._parts.runs.limits.reply_timeout_s)
        run = RunKey(question.tenant, wanted.team_id, wanted.run_id)
        end = await self._parts.runs.wait(run, wait_s)
        if end is None and self._parts.door.shut.is_set():
            detail = "this gateway is stopping and the run goes on; ask again"
            raise Problem(503, detail, "draining", run_id=wanted.run_id)
        if end is None:
            detail = f"the run has not ended within {wait_s:g} s; ask again"
            raise Problem(504, detail, "reply_timeout", run_id=wanted.run_id)
        data, headers = await self._bodies.fit(end.event, owner=token(wanted.run_id))
        return Reply(data, headers)

    async def _cancel(self, question: Question) -> Reply:
        wanted = _read(CancelThisRun, question.data)
        await self._parts.catalogue.component(None, wanted.team_id)
        await self._parts.cancelling.order(
            question.tenant, wanted.team_id, wanted.run_id, reason=wanted.reason
        )
        return Reply(b"{}")


@asynccontextmanager
async def answering_questions(
    bus: Bus,
    parts: Parts,
    *,
    at_once_max: int,
    until: asyncio.Event | None = None,
) -> AsyncIterator[None]:
    """Answer together with all other gateways while the block runs; take none after `until`."""
    questions = Questions(bus, parts)
    verbs = {
        "run.start": questions.start,
        "run.wait": questions.wait,
        "run.cancel": questions.cancel,
    }
    async with AsyncExitStack() as stack:
        for verb, answer in verbs.items():
            subject = subjects.api("*", verb)
            await stack.enter_async_context(
                answering(
                    bus,
                    subject,
                    answer,
                    queue=QUEUE,
                    at_once_max=at_once_max,
                    until=until,
                )
            )
        yield


def _read(kind: type[S], data: bytes) -> S:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(422, f"not a {kind.__name__}: {error}", "malformed_request") from error


def _submission(tenant: str, asked: StartRun) -> Submission:
    run_id = asked.run_id or new_id()
    origin: Origin = "chosen" if asked.run_id else "fresh"
    try:
        _check(asked, run_id)
    except ValueError as error:
        raise Problem(422, str(error), "malformed_request") from error
    request = RunRequest(
        run_id=run_id,
        input=asked.input,
        session_id=asked.session_id or session_of(run_id, origin),
        user_id=asked.user_id,
        session_state=asked.session_state,
        dependencies=asked.dependencies,
        metadata=asked.metadata,
        add_history_to_context=asked.add_history_to_context,
        stream=asked.stream,
        media=asked.media,
        continues=asked.continues,
    )
    return Submission(tenant, asked.team_id, request, origin)


def _check_continuation(asked: StartRun, continues: Continuation) -> None:
    """Raises `ValueError`."""
    if asked.session_id is None:
        raise ValueError("a run that continues another needs its session_id")
    if not is_text_id(continues.run_id):
        raise ValueError(f"continues.run_id must have {TEXT_ID_RULE}")


def _check(asked: StartRun, run_id: RunId) -> None:
    """Raises `ValueError` for what a form would not let through either."""
    if not asked.input and asked.continues is None:
        raise ValueError("input is empty")
    if asked.continues is not None:
        _check_continuation(asked, asked.continues)
    for name in ("run_id", "session_id", "user_id"):
        if not is_text_id(getattr(asked, name) or "-"):
            raise ValueError(f"{name} must have {TEXT_ID_RULE}")
    check_run_id(run_id)
    if mistake := mistake_in(asked.media, run_id):
        raise ValueError(mistake)
    for name in ("session_state", "dependencies", "metadata"):
        check_json(getattr(asked, name))
