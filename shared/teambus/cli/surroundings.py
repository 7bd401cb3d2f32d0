"""Looking over what the bus stands on and what runners reach: disks, clocks, databases, models."""

import asyncio
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from teambus.bus import survey
from teambus.bus.connection import Bus
from teambus.bus.errors import BusError
from teambus.cli.findings import Finding, fault, note, ok
from teambus.contracts.catalogue import AppDescription
from teambus.contracts.pool_api import DatabaseChecked, ModelsChecked, RunnerChecked

CHECK_S = 12
MONITOR_S = 5
ANSWER_BYTES_MAX = 1024 * 1024
SYNC = "write `sync_interval: always` into the jetstream block of each server's configuration"
HIDDEN = (
    "whether servers write to disk before they acknowledge is not told to clients; set"
    " DOCTOR_NATS_MONITOR_URLS to their monitoring ports, or look for `sync_interval: always`"
)
CLOCKS = "have every machine keep its clock by NTP"
MENDS = {
    "refused": "give the team-runners a key that the provider accepts (OPENAI_API_KEY)",
    "unreached": "see whether the team-runners may reach it: OPENAI_BASE_URL, DNS, egress rules",
    "missing": "correct the model's name in the app, or get access to it",
    "unknown": "see whether runs succeed: teambus_model_calls_total on the team-runners' /metrics",
}


@dataclass(frozen=True, slots=True)
class Around:
    """Where to look besides the bus. `serves_itself`: the bus is that of `teambus serve`."""

    monitor_urls: Sequence[str] = ()
    clock_skew_max_s: float = 2
    serves_itself: bool = False


async def disks(around: Around) -> list[Finding]:
    """Whether what is acknowledged is on disk."""
    if around.serves_itself:
        return [ok("disk", "written before it is acknowledged, by the server of `teambus serve`")]
    if not around.monitor_urls:
        return [note("disk", "not visible from here", HIDDEN)]
    return [await asyncio.to_thread(_disk, url) for url in around.monitor_urls]


def _disk(url: str) -> Finding:
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/varz", timeout=MONITOR_S) as answer:
            told: dict[str, Any] = msgspec.json.decode(answer.read(ANSWER_BYTES_MAX))
    except (OSError, ValueError) as error:
        mend = "correct DOCTOR_NATS_MONITOR_URLS, or let the doctor reach it"
        return fault("disk", f"{url} does not answer: {error}", mend)
    name = told.get("server_name", url)
    config = (told.get("jetstream") or {}).get("config") or {}
    if config.get("sync_always"):
        return ok("disk", f"{name} writes before it acknowledges")
    every_s = config.get("sync_interval", 0) / 1e9
    says = f"{name} writes to disk every {every_s:g} s: what it acknowledged since is lost with it"
    return fault("disk", says, SYNC)


async def clocks(bus: Bus, streams: Sequence[str], around: Around) -> list[Finding]:
    """Whether the servers that lead the streams have the time of this machine."""
    seen: dict[str, survey.Clock] = {}
    for name in streams:
        if (clock := await survey.clock(bus, name)) is not None:
            best = seen.get(clock.server)
            seen[clock.server] = min((best or clock, clock), key=lambda each: each.unsure_s)
    late = [each for each in seen.values() if _is_off(each.ahead_s, each.unsure_s, around)]
    if late:
        return [fault("clock", _off(each.server, each.ahead_s), CLOCKS) for each in late]
    if not seen:
        return [note("clock", "no server tells its time", "compare the servers' clocks by hand")]
    worst = max(abs(each.ahead_s) for each in seen.values())
    return [ok("clock", f"the servers' clocks and this one differ by {worst:.3f} s at most")]


async def reached(bus: Bus, apps: Sequence[AppDescription], around: Around) -> list[Finding]:
    """What a runner of each app can reach. One that is not there is missed elsewhere."""
    found: list[Finding] = []
    for app in apps:
        if app.components:
            found += await _reached(bus, app.id, around)
    return found


async def _reached(bus: Bus, app_id: str, around: Around) -> list[Finding]:
    asked_at = time.time()
    try:
        told = await survey.check_runner(bus, app_id, wait_s=CHECK_S)
    except BusError as error:
        mend = "look at the team-runner's log, and ask again"
        return [fault(f"app {app_id}", f"its runner did not look what it reaches: {error}", mend)]
    if told is None:
        return []
    return [
        *_clock(told, asked_at, around),
        *(_database(each) for each in told.databases),
        *(_models(each) for each in told.models),
    ]


def _clock(told: RunnerChecked, asked_at: float, around: Around) -> list[Finding]:
    """It was between asking and now by its clock, if that is right."""
    now = time.time()
    ahead_s = told.at - min(max(told.at, asked_at), now)
    if _is_off(ahead_s, 0, around):
        return [fault("clock", _off(told.runner, ahead_s), CLOCKS)]
    return []


def _database(each: DatabaseChecked) -> Finding:
    about = f"database {each.id}"
    if each.error is None:
        return ok(about, f"reached; its tables are of version {each.schema_version}")
    mend = "see whether it runs, and whether the team-runners may reach it: TEAM_RUNNER_DB_URL"
    return fault(about, each.error, mend)


def _models(each: ModelsChecked) -> Finding:
    about, names = f"model {each.where}", ", ".join(each.models)
    if each.code is None:
        return ok(about, f"reached, the key is accepted; it has {names}")
    mend, detail = MENDS.get(each.code, MENDS["unknown"]), each.detail or each.code
    if each.code in ("refused", "unreached"):
        return fault(about, detail, mend)
    return note(about, detail, mend)


def _is_off(ahead_s: float, unsure_s: float, around: Around) -> bool:
    return abs(ahead_s) - unsure_s > around.clock_skew_max_s


def _off(whose: str, ahead_s: float) -> str:
    return f"{whose} is {abs(ahead_s):.1f} s {'ahead of' if ahead_s > 0 else 'behind'} this machine"
