"""What exists: apps, teams, agents and hooks, described without code and without secrets."""

from typing import Any

import msgspec

from teambus.contracts.ids import HookName, TeamId
from teambus.contracts.message import Message


class ModelDescription(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    id: str
    provider: str
    name: str


class ToolDescription(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class MemberDescription(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A member as clients see it; a nested team has members of its own."""

    id: str
    name: str
    role: str | None = None
    description: str | None = None
    instructions: str | list[str] | None = None
    markdown: bool = False
    model: ModelDescription | None = None
    tools: list[ToolDescription] = []
    tool_call_limit: int | None = None
    members: list["MemberDescription"] | None = None
    stream_member_events: bool = True


class TeamDescription(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A team as clients see it, and what the gateway must know to route to it."""

    id: TeamId
    name: str
    mode: str = "coordinate"
    db_id: str | None = None
    session_table: str | None = None
    description: str | None = None
    role: str | None = None
    instructions: str | list[str] | None = None
    markdown: bool = False
    expected_output: str | None = None
    model: ModelDescription | None = None
    tools: list[ToolDescription] = []
    tool_call_limit: int | None = None
    add_history_to_context: bool = False
    num_history_runs: int | None = None
    metadata: dict[str, Any] | None = None
    members: list[MemberDescription] = []
    stream_member_events: bool = True


class AgentDescription(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An agent that is served by itself, as clients see it. Its id is among those of teams."""

    id: TeamId
    name: str
    db_id: str | None = None
    session_table: str | None = None
    description: str | None = None
    role: str | None = None
    instructions: str | list[str] | None = None
    markdown: bool = False
    expected_output: str | None = None
    additional_context: str | None = None
    model: ModelDescription | None = None
    tools: list[ToolDescription] = []
    tool_call_limit: int | None = None
    add_history_to_context: bool = False
    num_history_runs: int | None = None
    metadata: dict[str, Any] | None = None


class HookDescription(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A background hook: what it hears and how often it is tried.

    `teams` are the teams and agents whose completed events it gets. With `members` it is called
    once for each run of such a member, without them once for the team's or agent's own run.
    """

    name: HookName
    app: str
    function: str
    teams: list[TeamId]
    members: tuple[str, ...] = ()
    on: tuple[str, ...] = ("COMPLETED",)
    attempts_max: int = 5
    timeout_s: float = 60
    backoff_s: float = 1
    concurrency_max: int = 16
    replay: str = "new"
    needs_session: bool = False


class ManifestDescription(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How clients show a team or agent."""

    description: str | None = None
    labels: list[str] | None = None
    quick_prompts: list[str] | None = None


class AppDescription(Message, frozen=True, kw_only=True, tag="app.description.v1"):
    """Everything one app declares. Its id also names the pool of runners that serve it.

    Quick prompts, which a chat offers, and manifests are by the id of a team or agent.
    """

    id: str
    name: str | None = None
    description: str | None = None
    teams: list[TeamDescription] = []
    hooks: list[HookDescription] = []
    agents: list[AgentDescription] = []
    quick_prompts: dict[TeamId, list[str]] | None = None
    manifest: dict[TeamId, ManifestDescription] = {}

    @property
    def components(self) -> list[TeamDescription | AgentDescription]:
        """All that can be asked for a run, each under an id of its own."""
        return [*self.teams, *self.agents]
