"""Asking the server about streams and consumers, and telling it how they are to be."""

from typing import Any

import msgspec

from teambus.bus import reads
from teambus.bus.connection import Bus
from teambus.bus.errors import BusRefused

CONSUMER_MISSING = 10014


async def ask(
    bus: Bus, verb: str, body: dict[str, Any] | None = None, *, patience_s: float | None = None
) -> dict[str, Any]:
    """The server's answer; raises `BusRefused` with its reason."""
    data = b"" if body is None else msgspec.json.encode(body)
    reply = await reads.call(bus, f"$JS.API.{verb}", data, patience_s=patience_s)
    answer: dict[str, Any] = msgspec.json.decode(reply.data)
    if error := answer.get("error"):
        raise BusRefused(error.get("description", "refused"), error.get("err_code", 0))
    return answer


async def look(bus: Bus, verb: str, *, missing: int) -> dict[str, Any] | None:
    """The answer, None when the server says by the code `missing` that there is no such thing."""
    try:
        return await ask(bus, verb)
    except BusRefused as refusal:
        if refusal.err_code == missing:
            return None
        raise


async def consumers(bus: Bus, stream: str) -> list[dict[str, Any]]:
    """Every consumer of a stream, with its configuration and how it stands."""
    found: dict[str, dict[str, Any]] = {}
    while True:
        answer = await ask(bus, f"CONSUMER.LIST.{stream}", {"offset": len(found)})
        page = {each["name"]: each for each in answer.get("consumers") or []}
        found |= page
        if answer.get("missing") or (not page and len(found) < answer["total"]):
            raise BusRefused(f"{stream}: not every consumer could be asked", 0)
        if len(found) >= answer["total"]:
            return list(found.values())


async def counts(bus: Bus, stream: str, pattern: str) -> dict[str, int]:
    """How many messages each subject has that matches."""
    found: dict[str, int] = {}
    while True:
        query = {"subjects_filter": pattern, "offset": len(found)}
        answer = await ask(bus, f"STREAM.INFO.{stream}", query)
        page = answer["state"].get("subjects") or {}
        found |= page
        if not page or len(found) >= answer.get("total", 0):
            return found


async def pending(bus: Bus, stream: str, patterns: list[str], *, start: int) -> int:
    """How many messages that match a stream has from the sequence `start` on."""
    asked = {
        "stream_name": stream,
        "action": "create",
        "config": {
            "ack_policy": "none",
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": start,
            "filter_subjects": patterns,
            "inactive_threshold": 10_000_000_000,
            "mem_storage": True,
            "num_replicas": 1,
        },
    }
    made = await ask(bus, f"CONSUMER.CREATE.{stream}", asked)
    await delete_consumer(bus, stream, made["name"])
    return int(made["num_pending"])


async def delete_consumer(bus: Bus, stream: str, name: str) -> None:
    await look(bus, f"CONSUMER.DELETE.{stream}.{name}", missing=CONSUMER_MISSING)
