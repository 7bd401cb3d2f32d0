"""Durable publishing: repeat with the same id until the bus has answered, one way or the other."""

import asyncio
import random
import time
from dataclasses import dataclass

import msgspec

from teambus.bus.connection import Bus
from teambus.bus.errors import (
    BusRefused,
    BusUnavailable,
    NotPermitted,
    QuotaExceeded,
    StreamFull,
    WrongLastSequence,
)
from teambus.bus.violations import MEND
from teambus.contracts import headers as names

WRITE_IN_FLIGHT = 10164
REPEAT_IN_FLIGHT = 10158
WRONG_LAST_SEQUENCE = 10071
OVER_A_LIMIT = 10077
QUOTA_TEXT = "maximum messages per subject"


class ApiError(msgspec.Struct, frozen=True):
    """The error part of a JetStream answer."""

    code: int = 0
    err_code: int = 0
    description: str = ""


class Ack(msgspec.Struct, frozen=True):
    """What JetStream answers to a publish."""

    stream: str = ""
    seq: int = 0
    duplicate: bool = False
    error: ApiError | None = None


@dataclass(frozen=True, slots=True)
class Publication:
    """A message on its way. `msg_id` makes repeats harmless; `after` is a compare-and-set on the
    last sequence of the subject (0 = the subject is empty).
    """

    subject: str
    data: bytes
    msg_id: str
    after: int | None = None
    headers: dict[str, str] | None = None

    def all_headers(self) -> dict[str, str]:
        headers = {**(self.headers or {}), names.MSG_ID: self.msg_id}
        if self.after is not None:
            headers[names.EXPECTED_LAST_SUBJECT_SEQUENCE] = str(self.after)
        return {name: names.plain(value) for name, value in headers.items()}


_ack = msgspec.json.Decoder(Ack)


async def publish(bus: Bus, message: Publication, *, patience_s: float | None = None) -> Ack:
    """Publish until answered, for `patience_s` seconds at most.

    Raises `WrongLastSequence` (may be one's own success after an unanswered try: look at the
    tail), `QuotaExceeded`, `StreamFull`, `BusRefused`, or `BusUnavailable` when nothing answered.
    """
    headers = message.all_headers()
    limit_s = bus.settings.publish_patience_s if patience_s is None else patience_s
    deadline = time.monotonic() + limit_s
    while True:
        ack = await _try(bus, message, headers)
        if ack is not None and not (ack.error and _worth_repeating(ack.error)):
            bus.answered("write")
            return _taken(ack)
        if bus.violations.has(message.subject):
            raise NotPermitted(f"{message.subject}: not permitted on the bus; {MEND}")
        bus.unanswered("write")
        if time.monotonic() >= deadline:
            reason = ack.error.description if ack and ack.error else "no answer"
            raise BusUnavailable(f"{message.subject}: {reason} within {limit_s:g} s")
        await asyncio.sleep(random.uniform(0.005, 0.05) if ack else 0.1)


async def _try(bus: Bus, message: Publication, headers: dict[str, str]) -> Ack | None:
    """One try; None when nothing answered, so that the outcome is unknown."""
    reply = await bus.request(message.subject, message.data, headers)
    return None if reply is None else _ack.decode(reply.data)


def _taken(ack: Ack) -> Ack:
    if ack.error is not None:
        raise _refusal(ack.error)
    return ack


def _worth_repeating(error: ApiError) -> bool:
    if error.err_code in (WRITE_IN_FLIGHT, REPEAT_IN_FLIGHT):
        return True
    return error.code == 503 and error.err_code != OVER_A_LIMIT


def _refusal(error: ApiError) -> BusRefused:
    if error.err_code == WRONG_LAST_SEQUENCE:
        return WrongLastSequence(error.description, error.err_code)
    if error.err_code == OVER_A_LIMIT and QUOTA_TEXT in error.description:
        return QuotaExceeded(error.description, error.err_code)
    if error.err_code == OVER_A_LIMIT:
        return StreamFull(error.description, error.err_code)
    return BusRefused(error.description, error.err_code)
