"""What a runner can reach, for whoever looks the system over: only it has the databases' and the
providers' keys.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import msgspec

from teambus.app.models import OpenAIChat
from teambus.app.teambus import TeamBus
from teambus.app.teams import walk
from teambus.bus.api import Question, Reply, answering
from teambus.bus.connection import Bus
from teambus.contracts import subjects
from teambus.contracts.pool_api import DatabaseChecked, RunnerChecked
from teambus_team_runner.databases import Databases
from teambus_team_runner.models.catalogue import Models
from teambus_team_runner.models.probing import probed
from teambus_team_runner.presence import QUEUE

AT_ONCE_MAX = 2
CHECK_S = 8


@asynccontextmanager
async def checked_when_asked(
    bus: Bus, app: TeamBus, databases: Databases, models: Models
) -> AsyncIterator[None]:
    """Answer for the pool of the app while the block runs."""

    async def answer(_: Question) -> Reply:
        found, reached = await asyncio.gather(
            databases.versions(), probed(models, declared(app), wait_s=CHECK_S)
        )
        told = RunnerChecked(
            runner=bus.settings.name,
            at=time.time(),
            databases=[_told(id_, version) for id_, version in found.items()],
            models=reached,
        )
        return Reply(msgspec.json.encode(told))

    subject = subjects.api("*", f"pool.{app.id}.check")
    async with answering(bus, subject, answer, queue=QUEUE, at_once_max=AT_ONCE_MAX):
        yield


def declared(app: TeamBus) -> Iterable[OpenAIChat]:
    """Every model that the app's teams, members and agents name."""
    owners = [owner for component in app.components for owner in walk(component)]
    return [owner.model for owner in owners if owner.model is not None]


def _told(id_: str, version: int | str) -> DatabaseChecked:
    if isinstance(version, str):
        return DatabaseChecked(id=id_, error=version)
    return DatabaseChecked(id=id_, schema_version=version)
