"""Teams and agents that exist, as last read from the catalogue, looked at every few seconds."""

import asyncio
import time
from typing import Literal, TypeAlias

import structlog

from teambus.bus import catalogue
from teambus.bus.connection import Bus
from teambus.bus.errors import BusError
from teambus.contracts.catalogue import (
    AgentDescription,
    AppDescription,
    HookDescription,
    TeamDescription,
)
from teambus.contracts.ids import TeamId
from teambus.contracts.message import MalformedMessage
from teambus_gateway.problems import Problem

log = structlog.get_logger(__name__)

Kind: TypeAlias = Literal["team", "agent"]
"""What a path names: ids of teams and of agents are one pot, but each has paths of its own."""

Description: TypeAlias = TeamDescription | AgentDescription


class Catalogue:
    """What there is, by id. `apps` is None until it was read once; then `known` is set."""

    def __init__(self, bus: Bus, *, poll_s: float, reread_s: float, retry_after_s: int) -> None:
        self._bus = bus
        self._poll_s = poll_s
        self._reread_s = reread_s
        self._retry_after_s = retry_after_s
        self._revision = -1
        self._teams: dict[TeamId, TeamDescription] = {}
        self._agents: dict[TeamId, AgentDescription] = {}
        self._reading = asyncio.Lock()
        self._read_at = float("-inf")
        self.apps: list[AppDescription] | None = None
        self.known = asyncio.Event()

    @property
    def teams(self) -> list[TeamDescription]:
        return list(self._teams.values())

    @property
    def agents(self) -> list[AgentDescription]:
        return list(self._agents.values())

    def hooks_of(self, id_: TeamId) -> list[HookDescription]:
        """The background hooks of a team or agent, as last read."""
        return [hook for app in self.apps or () for hook in app.hooks if id_ in hook.teams]

    def known_component(self, id_: TeamId) -> Description | None:
        """As last read."""
        return self._find(None, id_)

    async def keep_fresh(self) -> None:
        """Read again whenever it has changed; runs until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(self._poll_s)

    async def component(self, kind: Kind | None, id_: TeamId) -> Description:
        """A team or agent; of either kind with None.

        One not known is looked for again, though not more often than every `reread_s`. Raises
        `Problem`: 404 `Team not found`, or 503 when the catalogue could never be read.
        """
        found = self._find(kind, id_)
        if found is None and time.monotonic() - self._read_at >= self._reread_s:
            await self.refresh()
            found = self._find(kind, id_)
        if found is None and self.apps is None:
            detail = "the teams are not known yet; try again later"
            raise Problem(503, detail, "catalogue_unread", retry_after_s=self._retry_after_s)
        if found is None:
            raise Problem(404, f"{(kind or 'team').capitalize()} not found")
        return found

    def _find(self, kind: Kind | None, id_: TeamId) -> Description | None:
        team = None if kind == "agent" else self._teams.get(id_)
        return team if team or kind == "team" else self._agents.get(id_)

    async def refresh(self) -> None:
        """Read the catalogue if it has changed; what was known stays when it cannot be read."""
        async with self._reading:
            try:
                await self._read()
            except (BusError, MalformedMessage) as error:
                log.warning("could not read the catalogue", error=str(error))
            self._read_at = time.monotonic()

    async def _read(self) -> None:
        revision = await catalogue.revision(self._bus)
        if revision == self._revision:
            return
        apps = await catalogue.read(self._bus)
        self._teams = {team.id: team for app in apps for team in app.teams}
        self._agents = {agent.id: agent for app in apps for agent in app.agents}
        self.apps = apps
        self._revision = revision
        self.known.set()
        log.info(
            "catalogue read",
            revision=revision,
            teams=sorted(self._teams),
            agents=sorted(self._agents),
        )
