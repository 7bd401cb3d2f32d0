"""One chaos from its seed to its reckoning."""

import asyncio
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nats.aio.client import Client

from teambus.bus import identities
from teambus.bus.connection import Bus, BusSettings, connect
from teambus.contracts.ids import Tenant
from tests.chaos.check_runs import check_runs
from tests.chaos.check_sessions import check_sessions, takeovers
from tests.chaos.check_work import check_work, statuses
from tests.chaos.clients import Clients
from tests.chaos.faults import Aim, Faults
from tests.chaos.house import TENANTS, House, Size, house
from tests.chaos.load import Load
from tests.chaos.outside import consumers, look
from tests.chaos.remains import Memory, orphans
from tests.chaos.report import Row
from tests.support.locked import ADMIN, Lock, refused

LOOK_S = 0.5
PAUSE_S = 0.15


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to happen, until `duration_s` are over or `kills_max` reached, if there is such a
    limit. `settle_s` is how long everybody may take to come to an end afterwards.
    """

    seed: int
    duration_s: float
    kills_max: int | None = None
    askers: int = 12
    pause_s: float = PAUSE_S
    settle_s: float = 120
    size: Size = field(default_factory=Size)
    aim: Aim = field(default_factory=Aim)
    environment: Mapping[str, str] = field(default_factory=dict)
    locked: bool = False


async def live_through(plan: Plan, folder: Path) -> list[Row]:
    """Chaos, then calm, then the reckoning."""
    chance = random.Random(plan.seed)
    own = {name: random.Random(chance.random()) for name in ("load", "clients", "faults")}
    async with house(folder, plan.size, plan.environment, locked=plan.locked) as home:
        async with connect(_reckoning(home)) as bus:
            talks = {tenant: await _client(home, tenant) for tenant in TENANTS}
            load = Load(Clients(home.clients, talks, own["clients"]), own["load"])
            faults = Faults(home, own["faults"], plan.pause_s, plan.aim)
            memory = Memory(home)
            began = time.monotonic()
            load.begin(plan.askers)
            with memory.watched():
                await faults.go_on(plan.duration_s, plan.kills_max)
                calm = time.monotonic()
                await load.finish(plan.settle_s)
                await _quiet(bus, plan.settle_s)
            write_down(folder, faults, load)
            found = await look(bus, folder, home.postgres)
            await asyncio.gather(*(talk.close() for talk in talks.values()))
            remembered = memory.row()
            children = await memory.children()
        seconds = f"{calm - began:.0f} s of chaos, {time.monotonic() - calm:.0f} s to settle"
    return [
        Row("kills", _kills(faults, plan, seconds)),
        *check_runs(found, load.asks),
        *check_work(found, faults.harms.happened),
        *check_sessions(found),
        Row("ends nobody planned", str(len(faults.surprises)), faults.surprises, faults.unclean),
        remembered,
        await orphans(children),
        *([_refused(folder, home.lock)] if home.lock is not None else []),
        takeovers(found),
        statuses(found),
    ]


def _refused(folder: Path, lock: Lock) -> Row:
    """What anybody needed and was not permitted."""
    found = refused((folder / "nats").rglob("nats-server.log*"), lock.keys)
    wrong = [f"{identity} may not use {subject}" for identity, subject in sorted(set(found))]
    return Row("refused by the bus", str(len(found)), wrong)


def _reckoning(home: House) -> BusSettings:
    settings = BusSettings(home.urls, "reckoning", publish_patience_s=30)
    return settings if home.lock is None else replace(settings, access=home.lock.access(ADMIN))


async def _client(home: House, tenant: Tenant) -> Client:
    """As a program of a user's would: a NATS library and nothing else."""
    client = Client()

    async def on_error(_: Exception) -> None:
        """The bus goes away; what was asked is asked again."""

    await client.connect(
        servers=list(home.urls),
        max_reconnect_attempts=-1,
        reconnect_time_wait=1,
        error_cb=on_error,
        **(_key(home.lock, tenant) if home.lock is not None else {}),
    )
    return client


def _key(lock: Lock, tenant: Tenant) -> dict[str, Any]:
    identity = identities.client(tenant)
    return {"tls": lock.access(identity).tls(), "nkeys_seed": str(lock.seed_file(identity))}


async def _quiet(bus: Bus, wait_s: float) -> None:
    """Until no consumer has anything left to do; what is left after that is in the reckoning."""
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        told = await consumers(bus)
        if not any(each["num_ack_pending"] or each["num_pending"] for each in told):
            return
        await asyncio.sleep(LOOK_S)


def write_down(folder: Path, faults: Faults, load: Load) -> None:
    """What happened when, and what each client knows, to follow a loss with."""
    happened = sorted(faults.harms.happened, key=lambda fault: fault.at)
    lines = [f"{f.at:.3f} {f.until:.3f} {f.what} {f.whom}\n" for f in happened]
    (folder / "faults.log").write_text("".join(lines))
    (folder / "asks.log").write_text("".join(f"{ask.facts()}\n" for ask in load.asks))


def _kills(faults: Faults, plan: Plan, seconds: str) -> str:
    kills = faults.harms.kills
    asked = "" if plan.kills_max is None else f" of {plan.kills_max} asked for"
    return f"{kills.total()}{asked} ({_listed(kills)}), {seconds}"


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
