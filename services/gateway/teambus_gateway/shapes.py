"""Teams and the app in the words of AgentOS: what `/teams`, `/config` and `/info` answer.

Nulls are left out, unless AgentOS writes them.
"""

from typing import Any

from teambus.contracts.catalogue import (
    AppDescription,
    MemberDescription,
    ModelDescription,
    TeamDescription,
    ToolDescription,
)

NAME = "AgentOS"
OS_VERSION = "1.0.0"
AGNO_VERSION = "3.1.10"
"""The version whose HTTP interface is spoken here."""

Shape = dict[str, Any]
DELEGATION = ToolDescription(
    name="delegate_task_to_member",
    description="Give a task to one member of the team and get the member's answer.",
    parameters={
        "type": "object",
        "properties": {"member_id": {"type": "string"}, "task": {"type": "string"}},
        "required": ["member_id", "task"],
        "additionalProperties": False,
    },
)


def team_shape(team: TeamDescription) -> Shape:
    """A TeamResponse."""
    sessions = None
    if team.session_table is not None:
        sessions = _given(
            session_table=team.session_table,
            add_history_to_context=team.add_history_to_context or None,
            num_history_runs=team.num_history_runs,
        )
    return _given(
        id=team.id,
        name=team.name,
        db_id=team.db_id,
        description=team.description,
        role=team.role,
        mode=team.mode,
        model=_model(team.model),
        tools=_tools([DELEGATION, *team.tools], team.tool_call_limit),
        sessions=sessions,
        reasoning={"reasoning": False},
        system_message=_system_message(team),
        streaming=_streaming(team),
        members=[member_shape(member) for member in team.members],
        metadata=team.metadata,
        is_factory=False,
        is_component=False,
        sandboxed=False,
    )


def member_shape(member: MemberDescription) -> Shape:
    """An AgentResponse, or a TeamResponse for a nested team."""
    is_team = member.members is not None
    tools = [DELEGATION, *member.tools] if is_team else member.tools
    return _given(
        id=member.id,
        name=member.name,
        role=member.role,
        description=member.description,
        model=_model(member.model),
        tools=_tools(tools, member.tool_call_limit),
        reasoning={"reasoning": False},
        system_message=_system_message(member),
        streaming=_streaming(member),
        members=[member_shape(each) for each in member.members or []] if is_team else None,
        filesystem=None if is_team else False,
        is_factory=False,
        is_component=False,
        sandboxed=False,
    )


def config_shape(apps: list[AppDescription]) -> Shape:
    """A ConfigResponse. Several apps behind one gateway are shown as one."""
    teams = [team for app in apps for team in app.teams]
    app = apps[0] if len(apps) == 1 else None
    return {
        **_identity(apps),
        **_given(description=app.description if app else None),
        "available_models": _available_models(teams),
        "databases": _databases(teams),
        "session": {"dbs": _session_databases(teams)},
        "agents": [],
        "teams": [_summary(team) for team in teams],
        "workflows": [],
        "interfaces": [],
        "company": None,
    }


def info_shape(apps: list[AppDescription]) -> Shape:
    """What AgentOS says of itself; nulls are kept."""
    return {
        "name": None,
        **_identity(apps),
        "os_version": OS_VERSION,
        "agno_version": AGNO_VERSION,
        "agent_count": 0,
        "team_count": sum(len(app.teams) for app in apps),
        "workflow_count": 0,
        "mcp": {"enabled": False, "path": None, "oauth": None, "tool_run_endpoint": None},
        "auth_mode": "none",
        "user_isolation": False,
    }


def _identity(apps: list[AppDescription]) -> Shape:
    if len(apps) != 1:
        return {"os_id": "teambus"}
    return _given(os_id=apps[0].id, name=apps[0].name)


def _summary(team: TeamDescription) -> Shape:
    model = None if team.model is None else {"id": team.model.id, "provider": team.model.provider}
    return _given(
        id=team.id,
        name=team.name,
        description=team.description,
        db_id=team.db_id,
        mode=team.mode,
        model=model,
        metadata=team.metadata,
        sandboxed=False,
    )


def _available_models(teams: list[TeamDescription]) -> list[Shape]:
    pairs = {(model.id, model.provider) for team in teams for model in _models(team)}
    return [{"id": id_, "provider": provider} for id_, provider in sorted(pairs)]


def _models(of: TeamDescription | MemberDescription) -> list[ModelDescription]:
    inner = [model for member in of.members or [] for model in _models(member)]
    return [*([of.model] if of.model else []), *inner]


def _databases(teams: list[TeamDescription]) -> list[str]:
    return sorted({team.db_id for team in teams if team.db_id is not None})


def _session_databases(teams: list[TeamDescription]) -> list[Shape]:
    tables: dict[str, set[str]] = {}
    for team in teams:
        if team.db_id is not None:
            tables.setdefault(team.db_id, set()).update(
                [team.session_table] if team.session_table else []
            )
    return [
        {"db_id": db_id, "domain_config": {"display_name": db_id}, "tables": sorted(names)}
        for db_id, names in sorted(tables.items())
    ]


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


def _system_message(of: TeamDescription | MemberDescription) -> Shape | None:
    expected = of.expected_output if isinstance(of, TeamDescription) else None
    message = _given(
        instructions=of.instructions, markdown=of.markdown or None, expected_output=expected
    )
    return message or None


def _streaming(of: TeamDescription | MemberDescription) -> Shape | None:
    return None if of.stream_member_events else {"stream_member_events": False}


def _given(**values: Any) -> Shape:
    return {name: value for name, value in values.items() if value is not None}
