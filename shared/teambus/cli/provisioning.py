"""`teambus provision`: load the app and make the bus as it needs it; again changes nothing."""

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from teambus.app.describe import describe
from teambus.bus import identities
from teambus.bus.access import Access
from teambus.bus.connection import BusSettings, connect
from teambus.bus.provision import provision
from teambus.bus.topology import TopologySettings
from teambus.cli.options import named_app
from teambus.contracts.catalogue import AppDescription
from teambus.runtime.loading import load_app
from teambus.runtime.management import report
from teambus.runtime.settings import read_settings
from teambus.runtime.stopping import WATCH_FD

ABANDONED = 3


@dataclass(frozen=True, slots=True)
class ProvisionSettings:
    """Which bus."""

    nats_urls: tuple[str, ...] = field(metadata={"variable": "NATS_URL"})
    access: Access = field(default_factory=Access, metadata={"group": "NATS"})


def run(variables: Mapping[str, str], *, prune: bool) -> int:
    _end_with_parent(variables)
    app, app_dir = named_app(variables)
    settings = read_settings(ProvisionSettings, "PROVISION", variables)
    topology = read_settings(TopologySettings, "TOPOLOGY", variables)
    # What the user's module prints while it is imported must not mix with what is said here.
    with contextlib.redirect_stdout(sys.stderr):
        description = describe(load_app(app, app_dir))
    left = asyncio.run(_provision(settings, topology, description, prune=prune))
    _say(description, left)
    return 0


async def _provision(
    settings: ProvisionSettings,
    topology: TopologySettings,
    description: AppDescription,
    *,
    prune: bool,
) -> list[str]:
    where = BusSettings(
        urls=settings.nats_urls,
        name="provision",
        identity=identities.PROVISION,
        access=settings.access,
    )
    async with connect(where) as bus:
        return [str(each) for each in await provision(bus, description, topology, prune=prune)]


def _say(description: AppDescription, left: list[str]) -> None:
    teams = [team.id for team in description.teams]
    agents = [agent.id for agent in description.agents]
    hooks = [hook.name for hook in description.hooks]
    report(app=description.id, teams=teams, agents=agents, hooks=hooks, left=left)
    print(f"app {description.id} is provisioned")
    print(f"  teams: {', '.join(teams) or 'none'}")
    print(f"  agents: {', '.join(agents) or 'none'}")
    print(f"  background hooks: {', '.join(hooks) or 'none'}")
    for each in left:
        print(f"teambus provision: {each}", file=sys.stderr)


def _end_with_parent(variables: Mapping[str, str]) -> None:
    """Importing the user's module blocks any loop, so a thread watches."""
    if (text := variables.get(WATCH_FD)) is None:
        return

    def watch() -> None:
        while os.read(int(text), 64):
            pass
        os._exit(ABANDONED)

    threading.Thread(target=watch, name="watch", daemon=True).start()
