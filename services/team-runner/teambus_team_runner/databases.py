"""Which database a team's sessions are in."""

from collections.abc import Mapping

from teambus.app.teams import Team
from teambus.contracts.ids import SessionId, TeamId, Tenant
from teambus_team_runner.sessions import LoadedSession, RunWrite, SessionStore, Stores


class Databases:
    """The session stores, by team. A team without a database keeps nothing between runs.

    Every call may raise `StoreUnavailable` or `StoreUnfit`.
    """

    def __init__(self, teams: Mapping[TeamId, Team], stores: Stores) -> None:
        self._teams = teams
        self._stores = stores
        self._open: dict[TeamId, SessionStore] = {}

    async def of(self, team_id: TeamId) -> SessionStore | None:
        if (store := self._open.get(team_id)) is not None:
            return store
        db = self._teams[team_id].db
        if db is None:
            return None
        self._open[team_id] = await self._stores.open(db)
        return self._open[team_id]

    async def open_all(self) -> None:
        for team_id in self._teams:
            await self.of(team_id)

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

    async def save(self, write: RunWrite, *, team_id: TeamId) -> None:
        store = await self.of(team_id)
        if store is not None:
            await store.save(write)
