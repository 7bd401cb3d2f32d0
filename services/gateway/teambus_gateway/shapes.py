"""Teams, agents, the app and runs in the words of AgentOS: what the endpoints answer.

Nulls are left out, unless AgentOS writes them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import msgspec

from teambus.contracts.catalogue import (
    AgentDescription,
    AppDescription,
    MemberDescription,
    ModelDescription,
    TeamDescription,
    ToolDescription,
)
from teambus.contracts.output import TeamRunOutput
from teambus.domain.agent_runs import read_form
from teambus_gateway.access.scopes import ALL, Grants
from teambus_gateway.catalogue import Description
from teambus_gateway.config_sections import sections, shown

NAME = "AgentOS"
OS_VERSION = "1.0.0"
AGNO_VERSION = "3.1.10"
"""The version whose HTTP interface is spoken here."""

Shape: TypeAlias = dict[str, Any]
AuthMode: TypeAlias = Literal["none", "security_key", "jwt"]
_Described: TypeAlias = Description | MemberDescription
DELEGATION = ToolDescription(
    name="delegate_task_to_member",
    description="Give one task to one member of the team and get the member's result.",
    parameters={
        "type": "object",
        "properties": {
            "member_id": {"type": "string", "description": "The id of the member."},
            "task": {
                "type": "string",
                "description": "What to do, with all the member must know and what to give back.",
            },
        },
        "required": ["member_id", "task"],
        "additionalProperties": False,
    },
)


_outputs = msgspec.json.Decoder(TeamRunOutput)


def run_body(component: Description, carried: bytes) -> bytes:
    """The JSON of a run. A team's is as the bus carries it, and is passed on unread."""
    if isinstance(component, TeamDescription):
        return carried
    output = read_form(_outputs.decode(carried))
    output.agent_name = output.agent_name or component.name
    return msgspec.json.encode(output)


def component_shape(component: Description) -> Shape:
    """A TeamResponse or an AgentResponse."""
    if isinstance(component, TeamDescription):
        return team_shape(component)
    return agent_shape(component)


def team_shape(team: TeamDescription) -> Shape:
    """A TeamResponse."""
    return _given(
        id=team.id,
        name=team.name,
        db_id=team.db_id,
        description=team.description,
        role=team.role,
        mode=team.mode,
        model=_model(team.model),
        tools=_tools([*team.tools, DELEGATION], team.tool_call_limit),
        sessions=_sessions(team),
        reasoning={"reasoning": False},
        system_message=_system_message(team),
        streaming=_streaming(team),
        members=[member_shape(member, team.model) for member in team.members],
        metadata=team.metadata,
        is_factory=False,
        is_component=False,
        sandboxed=False,
    )


def agent_shape(agent: AgentDescription) -> Shape:
    """An AgentResponse."""
    return _given(
        id=agent.id,
        name=agent.name,
        db_id=agent.db_id,
        filesystem=False,
        description=agent.description,
        role=agent.role,
        is_factory=False,
        model=_model(agent.model),
        tools=_tools(agent.tools, agent.tool_call_limit),
        sessions=_sessions(agent),
        reasoning={"reasoning": False},
        system_message=_system_message(agent),
        metadata=agent.metadata,
        is_component=False,
        sandboxed=False,
    )


def member_shape(member: MemberDescription, inherited: ModelDescription | None) -> Shape:
    """An AgentResponse, or a TeamResponse for a nested team. Without a model it has its team's."""
    is_team = member.members is not None
    model = member.model or inherited
    tools = [*member.tools, DELEGATION] if is_team else member.tools
    return _given(
        id=member.id,
        name=member.name,
        role=member.role,
        description=member.description,
        model=_model(model),
        tools=_tools(tools, member.tool_call_limit),
        reasoning={"reasoning": False},
        system_message=_system_message(member),
        streaming=_streaming(member) if is_team else None,
        members=[member_shape(each, model) for each in member.members or []] if is_team else None,
        filesystem=None if is_team else False,
        is_factory=False,
        is_component=False,
        sandboxed=False,
    )


def config_shape(apps: list[AppDescription], grants: Grants = ALL) -> Shape:
    """A ConfigResponse, which has no name. Several apps behind one gateway are shown as one; of the
    teams and agents those that may be read.
    """
    components = [component for app in apps for component in app.components]
    app = apps[0] if len(apps) == 1 else None
    return {
        "os_id": _os_id(apps),
        **_given(description=app.description if app else None),
        "available_models": _available_models(components),
        "databases": _databases(components),
        **shown(apps),
        **sections(components),
        "agents": _summaries("agents", [each for app in apps for each in app.agents], grants),
        "teams": _summaries("teams", [each for app in apps for each in app.teams], grants),
        "workflows": [],
        "interfaces": [],
        "company": None,
    }


@dataclass(frozen=True, slots=True)
class Security:
    """What clients are told of how they are let in."""

    auth_mode: AuthMode
    is_confining: bool


def info_shape(apps: list[AppDescription], security: Security) -> Shape:
    """What AgentOS says of itself; nulls are kept."""
    return {
        "os_id": _os_id(apps),
        "name": _name(apps),
        "os_version": OS_VERSION,
        "agno_version": AGNO_VERSION,
        "agent_count": sum(len(app.agents) for app in apps),
        "team_count": sum(len(app.teams) for app in apps),
        "workflow_count": 0,
        "mcp": {"enabled": False, "path": None, "oauth": None, "tool_run_endpoint": False},
        "auth_mode": security.auth_mode,
        "user_isolation": security.is_confining,
    }


def home_shape(apps: list[AppDescription]) -> Shape:
    """Where to go from here."""
    return {"name": _name(apps) or NAME, "health": "/health", "info": "/info", "docs": "/docs"}


def _os_id(apps: list[AppDescription]) -> str:
    return apps[0].id if len(apps) == 1 else "teambus"


def _name(apps: list[AppDescription]) -> str | None:
    return apps[0].name if len(apps) == 1 else None


def _summaries(resource: str, of: Sequence[Description], grants: Grants) -> list[Shape]:
    return [_summary(each) for each in of if grants.allow(resource, "read", each.id)]


def _summary(of: Description) -> Shape:
    model = None if of.model is None else {"id": of.model.id, "provider": of.model.provider}
    return _given(
        id=of.id,
        name=of.name,
        description=of.description,
        db_id=of.db_id,
        mode=of.mode if isinstance(of, TeamDescription) else None,
        model=model,
        sandboxed=False,
    )


def _available_models(components: list[Description]) -> list[Shape]:
    pairs = {(model.id, model.provider) for each in components for model in _models(each)}
    return [{"id": id_, "provider": provider} for id_, provider in sorted(pairs)]


def _models(of: _Described) -> list[ModelDescription]:
    members = [] if isinstance(of, AgentDescription) else of.members
    inner = [model for member in members or [] for model in _models(member)]
    return [*([of.model] if of.model else []), *inner]


def _databases(components: list[Description]) -> list[str]:
    return sorted({each.db_id for each in components if each.db_id is not None})


def _sessions(of: Description) -> Shape | None:
    if of.session_table is None:
        return None
    return _given(
        session_table=of.session_table,
        add_history_to_context=of.add_history_to_context or None,
        num_history_runs=of.num_history_runs,
    )


def _model(model: ModelDescription | None) -> Shape | None:
    if model is None:
        return None
    return {"name": model.name, "model": model.id, "provider": model.provider}


def _tools(tools: list[ToolDescription], tool_call_limit: int | None) -> Shape | None:
    if not tools and tool_call_limit is None:
        return None
    shown = [
        _given(name=tool.name, description=tool.description, parameters=tool.parameters)
        for tool in tools
    ]
    return _given(tools=shown, tool_call_limit=tool_call_limit)


def _system_message(of: _Described) -> Shape | None:
    message = _given(
        description=of.description,
        instructions=of.instructions,
        expected_output=None if isinstance(of, MemberDescription) else of.expected_output,
        additional_context=of.additional_context if isinstance(of, AgentDescription) else None,
        markdown=of.markdown or None,
    )
    return message or None


def _streaming(of: TeamDescription | MemberDescription) -> Shape | None:
    """AgentOS takes off for its default, so only on is said."""
    return {"stream_member_events": True} if of.stream_member_events else None


def _given(**values: Any) -> Shape:
    return {name: value for name, value in values.items() if value is not None}
