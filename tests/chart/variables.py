"""Which variables each service reads, as its settings say, and which the chart sets itself."""

from collections.abc import Iterator
from dataclasses import Field, fields
from typing import Any, get_type_hints

from teambus.bus.topology import TopologySettings
from teambus.cli.provisioning import ProvisionSettings
from teambus_gateway.settings import GatewaySettings
from teambus_hook_runner.settings import Settings as HookRunnerSettings
from teambus_team_runner.settings import Settings as TeamRunnerSettings

KINDS: dict[str, list[tuple[type, str]]] = {
    "gateway": [(GatewaySettings, "GATEWAY")],
    "team-runner": [(TeamRunnerSettings, "TEAM_RUNNER")],
    "hook-runner": [(HookRunnerSettings, "HOOK_RUNNER")],
    "provision": [(ProvisionSettings, "PROVISION"), (TopologySettings, "TOPOLOGY")],
}
EVERYBODYS = {"TEAMBUS_LOG", "TEAMBUS_LOG_LEVEL"}
OF_THE_MODELS = {"OPENAI_BASE_URL", "OPENAI_ORG_ID"}
"""Read by the model's client itself."""
THE_CHARTS = {
    *("MANAGEMENT_HOST", "MANAGEMENT_PORT", "TEAMBUS_APP", "TEAMBUS_APP_DIR", "TEAMBUS_APP_ID"),
    *("GATEWAY_HOST", "GATEWAY_PORT", "GATEWAY_LISTEN_FD", "TEAM_RUNNER_SESSIONS_ONLY"),
    *("GATEWAY_DRAIN_S", "TEAM_RUNNER_DRAIN_S", "HOOK_RUNNER_DRAIN_S"),
    *("HOOK_RUNNER_HOOKS", "HOOK_RUNNER_HOOKS_EXCEPT"),
    *("TEAMBUS_API_KEYS_FILE", "JWT_JWKS_FILE"),
}


def variables(service: str) -> dict[str, Any]:
    """Every variable the service reads, with the type of its value; secrets also as files."""
    found: dict[str, Any] = {}
    for kind, prefix in KINDS[service]:
        for name, hint, field in _settings(kind, prefix):
            found[name] = hint
            if field.metadata.get("is_secret"):
                found[f"{name}_FILE"] = str
    return found


def chosen_freely(service: str) -> dict[str, Any]:
    """What people may write under `settings` in the chart's values."""
    secret = {
        name
        for kind, prefix in KINDS[service]
        for name, _, field in _settings(kind, prefix)
        if field.metadata.get("is_secret")
    }
    taken = THE_CHARTS | secret | {f"{name}_FILE" for name in secret}
    return {
        name: hint
        for name, hint in variables(service).items()
        if name not in taken and not name.startswith("NATS_")
    }


def _settings(kind: type, prefix: str) -> Iterator[tuple[str, Any, "Field[Any]"]]:
    hints = get_type_hints(kind)
    for field in fields(kind):
        if group := field.metadata.get("group"):
            yield from _settings(hints[field.name], group)
        else:
            name = field.metadata.get("variable", f"{prefix}_{field.name}".upper())
            yield name, hints[field.name], field
