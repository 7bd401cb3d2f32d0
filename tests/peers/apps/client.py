"""Every team, agent and session method of Agno's `AgentOSClient`, called once or more.

Runs in the peer's venv: `python -m tests.peers.apps.client URL` prints what each step returned,
as JSON, and the names of all such methods. A step is named for its method, then for what is
special about the call.
"""

import asyncio
import json
import logging
import sys
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, field
from typing import Any

from agno.client import AgentOSClient  # type: ignore[import-not-found] # only in the peer's venv
from agno.db.base import SessionType  # type: ignore[import-not-found] # as above
from httpx import HTTPStatusError  # type: ignore[import-not-found] # as above

TEAM, AGENT = "content-team", "assistant"


@dataclass(slots=True)
class Told:
    """What the client returned, step by step, with the classes it made of it."""

    steps: dict[str, Any] = field(default_factory=dict)

    async def by(self, step: str, call: Awaitable[Any]) -> Any:
        """Remember and return what a call gives; an HTTP error is remembered, too."""
        try:
            given = await call
        except HTTPStatusError as error:
            self.steps[step] = {"error": error.response.status_code}
            return None
        except ValueError as error:
            self.steps[step] = {"error": str(error)}
            return None
        self.steps[step] = told(given)
        return given

    async def stream(self, step: str, events: AsyncIterator[Any]) -> list[Any]:
        """Remember and return the events of a stream."""
        given: list[Any] = []
        try:
            async for event in events:
                given.append(event)
        except HTTPStatusError as error:
            given.append({"error": error.response.status_code})
        self.steps[step] = [told(event) for event in given]
        return given


def told(value: Any) -> Any:
    """A value as JSON, with the name of its class."""
    if isinstance(value, list):
        return [told(each) for each in value]
    if value is None or isinstance(value, str | int | float | dict):
        return value
    if hasattr(value, "model_dump"):
        return {"class": type(value).__name__, **value.model_dump(mode="json")}
    return {"class": type(value).__name__, **json.loads(json.dumps(value.to_dict(), default=str))}


async def offers(client: Any, steps: Told) -> None:
    await steps.by("aget_config", client.aget_config())
    await steps.by("get_config", asyncio.to_thread(client.get_config))
    await steps.by("list_teams", client.list_teams())
    await steps.by("aget_team", client.aget_team(TEAM))
    await steps.by("get_team", asyncio.to_thread(client.get_team, TEAM))
    await steps.by("aget_team unknown", client.aget_team("nobody"))
    await steps.by("list_agents", client.list_agents())
    await steps.by("aget_agent", client.aget_agent(AGENT))
    await steps.by("get_agent", asyncio.to_thread(client.get_agent, AGENT))


async def team_runs(client: Any, steps: Told) -> None:
    ask = {"team_id": TEAM, "message": "Write about tea", "session_id": "client", "user_id": "cal"}
    more = {"session_state": {"articles": 1}, "metadata": {"urgent": True}}
    await steps.by("run_team", client.run_team(**ask))
    await steps.by("run_team with more", client.run_team(**ask, **more))
    await continued_team_runs(client, steps)
    await steps.by("run_team unknown", client.run_team(team_id="nobody", message="Write"))
    await steps.by("run_team refused", client.run_team(team_id="strict-team", message="secret"))
    await steps.stream("run_team_stream", client.run_team_stream(**ask))
    await steps.stream(
        "run_team_stream no events", client.run_team_stream(**ask, stream_events="false")
    )
    later = await steps.by("run_team background", client.run_team(**ask, background="true"))
    await steps.by("cancel_team_run unknown", client.cancel_team_run(TEAM, "nothing"))
    run_id = getattr(later, "run_id", None) or "nothing"
    await steps.by("cancel_team_run", client.cancel_team_run(TEAM, run_id))


async def continued_team_runs(client: Any, steps: Told) -> None:
    asked = {"team_id": TEAM, "message": "Write about tea", "session_id": "went on"}
    run = await steps.by("run_team to go on with", client.run_team(**asked))
    ask = {"team_id": TEAM, "run_id": run.run_id, "requirements": [], "session_id": "went on"}
    await steps.by("continue_team_run", client.continue_team_run(**ask))
    await steps.by(
        "continue_team_run unknown", client.continue_team_run(**ask | {"run_id": "nothing"})
    )
    await steps.stream("continue_team_run_stream", client.continue_team_run_stream(**ask))
    lost = client.continue_team_run_stream(**ask | {"run_id": "nothing"})
    await steps.stream("continue_team_run_stream unknown", lost)
    anew = client.continue_team_run(**ask, regenerate="true")
    await steps.by("continue_team_run regenerated", anew)


async def continued_agent_runs(client: Any, steps: Told) -> None:
    asked = {"agent_id": AGENT, "message": "What is tea?", "session_id": "aided on"}
    run = await steps.by("run_agent to go on with", client.run_agent(**asked))
    ask = {"agent_id": AGENT, "run_id": run.run_id, "session_id": "aided on"}
    done = list(run.tools)
    await steps.by("continue_agent_run", client.continue_agent_run(**ask, tools=[]))
    await steps.by(
        "continue_agent_run with its tools", client.continue_agent_run(**ask, tools=done)
    )
    await steps.stream(
        "continue_agent_run_stream", client.continue_agent_run_stream(**ask, tools=[])
    )


async def agent_runs(client: Any, steps: Told) -> None:
    ask = {"agent_id": AGENT, "message": "What is tea?", "session_id": "aided", "user_id": "cal"}
    await steps.by("run_agent", client.run_agent(**ask))
    await steps.by("run_agent unknown", client.run_agent(agent_id="nobody", message="What?"))
    await steps.stream("run_agent_stream", client.run_agent_stream(**ask))
    await continued_agent_runs(client, steps)
    await steps.by("cancel_agent_run", client.cancel_agent_run(AGENT, "nothing"))


async def sessions(client: Any, steps: Told) -> None:
    team, agent = SessionType.TEAM, SessionType.AGENT
    opened = {"session_id": "shelf", "user_id": "sue"}
    run = await client.run_team(TEAM, "Write about tea", **opened)
    await client.run_agent(AGENT, "What is tea?", session_id="chat", user_id="sue")
    await steps.by("get_sessions", client.get_sessions(team, user_id="sue"))
    await steps.by("get_sessions of agents", client.get_sessions(agent, user_id="sue"))
    await steps.by("get_sessions unknown", client.get_sessions(team, user_id="nobody"))
    await steps.by("get_session", client.get_session("shelf"))
    await steps.by("get_session by type", client.get_session("shelf", team))
    await steps.by("get_session of an agent", client.get_session("chat"))
    await steps.by("get_session unknown", client.get_session("nothing"))
    await steps.by("get_session_runs", client.get_session_runs("shelf"))
    await steps.by("get_session_runs by status", client.get_session_runs("shelf", status=["error"]))
    await steps.by(
        "get_session_run", client.get_session_run("shelf", getattr(run, "run_id", "nothing"))
    )
    previews = asyncio.to_thread(client.get_session_run_previews, "shelf")
    await steps.by("get_session_run_previews", previews)
    await steps.by("aget_session_run_previews", client.aget_session_run_previews("shelf"))
    await steps.by("rename_session", client.rename_session("shelf", "Tea"))
    change = {"session_state": {"articles": 7}, "metadata": {"desk": "food"}}
    await steps.by("update_session", client.update_session("shelf", **change))


async def session_changes(client: Any, steps: Told) -> None:
    team = SessionType.TEAM
    made = {"session_id": "made-by-client", "session_name": "Made", "team_id": TEAM}
    await steps.by("create_session", client.create_session(team, user_id="sue", **made))
    await steps.by("create_session again", client.create_session(team, **made))
    await steps.by("create_session of an agent", client.create_session(agent_id=AGENT))
    await steps.by("get_session made", client.get_session("made-by-client"))
    await steps.by("delete_session", client.delete_session("made-by-client"))
    await steps.by("get_session deleted", client.get_session("made-by-client"))
    await steps.by("create_session a third time", client.create_session(team, **made))
    await steps.by("delete_sessions", client.delete_sessions(["made-by-client"], [team]))


CHAPTERS = (offers, team_runs, agent_runs, sessions, session_changes)


async def main() -> None:
    logging.disable(logging.CRITICAL)
    client = AgentOSClient(base_url=sys.argv[1])
    steps = {chapter.__name__: Told() for chapter in CHAPTERS}
    for chapter in CHAPTERS:
        await chapter(client, steps[chapter.__name__])
    methods = [name for name in dir(AgentOSClient) if is_called_for(name)]
    chapters = {name: told.steps for name, told in steps.items()}
    print(json.dumps({"methods": methods, "chapters": chapters}))


def is_called_for(name: str) -> bool:
    subjects = ("team", "agent", "session", "get_config")
    return name[0] != "_" and any(each in name for each in subjects) and "trace" not in name


if __name__ == "__main__":
    asyncio.run(main())
