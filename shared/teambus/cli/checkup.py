"""Looking over a bus: is it as described, is everybody there, does anything wait too long."""

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from teambus.bus import catalogue, room, server_api, survey, topology
from teambus.bus.connection import Bus
from teambus.bus.leases import read_lease
from teambus.bus.survey import ConsumerState, StreamSeen
from teambus.cli import surroundings
from teambus.cli.drift import drift
from teambus.cli.findings import Finding, counted, fault, note, ok
from teambus.cli.surroundings import Around
from teambus.contracts.catalogue import AppDescription
from teambus.contracts.lease import JANITOR
from teambus.contracts.subjects import ROOT, RequestSubject
from teambus.domain.lag import LagLimits, is_late
from teambus.domain.room import Filling, filling_up

PROVISION = "run `teambus provision --app ...` with the app and TOPOLOGY_* settings of this bus"
NAMED_MAX = 20


@dataclass(frozen=True, slots=True)
class Ground:
    """What a checkup is made of: the bus, how it should be, and when to worry."""

    bus: Bus
    topology: topology.TopologySettings
    limits: LagLimits
    full_share_max: float
    around: Around = field(default_factory=Around)


@dataclass(frozen=True, slots=True)
class Seen:
    """What was read first, and what all checks look at."""

    apps: list[AppDescription]
    pools: list[ConsumerState]
    hooks: list[ConsumerState]
    redrives: list[ConsumerState]


async def check(ground: Ground) -> list[Finding]:
    """Every finding, in the order people mend them. Raises `BusError` when the bus goes away."""
    found = [ok("bus", survey.server(ground.bus)), *await surroundings.disks(ground.around)]
    streams = {
        document["name"]: await survey.stream(ground.bus, document["name"])
        for document in topology.streams(ground.topology)
    }
    found += _described(ground, streams)
    there = {name: each for name, each in streams.items() if each is not None}
    if len(there) < len(streams):
        return found
    seen = Seen(
        await catalogue.read(ground.bus),
        await survey.consumers(ground.bus, topology.REQUESTS),
        await survey.consumers(ground.bus, topology.EVENTS),
        await survey.consumers(ground.bus, topology.REDRIVE),
    )
    found += await surroundings.clocks(ground.bus, list(there), ground.around)
    found += _catalogued(ground, seen)
    found += await surroundings.reached(ground.bus, seen.apps, ground.around)
    found += await _served(ground, seen)
    found += await _heard(ground, seen)
    found += [await _janitor(ground.bus), *await _buried(ground.bus), *_room(ground, there)]
    return found


def _described(ground: Ground, streams: dict[str, StreamSeen | None]) -> list[Finding]:
    """Whether the streams are what this version needs."""
    found, chosen = [], set()
    for document in topology.streams(ground.topology):
        seen = streams[document["name"]]
        if seen is None:
            found.append(fault("streams", f"{document['name']} is missing", PROVISION))
            continue
        drifted = drift(document, seen.config)
        chosen |= set(drifted.chosen)
        if drifted.wrong:
            says = f"{document['name']} is not as described: {', '.join(drifted.wrong)}"
            found.append(fault("streams", says, PROVISION))
    if chosen:
        says = f"made with other settings than those here: {', '.join(sorted(chosen))}"
        found.append(note("streams", says, "set TOPOLOGY_* as when it was provisioned"))
    return found or [ok("streams", f"{len(streams)}, all as described")]


def _catalogued(ground: Ground, seen: Seen) -> list[Finding]:
    """Which apps there are, and whether each has its consumers."""
    if not seen.apps:
        return [fault("catalogue", "no app is provisioned", "run `teambus provision --app ...`")]
    found = []
    for app in seen.apps:
        parts = {"team": len(app.teams), "agent": len(app.agents), "hook": len(app.hooks)}
        says = ", ".join(counted(count, what) for what, count in parts.items())
        found.append(ok(f"app {app.id}", says))
        wanted = [topology.pool_consumer(app, ground.topology)] if app.components else []
        wanted += [topology.hook_consumer(hook, ground.topology) for hook in app.hooks]
        found += _consumers(f"app {app.id}", wanted, [*seen.pools, *seen.hooks])
        again = [topology.redrive_consumer(hook, ground.topology) for hook in app.hooks]
        found += _consumers(f"app {app.id}", again, seen.redrives)
    return found


def _consumers(
    about: str, wanted: list[dict[str, Any]], there: Iterable[ConsumerState]
) -> list[Finding]:
    heard = {each.name: set(each.filters) for each in there}
    found = []
    for document in wanted:
        name, subjects = document["name"], set(document["filter_subjects"])
        if name not in heard:
            found.append(fault(about, f"its consumer {name} is missing", PROVISION))
        elif unheard := subjects - heard[name]:
            says = f"its consumer {name} does not hear {', '.join(sorted(unheard))}"
            found.append(fault(about, says, PROVISION))
        elif more := heard[name] - subjects:
            says = f"its consumer {name} still hears {', '.join(sorted(more))}"
            found.append(note(about, says, f"{PROVISION}; with --prune to drop what waits there"))
    return found


async def _served(ground: Ground, seen: Seen) -> list[Finding]:
    """Whether each pool has a runner, and what nobody serves."""
    idle: set[str] = set()
    found = []
    for consumer in seen.pools:
        is_pulled = await survey.is_pulled(ground.bus, consumer)
        if not is_pulled:
            idle.add(consumer.name)
        found.append(await _pool(ground, consumer, is_pulled=is_pulled))
    pattern = f"{ROOT}.request.>"
    waiting = await server_api.counts(ground.bus, topology.REQUESTS, pattern)
    for each in survey.unserved(waiting, seen.pools, idle)[:NAMED_MAX]:
        found.append(await _unserved(ground.bus, each))
    return found


async def _pool(ground: Ground, consumer: ConsumerState, *, is_pulled: bool) -> Finding:
    about = f"pool {consumer.name.removeprefix(survey.POOL)}"
    says, late = await _waiting(ground, topology.REQUESTS, consumer)
    if not is_pulled:
        return fault(about, f"no runner is there; {says}", "start a team-runner with this app")
    if late:
        return fault(about, says, "start more team-runners, or raise TEAM_RUNNER_HANDS")
    return ok(about, f"served; {says}")


async def _waiting(ground: Ground, stream: str, consumer: ConsumerState) -> tuple[str, bool]:
    """How far behind a consumer is, and whether that is too far."""
    lag = await survey.lag(ground.bus, stream, consumer)
    age_s = _age_s(lag.oldest_at)
    says = f"{consumer.num_pending} waiting, {consumer.num_ack_pending} in hand"
    if consumer.num_pending:
        says += f", the oldest waits for {age_s:.0f} s"
    return says, is_late(consumer.num_pending, age_s, ground.limits)


async def _unserved(bus: Bus, each: survey.Unserved) -> Finding:
    asked = RequestSubject.parse(each.subject)
    oldest = await survey.oldest(bus, topology.REQUESTS, each.subject)
    age_s = _age_s(None if oldest is None else oldest.stored_at)
    says = (
        f"{asked.team_id} of tenant {asked.tenant}: {counted(each.count, 'request')},"
        f" the oldest for {age_s:.0f} s"
    )
    mend = "serve this team, or leave it to the janitor, who ends them after TEAM_RUNNER_UNSERVED_S"
    return fault("unserved", says, mend)


async def _heard(ground: Ground, seen: Seen) -> list[Finding]:
    """Whether each hook is pulled, and how far behind it is."""
    declared = {topology.hook_consumer_name(hook) for app in seen.apps for hook in app.hooks}
    found = []
    for consumer in seen.hooks:
        if consumer.name in declared:
            found.append(await _hook(ground, consumer))
        elif topology.HOOK in consumer.config.metadata:
            says = f"no app has it any more; {consumer.num_pending} waiting for it"
            mend = "give a hook this name again, or drop them with `teambus provision --prune`"
            found.append(note(f"hook {consumer.title}", says, mend))
    return found


async def _hook(ground: Ground, consumer: ConsumerState) -> Finding:
    about = f"hook {consumer.title}"
    says, late = await _waiting(ground, topology.EVENTS, consumer)
    if consumer.num_pending and not consumer.num_waiting and not consumer.num_ack_pending:
        return fault(about, f"nobody calls it; {says}", "start a hook-runner with its app")
    if late:
        mend = "start more hook-runners, or raise its concurrency_max"
        return fault(about, says, mend)
    return ok(about, says)


async def _janitor(bus: Bus) -> Finding:
    record = (await read_lease(bus, JANITOR)).record
    if record.holder is None or time.time() - record.renewed_at > 2 * record.lease_s:
        return fault("janitor", "there is none", "start a team-runner; each stands for it")
    return ok("janitor", f"{record.holder}, term {record.term}")


async def _buried(bus: Bus) -> list[Finding]:
    """How many dead letters there are, by what they are about."""
    letters = await server_api.counts(bus, topology.DEAD, f"{ROOT}.dead.>")
    if not letters:
        return [ok("dead letters", "none")]
    names: Counter[str] = Counter()
    for subject, count in letters.items():
        _, _, _, _, about, name, _ = subject.split(".")
        names[f"{about} {name}"] += count
    many = ", ".join(f"{count} of {name}" for name, count in names.most_common(NAMED_MAX))
    mend = "`teambus dead-letters list` says why, `redrive` tells hooks again, `discard` ends it"
    return [note("dead letters", many, mend)]


def _room(ground: Ground, streams: dict[str, StreamSeen]) -> list[Finding]:
    """Which streams are close to what they may hold."""
    seen = [room.filling(name, each) for name, each in streams.items()]
    close = filling_up(seen, (), share_max=ground.full_share_max)
    if close:
        return [_close(each) for each in seen if each.stream in close]
    fullest = max((each for each in seen if each.refuses), key=lambda each: each.share)
    return [ok("room", f"the fullest stream, {fullest.stream}, is {fullest.share:.0%} full")]


def _close(filling: Filling) -> Finding:
    says = (
        f"{filling.stream} is {filling.share:.0%} full, "
        f"{filling.held_bytes} of {filling.bytes_max} bytes"
    )
    mend = f"raise {room.ROOM_SETTINGS[filling.stream]} and provision again"
    return fault("room", says, mend)


def _age_s(at: float | None) -> float:
    return 0 if at is None else max(0, time.time() - at)
