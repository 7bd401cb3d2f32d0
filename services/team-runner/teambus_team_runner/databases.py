"""Which database the sessions of a team or agent are in."""

from collections.abc import Mapping

from teambus.app.teams import Component
from teambus.contracts.ids import RunId, SessionId, TeamId, Tenant
from teambus.contracts.output import TeamRunOutput
from teambus_team_runner.sessions import (
    LoadedSession,
    RunWrite,
    SessionStore,
    Stores,
    StoreUnavailable,
    StoreUnfit,
)


class Databases:
    """The session stores, by team or agent. Without a database nothing is kept between runs.

    Every call may raise `StoreUnavailable` or `StoreUnfit`.
    """

    def __init__(self, components: Mapping[TeamId, Component], stores: Stores) -> None:
        self._components = components
        self._stores = stores
        self._open: dict[TeamId, SessionStore] = {}

    async def of(self, team_id: TeamId) -> SessionStore | None:
        if (store := self._open.get(team_id)) is not None:
            return store
        db = self._components[team_id].db
        if db is None:
            return None
        self._open[team_id] = await self._stores.open(db)
        return self._open[team_id]

    async def open_all(self) -> None:
        for team_id in self._components:
            await self.of(team_id)

    async def unreachable(self) -> str | None:
        """Which databases cannot be used now, and why; None when all can."""
        found = {id_: why for id_, why in (await self.versions()).items() if isinstance(why, str)}
        return "; ".join(f"{id_}: {why}" for id_, why in sorted(found.items())) or None

    async def versions(self) -> dict[str, int | str]:
        """Of each database, by its id, the version of its tables, or why they cannot be read."""
        found: dict[str, int | str] = {}
        for team_id, component in self._components.items():
            if component.db is None or component.db.id in found:
                continue
            try:
                store = await self.of(team_id)
                assert store is not None, team_id
                found[component.db.id] = await store.look()
            except (StoreUnavailable, StoreUnfit) as error:
                found[component.db.id] = str(error)
        return found

    async def load(
        self,
        tenant: Tenant,
        session_id: SessionId,
        *,
        team_id: TeamId,
        user_id: str | None,
        history_runs: int,
    ) -> LoadedSession:
        """Raises `SessionNotFound` when the session is another user's."""
        store = await self.of(team_id)
        if store is None:
            return LoadedSession(session_id=session_id, history=[])
        return await store.load(
            tenant, session_id, team_id=team_id, user_id=user_id, history_runs=history_runs
        )

    async def run(
        self, tenant: Tenant, session_id: SessionId, run_id: RunId, *, team_id: TeamId
    ) -> TeamRunOutput | None:
        """A stored run of the session."""
        store = await self.of(team_id)
        return None if store is None else await store.run(tenant, session_id, run_id)

    async def save(self, write: RunWrite, *, team_id: TeamId) -> None:
        store = await self.of(team_id)
        if store is not None:
            await store.save(write)
