"""A load generator light enough to share two cores with what it measures."""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import cast
from urllib.parse import urlencode

HOST = "127.0.0.1"
READ_S = 120


@dataclass(slots=True)
class Load:
    """What a round of requests gave: seconds each, and how long the round took."""

    times_s: list[float] = field(default_factory=list)
    ended_at: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    took_s: float = 0

    @property
    def rate(self) -> float:
        return len(self.times_s) / self.took_s if self.took_s else 0

    def steady_rate(self, concurrency: int) -> float:
        """Of those between the first and the last round of all connections, which begin and end
        together as they would not in a day's work.
        """
        ended = self.ended_at[2 * concurrency : -concurrency]
        assert len(ended) > concurrency, "too few requests for a rate"
        return (len(ended) - 1) / (ended[-1] - ended[0])

    def percentile_ms(self, share: float) -> float:
        ordered = sorted(self.times_s)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000


@dataclass(slots=True)
class Round:
    """What is still to be asked, by all connections together, and what came of the rest."""

    path: str
    form: Callable[[int], dict[str, str]]
    numbers: Iterator[int]
    load: Load

    def request(self, number: int) -> bytes:
        body = urlencode(self.form(number)).encode()
        head = (
            f"POST {self.path} HTTP/1.1\r\nhost: bench\r\n"
            "content-type: application/x-www-form-urlencoded\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


class Client(asyncio.Protocol):
    """One HTTP/1.1 connection kept alive; answers must say their length.

    It asks `number` first, then goes on until there are no more numbers, or it is cut off.
    """

    def __init__(self, asked: Round, number: int) -> None:
        self._round = asked
        self._number = number
        self._loop = asyncio.get_running_loop()
        self._answer = bytearray()
        self._whole = 0
        self._waits = False
        self.ended: asyncio.Future[None] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._ask(self._number)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if not self._whole:
            self._whole = _length(self._answer)
        if self._whole and len(self._answer) >= self._whole:
            self._take_answer()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waits:
            self._patience.cancel()
            self._fail(f"the connection ended: {exc!r}, after {bytes(self._answer[:200])!r}")
        self.ended.set_result(None)

    def _ask(self, number: int) -> None:
        self._answer.clear()
        self._whole, self._waits = 0, True
        request = self._round.request(number)
        self._patience = self._loop.call_later(READ_S, self._give_up)
        self._asked_at = time.perf_counter()
        self._transport.write(request)

    def _take_answer(self) -> None:
        self._waits = False
        self._patience.cancel()
        now = time.perf_counter()
        self._round.load.times_s.append(now - self._asked_at)
        self._round.load.ended_at.append(now)
        answer = self._answer
        if answer[9:12] != b"200" or len(answer) > self._whole or b'"ERROR"' in answer[:2500]:
            self._fail(bytes(answer[:500]).decode(errors="replace"))
        number = next(self._round.numbers, None)
        if number is None:
            self._transport.close()
        else:
            self._ask(number)

    def _give_up(self) -> None:
        self._waits = False
        self._fail(f"no whole answer in {READ_S} s")
        self._transport.abort()

    def _fail(self, why: str) -> None:
        self._round.load.failures.append(why)


def _length(answer: bytearray) -> int:
    """Of head and body together; 0 until the head is there."""
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return 0
    _, named, rest = bytes(answer[:end]).lower().partition(b"\r\ncontent-length:")
    assert named, f"an answer without a length: {bytes(answer[:end])!r}"
    return end + 4 + int(rest.partition(b"\r\n")[0])


async def run_load(
    port: int,
    path: str,
    form: Callable[[int], dict[str, str]],
    *,
    count: int,
    concurrency: int,
    spread_s: float = 0,
) -> Load:
    """Send `count` requests over `concurrency` connections, one after another on each.

    The connections begin within `spread_s`, evenly.
    """
    load = Load()
    asked = Round(path, form, iter(range(count)), load)

    async def begin(place: int) -> None:
        await asyncio.sleep(spread_s * place / concurrency)
        await _one_connection(port, asked)

    began = time.perf_counter()
    await asyncio.gather(*(begin(place) for place in range(concurrency)))
    load.took_s = time.perf_counter() - began
    return load


async def _one_connection(port: int, asked: Round) -> None:
    """A new one is opened for the next number when one was cut off."""
    loop = asyncio.get_running_loop()
    for number in asked.numbers:
        try:
            made = partial(Client, asked, number)
            _, client = await loop.create_connection(made, HOST, port)
        except OSError as error:
            asked.load.failures.append(repr(error))
        else:
            await client.ended
