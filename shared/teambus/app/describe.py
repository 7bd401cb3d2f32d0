"""An app in words that may leave the process: no code, and nothing that may hold a secret."""

from collections.abc import Callable
from typing import Any

from teambus.app.agents import Agent
from teambus.app.config import Manifest, config_of
from teambus.app.hooks import BackgroundHook, background_hooks
from teambus.app.models import OpenAIChat
from teambus.app.teambus import TeamBus
from teambus.app.teams import Team
from teambus.app.tools import tool_spec
from teambus.contracts.catalogue import (
    AgentDescription,
    AppDescription,
    HookDescription,
    ManifestDescription,
    MemberDescription,
    ModelDescription,
    TeamDescription,
    ToolDescription,
)


def describe(teambus: TeamBus) -> AppDescription:
    """What the catalogue says of an app that was checked."""
    config = config_of(teambus.config)
    return AppDescription(
        id=teambus.id,
        name=teambus.name,
        description=teambus.description,
        teams=[_team(each) for each in teambus.teams],
        hooks=[_hook(teambus.id, each) for each in background_hooks(teambus)],
        agents=[_agent(each) for each in teambus.agents],
        quick_prompts=config.chat.quick_prompts if config.chat else None,
        manifest={id_: _manifest(each) for id_, each in (config.manifest or {}).items()},
    )


def _team(team: Team) -> TeamDescription:
    return TeamDescription(
        id=team.id,
        name=team.name,
        mode=team.mode,
        db_id=team.db.id if team.db else None,
        session_table=team.db.session_table if team.db else None,
        description=team.description,
        role=team.role,
        instructions=team.instructions,
        markdown=team.markdown,
        expected_output=team.expected_output,
        model=_model(team.model),
        tools=[_tool(each) for each in team.tools],
        tool_call_limit=team.tool_call_limit,
        add_history_to_context=team.add_history_to_context,
        num_history_runs=team.num_history_runs,
        metadata=team.metadata,
        members=[_member(each) for each in team.members],
        stream_member_events=team.stream_member_events,
    )


def _agent(agent: Agent) -> AgentDescription:
    return AgentDescription(
        id=agent.id,
        name=agent.name,
        db_id=agent.db.id if agent.db else None,
        session_table=agent.db.session_table if agent.db else None,
        description=agent.description,
        role=agent.role,
        instructions=agent.instructions,
        markdown=agent.markdown,
        expected_output=agent.expected_output,
        additional_context=agent.additional_context,
        model=_model(agent.model),
        tools=[_tool(each) for each in agent.tools],
        tool_call_limit=agent.tool_call_limit,
        add_history_to_context=agent.add_history_to_context,
        num_history_runs=agent.num_history_runs,
        metadata=agent.metadata,
    )


def _member(member: Agent | Team) -> MemberDescription:
    nested = member.members if isinstance(member, Team) else None
    return MemberDescription(
        id=member.id,
        name=member.name,
        role=member.role,
        description=member.description,
        instructions=member.instructions,
        markdown=member.markdown,
        model=_model(member.model),
        tools=[_tool(each) for each in member.tools],
        tool_call_limit=member.tool_call_limit,
        members=None if nested is None else [_member(each) for each in nested],
        stream_member_events=not isinstance(member, Team) or member.stream_member_events,
    )


def _manifest(manifest: Manifest) -> ManifestDescription:
    return ManifestDescription(
        description=manifest.description,
        labels=manifest.labels,
        quick_prompts=manifest.quick_prompts,
    )


def _model(model: OpenAIChat | None) -> ModelDescription | None:
    # Named field by field, so that what is added to models later stays unsaid until named here.
    if model is None:
        return None
    return ModelDescription(id=model.id, provider=model.provider, name=model.name)


def _tool(function: Callable[..., Any]) -> ToolDescription:
    spec = tool_spec(function)
    return ToolDescription(name=spec.name, description=spec.description, parameters=spec.parameters)


def _hook(app: str, hook: BackgroundHook) -> HookDescription:
    # Of a webhook neither url nor secret is said: either may let its reader post in our name.
    options, kind = hook.options, type(hook.function).__name__
    return HookDescription(
        name=hook.name,
        app=app,
        function=kind if hook.webhook else getattr(hook.function, "__name__", hook.name),
        teams=list(hook.teams),
        members=hook.members,
        on=tuple(options.on),
        attempts_max=options.attempts_max,
        timeout_s=options.timeout_s,
        backoff_s=options.backoff_s,
        concurrency_max=options.concurrency_max,
        replay=options.replay,
        needs_session=hook.needs_session,
    )
