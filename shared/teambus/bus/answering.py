"""Request-reply over the bus: one of a group answers each request, many at a time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog
from nats.aio.msg import Msg

from teambus.bus.connection import Bus
from teambus.contracts import headers as names

log = structlog.get_logger(__name__)

Answer = Callable[[str, bytes], Awaitable[bytes]]


class CannotAnswer(Exception):
    """The asker is told `code` and `detail` in headers, and an empty body."""

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


@asynccontextmanager
async def answering(
    bus: Bus, subject: str, group: str, answer: Answer, *, concurrency_max: int = 64
) -> AsyncIterator[None]:
    """Answer requests on `subject` while the block runs. `answer` gets subject and body.

    Over `concurrency_max` requests at once, further ones are told 503.
    """
    working: set[asyncio.Task[None]] = set()

    async def reply(message: Msg) -> None:
        body, headers = b"", {}
        try:
            body = await answer(message.subject, message.data)
        except CannotAnswer as error:
            headers = _error(error.code, error.detail)
        except Exception:
            log.exception("could not answer", subject=message.subject)
            headers = _error(500, "internal error")
        if not bus.client.is_closed:
            await bus.client.publish(message.reply, body, headers=headers or None)

    async def take(message: Msg) -> None:
        if not message.reply:
            return
        if len(working) >= concurrency_max:
            await bus.client.publish(message.reply, b"", headers=_error(503, "too many requests"))
            return
        task = asyncio.create_task(reply(message))
        working.add(task)
        task.add_done_callback(working.discard)

    subscription = await bus.client.subscribe(subject, queue=group, cb=take)
    try:
        yield
    finally:
        if not bus.client.is_closed:
            await subscription.unsubscribe()
        await asyncio.gather(*working, return_exceptions=True)


def _error(code: int, detail: str) -> dict[str, str]:
    line = " ".join(detail.split())
    return {names.ERROR_CODE: str(code), names.ERROR_DETAIL: line}
