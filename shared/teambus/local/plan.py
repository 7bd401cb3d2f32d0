"""What is started on one machine and with which settings; tests plan stand-ins instead."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from teambus.bus.access import Access
from teambus.local.settings import ServeSettings
from teambus.runtime.settings import variables

LISTEN_FD = "GATEWAY_LISTEN_FD"
SERVICES = ("gateway", "team-runner", "hook-runner")


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """How one service is started: `python -P <arguments>`.

    `environment` is all it gets. `descriptors` are inherited, each told by the variable that names
    it. `drain_s` is how long it may take to stop.
    """

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    drain_s: float
    descriptors: Mapping[str, int] = field(default_factory=dict)
    folder: Path | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """`load` ends by itself once the app is described and the bus is as it needs it."""

    load: ServiceSpec
    runners: tuple[ServiceSpec, ...]
    gateway: ServiceSpec


Planner = Callable[[ServeSettings, str, int], Plan]


def plan(settings: ServeSettings, nats_url: str, listen_fd: int) -> Plan:
    """The real services."""
    environment = _environment(settings, nats_url)
    app = ("--app", settings.app, "--app-dir", str(settings.app_dir.absolute()))

    def service(name: str, module: str, **descriptors: int) -> ServiceSpec:
        drain_s = _seconds(environment[_drain(name)], settings.drain_s)
        return ServiceSpec(name, ("-m", module), environment, drain_s, descriptors)

    return Plan(
        load=ServiceSpec("provision", ("-m", "teambus", "provision", *app), environment, 0),
        runners=(
            service("team-runner", "teambus_team_runner"),
            service("hook-runner", "teambus_hook_runner"),
        ),
        gateway=service("gateway", "teambus_gateway", **{LISTEN_FD: listen_fd}),
    )


def _environment(settings: ServeSettings, nats_url: str) -> dict[str, str]:
    drains = {_drain(name): str(settings.drain_s) for name in SERVICES}
    return {
        "PYTHONUNBUFFERED": "1",
        **drains,
        **(os.environ if settings.nats_url else _without_access(os.environ)),
        "NATS_URL": nats_url,
        "TEAMBUS_APP": settings.app,
        "TEAMBUS_APP_DIR": str(settings.app_dir.absolute()),
        "GATEWAY_HOST": settings.host,
        "GATEWAY_PORT": str(settings.port),
    }


def _without_access(environment: Mapping[str, str]) -> dict[str, str]:
    """A server of our own lets in whoever is on this machine, and has no TLS."""
    unneeded = {*variables(Access, "NATS")}
    return {name: value for name, value in environment.items() if name not in unneeded}


def _seconds(text: str, otherwise: float) -> float:
    """What is wrong with it the service itself says best."""
    try:
        return float(text)
    except ValueError:
        return otherwise


def _drain(service: str) -> str:
    return f"{service}_drain_s".replace("-", "_").upper()
