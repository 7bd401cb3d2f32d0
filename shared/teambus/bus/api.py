"""Request-reply on the bus: questions answered by whichever replica of a service is free."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

import msgspec
import nats.errors
import structlog
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from teambus.bus.connection import Bus
from teambus.bus.errors import BusError, BusUnavailable
from teambus.bus.leaving import leave
from teambus.bus.replies import NO_RESPONDERS
from teambus.contracts import headers as names
from teambus.contracts.subjects import ROOT

log = structlog.get_logger(__name__)

FINISH_S = 5
NO_PLACE_FOR_REPLIES = (f"{ROOT}.", "$")
"""Whoever asks names where the answer goes. What streams keep we write, and the server's own API
is asked, for ourselves alone: not as the answer to a question.
"""


class NobodyAnswers(BusError):
    """no service answers this question"""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. One that failed has `Nats-Service-Error-Code` among its headers."""

    data: bytes
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def error(cls, status: int, detail: str, body: bytes = b"") -> "Reply":
        line = " ".join(detail.split())[:200].encode("ascii", "replace").decode()
        return cls(body, {names.ERROR_CODE: str(status), names.ERROR_DETAIL: line})

    @property
    def error_code(self) -> str | None:
        return self.headers.get(names.ERROR_CODE)

    @property
    def error_detail(self) -> str:
        return self.headers.get(names.ERROR_DETAIL, "")


@dataclass(frozen=True, slots=True)
class Question:
    """A request as it arrived. Its subject is trusted, its data is not."""

    subject: str
    data: bytes
    headers: dict[str, str]

    @property
    def tenant(self) -> str:
        return self.subject.split(".")[3]


Answer: TypeAlias = Callable[[Question], Awaitable[Reply | None]]
"""None leaves the question to others: for what every process is asked, not any one."""


async def ask(
    bus: Bus, subject: str, data: bytes, *, wait_s: float, headers: dict[str, str] | None = None
) -> Reply:
    """Ask once. Raises `NobodyAnswers` or, without a reply in time, `BusUnavailable`."""
    try:
        message = await bus.client.request(subject, data, timeout=wait_s, headers=headers or None)
    except nats.errors.NoRespondersError as error:
        raise NobodyAnswers(subject) from error
    except (TimeoutError, nats.errors.Error) as error:
        raise BusUnavailable(f"{subject}: no answer within {wait_s:g} s") from error
    return Reply(message.data, dict(message.headers or {}))


async def ask_all(bus: Bus, subject: str, data: bytes, *, wait_s: float) -> list[Reply]:
    """Ask every process; what was answered within `wait_s`. At once [] when none is listening."""
    heard: list[Reply] = []
    nobody = asyncio.Event()

    async def hear(message: Msg) -> None:
        headers = dict(message.headers or {})
        if headers.get("Status") == NO_RESPONDERS:
            nobody.set()
        else:
            heard.append(Reply(message.data, headers))

    if not bus.connected:
        raise BusUnavailable("not connected to the bus")
    inbox = bus.client.new_inbox()
    subscription = await bus.client.subscribe(inbox, cb=hear)
    try:
        await bus.client.publish(subject, data, reply=inbox)
        async with asyncio.timeout(wait_s):
            await nobody.wait()
    except TimeoutError:
        pass
    finally:
        if not bus.client.is_closed:
            await subscription.unsubscribe()
    return heard


@asynccontextmanager
async def answering(
    bus: Bus,
    subject: str,
    answer: Answer,
    *,
    queue: str,
    at_once_max: int,
    until: asyncio.Event | None = None,
) -> AsyncIterator[None]:
    """Answer questions while the block runs, each in a task of its own, `at_once_max` at most;
    others are asked to come again.

    Of all that name the same `queue` one is asked; with an empty one, each is.
    None are taken any more once `until` is set. At the end those that were taken have `FINISH_S`,
    and then are told to ask again.
    """
    desk = _Desk(bus, answer, at_once_max)
    subscription = await bus.client.subscribe(subject, queue=queue, cb=desk.on_message)
    over = until or asyncio.Event()
    leaving = asyncio.create_task(_leave_when(over, bus, subscription), name="leave the desk")
    try:
        await bus.barrier()
        yield
    finally:
        over.set()
        await leaving
        await desk.close()


async def _leave_when(over: asyncio.Event, bus: Bus, subscription: Subscription) -> None:
    await over.wait()
    await leave(bus, subscription)


class _Desk:
    """Takes questions and sends answers."""

    def __init__(self, bus: Bus, answer: Answer, at_once_max: int) -> None:
        self._bus = bus
        self._answer = answer
        self._at_once_max = at_once_max
        self._busy = _busy(bus.settings.retry_after_s)
        self._open: set[asyncio.Task[None]] = set()

    async def on_message(self, message: Msg) -> None:
        if not message.reply or message.reply.startswith(NO_PLACE_FOR_REPLIES):
            return
        if len(self._open) >= self._at_once_max:
            await self._send(message, self._busy)
            return
        task = asyncio.create_task(self._serve(message))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def close(self) -> None:
        if self._open:
            await asyncio.wait(tuple(self._open), timeout=FINISH_S)
        for task in tuple(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, message: Msg) -> None:
        question = Question(message.subject, message.data, dict(message.headers or {}))
        try:
            reply = await self._answer(question)
        except asyncio.CancelledError:
            await self._send(
                message, Reply.error(503, "stopping before it was answered; ask again")
            )
            raise
        except Exception as error:  # Whoever asked must hear that it failed.
            log.error("could not answer", subject=message.subject, exc_info=error)
            reply = Reply.error(500, f"internal error ({type(error).__name__})")
        if reply is not None:
            await self._send(message, reply)

    async def _send(self, message: Msg, reply: Reply) -> None:
        if not self._bus.client.is_closed:
            headers = reply.headers or None
            await self._bus.client.publish(message.reply, reply.data, headers=headers)


def _busy(retry_after_s: int) -> Reply:
    detail = "too many questions at once; ask again"
    body = msgspec.json.encode({"detail": detail, "code": "too_many_questions"})
    reply = Reply.error(503, detail, body)
    reply.headers[names.RETRY_AFTER] = str(retry_after_s)
    return reply
