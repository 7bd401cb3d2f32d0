"""The office on Agno's AgentOS. Runs in the peer's venv, where Agno is installed.

Run with the number of a listening socket, which it inherits; it ends when its stdin is closed.
"""

import os
import socket
import sys
import threading
from functools import partial
from types import SimpleNamespace

import uvicorn
from agno.agent import Agent  # type: ignore[import-not-found] # only in the peer's venv
from agno.db.sqlite import AsyncSqliteDb  # type: ignore[import-not-found] # as above
from agno.exceptions import (  # type: ignore[import-not-found] # as above
    CheckTrigger,
    InputCheckError,
)
from agno.hooks.decorator import hook  # type: ignore[import-not-found] # as above
from agno.models.openai import OpenAIChat  # type: ignore[import-not-found] # as above
from agno.os import AgentOS  # type: ignore[import-not-found] # as above
from agno.os.config import (  # type: ignore[import-not-found] # as above
    AgentOSConfig,
    AuthorizationConfig,
    ChatConfig,
    Manifest,
)
from agno.team import Team  # type: ignore[import-not-found] # as above

from tests.peers.apps.office import config, office

library = SimpleNamespace(
    Agent=partial(Agent, telemetry=False),
    AgentOSConfig=AgentOSConfig,
    ChatConfig=ChatConfig,
    Manifest=Manifest,
    AsyncSqliteDb=AsyncSqliteDb,
    CheckTrigger=CheckTrigger,
    InputCheckError=InputCheckError,
    OpenAIChat=OpenAIChat,
    Team=partial(Team, telemetry=False),
    hook=hook,
)
teams, agents = office(library)
secret = os.environ.get("PEER_JWT_SECRET")
guarded = {}
if secret is not None:
    by_secret = AuthorizationConfig(verification_keys=[secret], algorithm="HS256")
    guarded = {"authorization": True, "authorization_config": by_secret}
app = AgentOS(
    id="office",
    name="Office",
    teams=teams,
    agents=agents,
    config=config(library),
    telemetry=False,
    **guarded,
).get_app()


def end_with_parent() -> None:
    sys.stdin.read()
    os._exit(0)


def main() -> None:
    listening = socket.socket(fileno=int(sys.argv[1]))
    threading.Thread(target=end_with_parent, daemon=True).start()
    uvicorn.Server(uvicorn.Config(app, log_level="error")).run([listening])


if __name__ == "__main__":
    main()
