"""Making the bus what the topology says, and checking that it is.

One writer applies, any number of services verify. Applying again changes nothing; what the
server refuses to change is reported with its reason and left as it is.
"""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import structlog

from teambus.bus import catalogue, leftovers, topology
from teambus.bus.connection import Bus
from teambus.bus.errors import BusRefused, TopologyMismatch
from teambus.bus.leftovers import Leftover
from teambus.bus.server_api import CONSUMER_MISSING, ask, look
from teambus.contracts.catalogue import AppDescription

log = structlog.get_logger(__name__)

LOOK_S = 0.5
STREAM_MISSING = 10059
FILTER_OVERLAP = 10100
OVERLAPS = {
    topology.REQUESTS: "another app's runners already serve one of these teams or agents",
    topology.REDRIVE: "another app has a hook of this name; rename one",
}


async def provision(
    bus: Bus,
    app: AppDescription,
    settings: topology.TopologySettings,
    *,
    prune: bool = False,
) -> list[Leftover]:
    """Create or update every stream and this app's consumers, then put it in the catalogue.

    What the app had before and has not now is given back. It stays on the bus, but with `prune`,
    which drops the deliveries to hooks; requests are never dropped.
    """
    await provision_streams(bus, settings)
    await catalogue.check_owners(bus, app)
    found: list[Leftover] = []
    if app.components:
        await _apply_consumer(bus, topology.REQUESTS, topology.pool_consumer(app, settings))
    for hook in app.hooks:
        found += await _apply_hook(bus, topology.hook_consumer(hook, settings), prune=prune)
        await _apply_consumer(bus, topology.REDRIVE, topology.redrive_consumer(hook, settings))
    found += await leftovers.former_hooks(bus, app, prune=prune)
    await catalogue.put(bus, app)
    return [*found, *await leftovers.unserved(bus, await catalogue.read(bus))]


async def provision_streams(bus: Bus, settings: topology.TopologySettings) -> None:
    """Create or update what all apps share."""
    for document in topology.streams(settings):
        await _apply_stream(bus, document)


@dataclass(frozen=True, slots=True)
class Consumer:
    """A consumer that is as it should be."""

    stream: str
    name: str
    ack_wait_s: float


async def verify_consumer(bus: Bus, stream: str, name: str) -> float:
    """The consumer's `ack_wait` in seconds; raises `TopologyMismatch` when it is not there."""
    config = await _config(bus, f"CONSUMER.INFO.{stream}.{name}", CONSUMER_MISSING)
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
    """Raises `TopologyMismatch` unless `teambus provision` made the stream, for all subjects that
    this version says there. One made by a later version may have more.
    """
    config = await _config(bus, f"STREAM.INFO.{name}", STREAM_MISSING)
    if config is None or topology.FINGERPRINT not in config.get("metadata", {}):
        raise TopologyMismatch(f"stream {name} is missing; run `teambus provision --app ...`")
    if unheard := topology.subjects_of(name) - set(config.get("subjects") or ()):
        raise TopologyMismatch(
            f"stream {name} does not take {', '.join(sorted(unheard))}; "
            "run `teambus provision --app ...` of this version"
        )


async def mismatch(
    bus: Bus, streams: Iterable[str], consumers: Iterable[tuple[str, str]] = ()
) -> str | None:
    """What is not there or not as it should be, of these streams and consumers of streams.

    Raises `BusError` when it cannot be found out.
    """
    try:
        for name in streams:
            await verify_stream(bus, name)
        for stream, name in consumers:
            await verify_consumer(bus, stream, name)
    except TopologyMismatch as error:
        return str(error)
    return None


async def _apply_stream(bus: Bus, document: dict[str, Any]) -> None:
    name = document["name"]
    current = await _config(bus, f"STREAM.INFO.{name}", STREAM_MISSING)
    if current is not None and _same(current, document):
        return
    verb = "CREATE" if current is None else "UPDATE"
    try:
        await ask(bus, f"STREAM.{verb}.{name}", document)
    except BusRefused as refusal:
        raise TopologyMismatch(f"stream {name} cannot be made as needed: {refusal}") from refusal
    log.info("stream applied", stream=name, verb=verb.lower())


async def _apply_hook(bus: Bus, document: dict[str, Any], *, prune: bool) -> list[Leftover]:
    """A hook that left a team still hears of it while runs wait that it was promised."""
    verb = f"CONSUMER.INFO.{topology.EVENTS}.{document['name']}"
    current = await look(bus, verb, missing=CONSUMER_MISSING)
    left = None if current is None else await leftovers.former_teams(bus, document, current)
    if left is None:
        await _apply_consumer(bus, topology.EVENTS, document)
        return []
    if not prune:
        document = topology.hearing_too(document, list(left.patterns))
    await _apply_consumer(bus, topology.EVENTS, document)
    return [replace(left, dropped=prune)]


async def _apply_consumer(bus: Bus, stream: str, document: dict[str, Any]) -> None:
    name = document["name"]
    current = await _config(bus, f"CONSUMER.INFO.{stream}.{name}", CONSUMER_MISSING)
    if current is not None and _same(current, document):
        return
    if current is not None:
        # Where a consumer begins cannot be changed later; it has begun already.
        document = {**document, "deliver_policy": current["deliver_policy"]}
    body = {"stream_name": stream, "config": document, "action": ""}
    try:
        await ask(bus, f"CONSUMER.CREATE.{stream}.{name}", body)
    except BusRefused as refusal:
        reason = str(refusal)
        if refusal.err_code == FILTER_OVERLAP:
            reason = OVERLAPS[stream]
        raise TopologyMismatch(f"consumer {name} cannot be made: {reason}") from refusal
    log.info("consumer applied", stream=stream, consumer=name)


def _same(current: dict[str, Any], document: dict[str, Any]) -> bool:
    made = current.get("metadata", {}).get(topology.FINGERPRINT)
    return bool(made == document["metadata"][topology.FINGERPRINT])


async def _config(bus: Bus, verb: str, missing: int) -> dict[str, Any] | None:
    answer = await look(bus, verb, missing=missing)
    return None if answer is None else dict(answer["config"])
