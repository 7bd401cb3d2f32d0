"""Questions about one stored run or session, answered by a team-runner that has its database.

The answer to a question about what is not there is an empty body.
"""

from dataclasses import dataclass, field
from typing import Any

import msgspec

from teambus.contracts.ids import RunId, SessionId
from teambus.contracts.output import TeamRunOutput


class RunQuery(msgspec.Struct, frozen=True):
    """Which run of which session."""

    run_id: RunId
    session_id: SessionId


class SessionQuery(msgspec.Struct, frozen=True):
    """Which session."""

    session_id: SessionId


@dataclass(slots=True, kw_only=True)
class Session:
    """A stored session with its runs, oldest first. Times are whole seconds since 1970.

    It has the id of the team, or of the agent served by itself, that its first run was of.
    """

    session_id: str
    team_id: str | None = None
    agent_id: str | None = None
    user_id: str | None = None
    session_state: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    session_name: str | None = None
    created_at: int | None = None
    updated_at: int | None = None
    runs: list[TeamRunOutput] = field(default_factory=list)
