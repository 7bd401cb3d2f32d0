"""Reading single messages of a stream, from its leader where a decision hangs on it."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
from nats.aio.msg import Msg

from teambus.bus.connection import Bus
from teambus.bus.errors import BusRefused, BusUnavailable, NotPermitted
from teambus.bus.publish import ApiError
from teambus.bus.violations import MEND

NOT_FOUND = 404
NOT_NOW = 503
END_OF_PAGE = 204
STREAM_MISSING = 10059
CONFIRM_PAUSE_S = 0.1
INFO = b'{"type":"io.nats.jetstream.api.v1.stream_info_response"'
ANY_REPLICA = "$JS.API.DIRECT.GET."


@dataclass(frozen=True, slots=True)
class Stored:
    """A message as a stream holds it."""

    subject: str
    seq: int
    data: bytes
    headers: dict[str, str]
    time: str = ""

    @property
    def stored_at(self) -> float:
        """When the server took it, in seconds since 1970, by the server's clock."""
        return datetime.fromisoformat(self.time).timestamp()


class _Message(msgspec.Struct, frozen=True):
    subject: str
    seq: int
    data: str = ""
    hdrs: str = ""
    time: str = ""


class _Answer(msgspec.Struct, frozen=True):
    message: _Message | None = None
    error: ApiError | None = None


class Bounds(msgspec.Struct, frozen=True):
    """The sequences of a stream's oldest message and of the newest it ever had."""

    first_seq: int
    last_seq: int


class _Replica(msgspec.Struct, frozen=True):
    """A follower; `active` is how many nanoseconds ago its leader heard from it, 0: never."""

    current: bool = False
    active: int = 0

    def was_heard(self, within_s: float) -> bool:
        return 0 < self.active < within_s * 1e9


class _Cluster(msgspec.Struct, frozen=True):
    leader: str = ""
    replicas: list[_Replica] = []

    @property
    def is_whole(self) -> bool:
        """Whether there is a leader, and somebody follows it."""
        followed = not self.replicas or any(each.current for each in self.replicas)
        return bool(self.leader) and followed

    def led(self, within_s: float) -> bool:
        """Whether a majority followed the leader in the last `within_s` seconds."""
        heard = sum(each.was_heard(within_s) for each in self.replicas)
        return bool(self.leader) and heard + 1 > (len(self.replicas) + 1) / 2


class _Info(msgspec.Struct, frozen=True):
    cluster: _Cluster | None = None
    state: Bounds | None = None
    error: ApiError | None = None


_answer = msgspec.json.Decoder(_Answer)
_info = msgspec.json.Decoder(_Info)


async def last(
    bus: Bus, stream: str, subject: str, *, patience_s: float | None = None
) -> Stored | None:
    """The last message of a subject, as the stream's leader knows it."""
    return await _leader_read(bus, stream, {"last_by_subj": subject}, patience_s)


async def at(bus: Bus, stream: str, seq: int) -> Stored | None:
    """The message with this sequence, as the stream's leader knows it."""
    return await _leader_read(bus, stream, {"seq": seq})


async def history(
    bus: Bus, stream: str, subject: str, *, until: int, messages_max: int, start: int = 1
) -> AsyncIterator[Stored]:
    """The first `messages_max` messages of a subject from the sequence `start` up to `until`,
    oldest first, from the leader.
    """
    seq = start
    for _ in range(messages_max):
        found = await _leader_read(bus, stream, {"seq": seq, "next_by_subj": subject})
        if found is None or found.seq > until:
            return
        yield found
        if found.seq == until:
            return
        seq = found.seq + 1


async def first_since(bus: Bus, stream: str, subject: str, when: datetime) -> Stored | None:
    """The first message of a subject that was stored then or later, from the leader."""
    query = {"start_time": when.astimezone(UTC).isoformat(), "next_by_subj": subject}
    return await _leader_read(bus, stream, query)


async def remove(bus: Bus, stream: str, seq: int) -> bool:
    """Take one message out of a stream; False when it was not there any more."""
    body = msgspec.json.encode({"seq": seq, "no_erase": True})
    reply = await call(bus, f"$JS.API.STREAM.MSG.DELETE.{stream}", body)
    error = _answer.decode(reply.data).error
    if error is None:
        return True
    # What is not there is refused in as many ways as it can be gone; so ask whether it is.
    if await at(bus, stream, seq) is None:
        return False
    raise BusRefused(f"{stream}: {error.description}", error.err_code)


async def bounds(bus: Bus, stream: str) -> Bounds:
    """From where to where a stream reaches, as its leader knows it."""
    reply = await call(bus, f"$JS.API.STREAM.INFO.{stream}", b"")
    answer = _told(stream, reply.data)
    assert answer.state is not None, reply.data
    return answer.state


async def confirm(bus: Bus, stream: str, *, patience_s: float | None = None) -> None:
    """Return once a majority of a stream's servers followed its leader after this was called.

    A leader that is cut off from the others answers from its old state for up to 20 seconds, so
    what seems missing is gone only if it is missing after this too. With one server this is one
    question; with more it takes until they next hear of each other, a second where nothing is
    written. Raises `BusUnavailable` when there is no such leader within the patience.
    """
    limit_s = bus.settings.publish_patience_s if patience_s is None else patience_s
    began = time.monotonic()
    while True:
        asked = time.monotonic()
        left_s = max(0, began + limit_s - asked)
        reply = await call(bus, f"$JS.API.STREAM.INFO.{stream}", b"", patience_s=left_s)
        cluster = _told(stream, reply.data).cluster
        if cluster is None or cluster.led(asked - began):
            return
        if time.monotonic() - began >= limit_s:
            raise BusUnavailable(f"{stream}: its leader is followed by no majority")
        await asyncio.sleep(CONFIRM_PAUSE_S)


async def last_nearby(bus: Bus, stream: str, subject: str) -> Stored | None:
    """The last message of a subject from any replica: may miss the newest, never invents.

    For waiting only, where it is asked again.
    """
    reply = await call(bus, f"{ANY_REPLICA}{stream}.{subject}", b"")
    headers = dict(reply.headers or {})
    if headers.get("Status") == str(NOT_FOUND):
        return None
    if "Status" in headers:
        raise BusUnavailable(f"{stream}: {headers.get('Description', headers['Status'])}")
    return _direct(reply)


async def page(
    bus: Bus, stream: str, subject: str, *, start: int, messages_max: int, bytes_max: int
) -> list[Stored]:
    """The next messages of a subject from the sequence `start`, oldest first, in one question.

    From any replica: may miss the newest. Never more than `messages_max`, and no further one
    after `bytes_max` bytes. Raises `BusUnavailable` at once when nothing answers.
    """
    query = {
        "seq": start,
        "next_by_subj": subject,
        "batch": messages_max,
        "max_bytes": bytes_max,
    }
    asked = f"{ANY_REPLICA}{stream}"
    messages = await bus.request_many(asked, msgspec.json.encode(query), _is_status)
    if messages is None:
        raise BusUnavailable(f"{asked}: no answer")
    headers = dict(messages.pop().headers or {})
    if headers["Status"] not in (str(END_OF_PAGE), str(NOT_FOUND)):
        raise BusUnavailable(f"{stream}: {headers.get('Description', headers['Status'])}")
    return [_direct(message) for message in messages]


async def call(bus: Bus, subject: str, data: bytes, *, patience_s: float | None = None) -> Msg:
    """Ask the server's API, again if it does not answer, for `patience_s` seconds at most."""
    limit_s = bus.settings.publish_patience_s if patience_s is None else patience_s
    deadline = time.monotonic() + limit_s
    while True:
        reply = await bus.request(subject, data)
        if reply is not None and not _is_not_now(reply.data):
            if not subject.startswith(ANY_REPLICA):
                bus.answered("read")
            return reply
        if bus.violations.has(subject):
            raise NotPermitted(f"{subject}: not permitted on the bus; {MEND}")
        bus.unanswered("read")
        if time.monotonic() >= deadline:
            raise BusUnavailable(f"{subject}: no answer within {limit_s:g} s")
        await asyncio.sleep(0.1)


def _is_not_now(data: bytes) -> bool:
    """Whether the API cannot answer at the moment, as during an election.

    A node cut off from the others tells of a stream what it last heard, without saying so.
    """
    if data.startswith(INFO):
        cluster = _info.decode(data).cluster
        return cluster is not None and not cluster.is_whole
    if b'"code":503' not in data[:256].replace(b" ", b""):
        return False
    error = _answer.decode(data).error
    return error is not None and error.code == NOT_NOW


def _told(stream: str, data: bytes) -> _Info:
    answer = _info.decode(data)
    if answer.error is not None:
        raise BusRefused(f"{stream}: {answer.error.description}", answer.error.err_code)
    return answer


async def _leader_read(
    bus: Bus, stream: str, query: dict[str, Any], patience_s: float | None = None
) -> Stored | None:
    subject = f"$JS.API.STREAM.MSG.GET.{stream}"
    reply = await call(bus, subject, msgspec.json.encode(query), patience_s=patience_s)
    answer = _answer.decode(reply.data)
    if answer.error is not None:
        if answer.error.code == NOT_FOUND and answer.error.err_code != STREAM_MISSING:
            return None
        raise BusRefused(f"{stream}: {answer.error.description}", answer.error.err_code)
    assert answer.message is not None, reply.data
    found = answer.message
    return Stored(
        found.subject,
        found.seq,
        base64.b64decode(found.data),
        _headers(base64.b64decode(found.hdrs)),
        found.time,
    )


def _direct(message: Msg) -> Stored:
    headers = dict(message.headers or {})
    return Stored(
        headers["Nats-Subject"],
        int(headers["Nats-Sequence"]),
        message.data,
        headers,
        headers.get("Nats-Time-Stamp", ""),
    )


def _is_status(message: Msg) -> bool:
    """Whether this is not a stored message but the server's word about the question."""
    return not message.data and "Status" in (message.headers or {})


def _headers(block: bytes) -> dict[str, str]:
    """The header lines of a stored message; the first line is the protocol's version."""
    lines = block.decode("utf-8", "replace").split("\r\n")[1:]
    pairs = (line.partition(":") for line in lines if line)
    return {name.strip(): value.strip() for name, _, value in pairs}
