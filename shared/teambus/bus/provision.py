"""Making the bus what the topology says, and checking that it is.

One writer applies, any number of services verify. Applying again changes nothing; what the
server refuses to change is reported with its reason and left as it is.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog

from teambus.bus import catalogue, reads, topology
from teambus.bus.connection import Bus
from teambus.bus.errors import BusRefused, TopologyMismatch
from teambus.contracts.catalogue import AppDescription

log = structlog.get_logger(__name__)

LOOK_S = 0.5
CONSUMER_MISSING = 10014
STREAM_MISSING = 10059
FILTER_OVERLAP = 10100


async def provision(bus: Bus, app: AppDescription, settings: topology.TopologySettings) -> None:
    """Create or update every stream and this app's consumers, then put it in the catalogue."""
    for document in topology.streams(settings):
        await _apply_stream(bus, document)
    await catalogue.check_owners(bus, app)
    if app.components:
        await _apply_consumer(bus, topology.REQUESTS, topology.pool_consumer(app, settings))
    for hook in app.hooks:
        await _apply_consumer(bus, topology.EVENTS, topology.hook_consumer(hook, settings))
    await catalogue.put(bus, app)


@dataclass(frozen=True, slots=True)
class Consumer:
    """A consumer that is as it should be."""

    stream: str
    name: str
    ack_wait_s: float


async def verify_consumer(bus: Bus, stream: str, name: str) -> float:
    """The consumer's `ack_wait` in seconds; raises `TopologyMismatch` when it is not there."""
    config = await _info(bus, f"CONSUMER.INFO.{stream}.{name}", CONSUMER_MISSING)
    if config is None or topology.FINGERPRINT not in config.get("metadata", {}):
        raise TopologyMismatch(
            f"consumer {name} of {stream} is missing; run `teambus provision --app ...`"
        )
    return float(config["ack_wait"]) / 1e9


async def provisioned(bus: Bus, stream: str, name: str, *, wait_s: float) -> Consumer:
    """The consumer, once somebody has provisioned it; `TopologyMismatch` after `wait_s`."""
    deadline = time.monotonic() + wait_s
    while True:
        try:
            return Consumer(stream, name, await verify_consumer(bus, stream, name))
        except TopologyMismatch as missing:
            if time.monotonic() >= deadline:
                raise
            log.warning("waiting to be provisioned", why=str(missing))
        await asyncio.sleep(LOOK_S)


async def verify_stream(bus: Bus, name: str) -> None:
    """Raises `TopologyMismatch` unless the stream was made by `teambus provision`."""
    config = await _info(bus, f"STREAM.INFO.{name}", STREAM_MISSING)
    if config is None or topology.FINGERPRINT not in config.get("metadata", {}):
        raise TopologyMismatch(f"stream {name} is missing; run `teambus provision --app ...`")


async def _apply_stream(bus: Bus, document: dict[str, Any]) -> None:
    name = document["name"]
    current = await _info(bus, f"STREAM.INFO.{name}", STREAM_MISSING)
    if current is not None and _same(current, document):
        return
    verb = "CREATE" if current is None else "UPDATE"
    try:
        await _api(bus, f"STREAM.{verb}.{name}", document)
    except BusRefused as refusal:
        raise TopologyMismatch(f"stream {name} cannot be made as needed: {refusal}") from refusal
    log.info("stream applied", stream=name, verb=verb.lower())


async def _apply_consumer(bus: Bus, stream: str, document: dict[str, Any]) -> None:
    name = document["name"]
    current = await _info(bus, f"CONSUMER.INFO.{stream}.{name}", CONSUMER_MISSING)
    if current is not None and _same(current, document):
        return
    if current is not None:
        # Where a consumer begins cannot be changed later; it has begun already.
        document = {**document, "deliver_policy": current["deliver_policy"]}
    body = {"stream_name": stream, "config": document, "action": ""}
    try:
        await _api(bus, f"CONSUMER.CREATE.{stream}.{name}", body)
    except BusRefused as refusal:
        reason = str(refusal)
        if refusal.err_code == FILTER_OVERLAP:
            reason = "another app's runners already serve one of these teams or agents"
        raise TopologyMismatch(f"consumer {name} cannot be made: {reason}") from refusal
    log.info("consumer applied", stream=stream, consumer=name)


def _same(current: dict[str, Any], document: dict[str, Any]) -> bool:
    made = current.get("metadata", {}).get(topology.FINGERPRINT)
    return bool(made == document["metadata"][topology.FINGERPRINT])


async def _info(bus: Bus, verb: str, missing: int) -> dict[str, Any] | None:
    try:
        answer = await _api(bus, verb, None)
    except BusRefused as refusal:
        if refusal.err_code == missing:
            return None
        raise
    config: dict[str, Any] = answer["config"]
    return config


async def _api(bus: Bus, verb: str, body: dict[str, Any] | None) -> dict[str, Any]:
    data = b"" if body is None else msgspec.json.encode(body)
    reply = await reads.call(bus, f"$JS.API.{verb}", data)
    answer: dict[str, Any] = msgspec.json.decode(reply.data)
    if error := answer.get("error"):
        raise BusRefused(error.get("description", "refused"), error.get("err_code", 0))
    return answer
