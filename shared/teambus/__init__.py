"""Teams of agents as services on NATS: all that a user's program imports."""

from teambus.app.agents import Agent
from teambus.app.config import AgentOSConfig, ChatConfig, Manifest
from teambus.app.contexts import Delivery, RunContext, Session
from teambus.app.databases import AsyncPostgresDb, AsyncSqliteDb
from teambus.app.errors import (
    CheckTrigger,
    DefinitionError,
    InputCheckError,
    OutputCheckError,
    Permanent,
)
from teambus.app.marks import hook
from teambus.app.models import OpenAIChat
from teambus.app.teambus import TeamBus
from teambus.app.teams import Team
from teambus.app.tool_marks import tool
from teambus.app.webhooks import WebhookHook
from teambus.contracts.output import RunOutput, RunStatus, TeamRunInput, TeamRunOutput

__all__ = [
    "Agent",
    "AgentOSConfig",
    "AsyncPostgresDb",
    "AsyncSqliteDb",
    "ChatConfig",
    "CheckTrigger",
    "DefinitionError",
    "Delivery",
    "InputCheckError",
    "Manifest",
    "OpenAIChat",
    "OutputCheckError",
    "Permanent",
    "RunContext",
    "RunOutput",
    "RunStatus",
    "Session",
    "Team",
    "TeamBus",
    "TeamRunInput",
    "TeamRunOutput",
    "WebhookHook",
    "hook",
    "tool",
]
