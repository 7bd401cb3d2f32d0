"""`teambus provision`: make the bus as apps need it; again changes nothing.

An app is loaded, or a description of it read, so that who may change streams need not run its code.
"""

import asyncio
import os
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from teambus.bus import identities
from teambus.bus.access import Access
from teambus.bus.connection import BusSettings, connect
from teambus.bus.provision import provision, provision_streams
from teambus.bus.topology import TopologySettings
from teambus.cli.describing import described, read_descriptions
from teambus.cli.options import UsageError, named_app
from teambus.contracts.catalogue import AppDescription
from teambus.runtime.management import report
from teambus.runtime.settings import read_settings
from teambus.runtime.stopping import WATCH_FD

ABANDONED = 3


@dataclass(frozen=True, slots=True)
class ProvisionSettings:
    """Which bus."""

    nats_urls: tuple[str, ...] = field(metadata={"variable": "NATS_URL"})
    access: Access = field(default_factory=Access, metadata={"group": "NATS"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be provisioned: what these files describe, or no app at all, or the named app."""

    descriptions: tuple[Path, ...] = ()
    streams_only: bool = False
    prune: bool = False


def run(variables: Mapping[str, str], wanted: Wanted) -> int:
    _end_with_parent(variables)
    _check(variables, wanted)
    settings = read_settings(ProvisionSettings, "PROVISION", variables)
    topology = read_settings(TopologySettings, "TOPOLOGY", variables)
    apps = _apps(variables, wanted)
    asyncio.run(_provision(settings, topology, apps, prune=wanted.prune))
    return 0


def _check(variables: Mapping[str, str], wanted: Wanted) -> None:
    if wanted.streams_only and wanted.descriptions:
        raise UsageError("--streams-only is for no app; leave out --description")
    if not (wanted.streams_only or wanted.descriptions):
        named_app(variables)


def _apps(variables: Mapping[str, str], wanted: Wanted) -> list[AppDescription]:
    if wanted.streams_only:
        return []
    if wanted.descriptions:
        return read_descriptions(wanted.descriptions)
    return [described(variables)]


async def _provision(
    settings: ProvisionSettings,
    topology: TopologySettings,
    apps: list[AppDescription],
    *,
    prune: bool,
) -> None:
    where = BusSettings(
        urls=settings.nats_urls,
        name="provision",
        identity=identities.PROVISION,
        access=settings.access,
    )
    async with connect(where) as bus:
        if not apps:
            await provision_streams(bus, topology)
            print("the streams are provisioned")
        for app in apps:
            left = await provision(bus, app, topology, prune=prune)
            _say(app, [str(each) for each in left])


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
