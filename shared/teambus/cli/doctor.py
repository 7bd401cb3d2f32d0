"""`teambus doctor`: look the bus over, say what was checked and how to mend what is not right."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from teambus.bus import identities
from teambus.bus.access import Access
from teambus.bus.connection import BusSettings, connect
from teambus.bus.errors import BusError
from teambus.bus.topology import TopologySettings
from teambus.cli.checkup import Ground, check
from teambus.cli.entitlement import check_rights
from teambus.cli.findings import Finding, document, faults, lines
from teambus.cli.options import UsageError
from teambus.cli.surroundings import Around
from teambus.domain.lag import LagLimits
from teambus.local import folder
from teambus.runtime.settings import read_settings

FAULTY = 1


@dataclass(frozen=True, slots=True)
class DoctorSettings:
    """Which bus, and when to worry. With the `identity` of a service, whose files `NATS_*` name,
    only its rights are looked at.
    """

    nats_urls: tuple[str, ...] = field(metadata={"variable": "NATS_URL"})
    access: Access = field(default_factory=Access, metadata={"group": "NATS"})
    identity: str = identities.DOCTOR
    connect_timeout_s: float = 10
    lag_age_max_s: float = 60
    lag_messages_max: int = 1000
    full_share_max: float = 0.7
    clock_skew_max_s: float = 2
    nats_monitor_urls: tuple[str, ...] = ()


def run(variables: Mapping[str, str], *, as_json: bool) -> int:
    """0 when there is nothing to mend."""
    given = {**variables, "NATS_URL": variables.get("NATS_URL") or _served_here(variables)}
    settings = read_settings(DoctorSettings, "DOCTOR", given)
    topology = read_settings(TopologySettings, "TOPOLOGY", given)
    serves_itself = not variables.get("NATS_URL")
    around = Around(settings.nats_monitor_urls, settings.clock_skew_max_s, serves_itself)
    found = asyncio.run(_look(settings, topology, around))
    if as_json:
        print(json.dumps(document(found), indent=2))
    else:
        print("\n".join(lines(found)))
    return FAULTY if faults(found) else 0


async def _look(
    settings: DoctorSettings, topology: TopologySettings, around: Around
) -> list[Finding]:
    where = BusSettings(
        urls=settings.nats_urls,
        name="doctor",
        identity=settings.identity,
        access=settings.access,
        connect_timeout_s=settings.connect_timeout_s,
    )
    limits = LagLimits(settings.lag_age_max_s, settings.lag_messages_max)
    try:
        async with connect(where) as bus:
            rights = await check_rights(bus, settings.identity)
            if settings.identity != identities.DOCTOR:
                return rights
            ground = Ground(bus, topology, limits, settings.full_share_max, around)
            return [*await check(ground), *rights]
    except BusError as error:
        return [Finding("bus", "fault", str(error))]


def _served_here(variables: Mapping[str, str]) -> str:
    """Where the NATS of what runs with the data of this folder listens."""
    data_dir = Path(variables.get("TEAMBUS_DATA_DIR") or ".teambus").absolute()
    url = ((folder.read_status(data_dir) or {}).get("nats") or {}).get("url")
    if not url:
        raise UsageError(f"which bus? set NATS_URL; nothing is served with the data in {data_dir}")
    return str(url)
