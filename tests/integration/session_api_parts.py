"""A gateway in front of real stores that a team-runner's answers speak for, all in this process."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import msgspec

from teambus import Agent, AsyncSqliteDb, OpenAIChat, Team
from teambus.bus import catalogue
from teambus.bus.bodies import Bodies
from teambus.contracts.catalogue import AgentDescription
from teambus_team_runner.answers import Answers
from teambus_team_runner.databases import Databases
from teambus_team_runner.sessions import SessionStore, Stores, StoreSettings
from tests.integration.gateway_parts import APP, MODEL, TEAM, Served, System, system

OTHER_TEAM = msgspec.structs.replace(TEAM, id="other-team", name="Other", db_id="other-db")
AGENT = AgentDescription(
    id="clerk", name="Clerk", db_id=TEAM.db_id, session_table=TEAM.session_table, model=MODEL
)


@dataclass
class Library:
    """`answering` may be closed, as if no runner served the databases."""

    here: System
    gateway: Served
    stores: dict[str, SessionStore]
    answering: AsyncExitStack

    @property
    def store(self) -> SessionStore:
        return self.stores[TEAM.id]

    async def get(self, path: str, **query: Any) -> httpx2.Response:
        return await self.gateway.http.get(path, params=query)

    async def send(self, method: str, path: str, body: Any = None, **query: Any) -> httpx2.Response:
        given = {} if body is None else {"json": body}
        return await self.gateway.http.request(method, path, params=query, **given)


def _team(team_id: str, folder: Path) -> Team:
    db = AsyncSqliteDb(db_file=folder / f"{team_id}.db")
    model = OpenAIChat(id="gpt-5.2")
    return Team(id=team_id, name=team_id, model=model, members=[Agent(name="A")], db=db)


@asynccontextmanager
async def library(
    folder: Path, *, teams: int = 1, bytes_max: int = 32 * 1024 * 1024, **settings: Any
) -> AsyncIterator[Library]:
    """With the content team and an agent in one database, and with two `teams` another one that
    has another database.
    """
    described = [TEAM, OTHER_TEAM][:teams]
    async with AsyncExitStack() as stack:
        here = await stack.enter_async_context(system(folder, work=False))
        await catalogue.put(here.bus, msgspec.structs.replace(APP, teams=described, agents=[AGENT]))
        stores = Stores(StoreSettings(session_bytes_max=bytes_max))
        stack.push_async_callback(stores.close)
        databases = Databases({team.id: _team(team.id, folder) for team in described}, stores)
        answers = Answers(here.bus, Bodies(here.bus), databases, at_once_max=8)
        answering = await stack.enter_async_context(AsyncExitStack())
        db_ids = {str(team.db_id): team.id for team in described}
        await answering.enter_async_context(answers.given(db_ids))
        gateway = await stack.enter_async_context(here.gateway(**settings))
        opened: dict[str, SessionStore] = {}
        for team in described:
            store = await databases.of(team.id)
            assert store is not None
            opened[team.id] = store
        yield Library(here, gateway, opened, answering)
