"""Answers to this process's questions on the bus, told apart by a number in their reply subject."""

import asyncio
from collections.abc import Callable
from itertools import count

from nats.aio.msg import Msg

from teambus.bus.client import BusClient

NO_RESPONDERS = "503"


class Replies:
    """One subscription for all answers.

    The client's own requests draw random bytes and make a task for each; these do not, and a
    question costs half.
    """

    def __init__(self, client: BusClient) -> None:
        self._client = client
        self._prefix = ""
        self._numbers = count()
        self._open: dict[str, asyncio.Future[Msg | None]] = {}
        self._gathering: dict[str, Callable[[Msg], None]] = {}

    async def listen(self) -> None:
        """Call once, when connected: only then the client knows where it may listen."""
        self._prefix = self._client.new_inbox()
        await self._client.listen(f"{self._prefix}.*", self._on_message)

    async def ask(
        self, subject: str, data: bytes, headers: dict[str, str] | None, *, wait_s: float
    ) -> Msg | None:
        """Ask once; None when nobody listens or answers within `wait_s`."""
        reply = f"{self._prefix}.{next(self._numbers)}"
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Msg | None] = loop.create_future()
        self._open[reply] = answer
        timer = loop.call_later(wait_s, _give_up, answer)
        try:
            await self._client.publish(subject, data, reply=reply, headers=headers)
            return await answer
        finally:
            timer.cancel()
            del self._open[reply]

    async def gather(
        self, subject: str, data: bytes, is_last: Callable[[Msg], bool], *, wait_s: float
    ) -> list[Msg] | None:
        """Ask once for an answer in many messages; None when the last did not come in `wait_s`."""
        reply = f"{self._prefix}.{next(self._numbers)}"
        messages: list[Msg] = []
        whole = asyncio.Event()

        def take(message: Msg) -> None:
            messages.append(message)
            if is_last(message):
                whole.set()

        self._gathering[reply] = take
        try:
            async with asyncio.timeout(wait_s):
                await self._client.publish(subject, data, reply=reply)
                await whole.wait()
        except TimeoutError:
            return None
        finally:
            del self._gathering[reply]
        return messages

    def _on_message(self, message: Msg) -> None:
        answer = self._open.get(message.subject)
        if answer is None:
            gathering = self._gathering.get(message.subject)
            if gathering is not None:
                gathering(message)
            return
        if answer.done():
            return
        nobody = message.headers is not None and message.headers.get("Status") == NO_RESPONDERS
        answer.set_result(None if nobody and not message.data else message)


def _give_up(answer: "asyncio.Future[Msg | None]") -> None:
    if not answer.done():
        answer.set_result(None)
