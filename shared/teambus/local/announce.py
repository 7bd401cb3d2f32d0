"""What the supervisor says about itself: on the terminal, and in status.json."""

import os
from typing import Any

from teambus.local.loading import AppFacts
from teambus.local.settings import ServeSettings

Status = dict[str, Any]
QUESTION = "Write a short paragraph about Python"


def status(
    settings: ServeSettings,
    *,
    port: int,
    since: str,
    bus: dict[str, Any],
    services: list[dict[str, Any]],
    facts: AppFacts,
) -> Status:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return {
        "pid": os.getpid(),
        "since": since,
        "port": port,
        "url": f"http://{host}:{port}",
        "app": settings.app,
        "app_dir": str(settings.app_dir.absolute()),
        "data_dir": str(settings.data_dir.absolute()),
        "reload": settings.reload,
        "teams": facts.teams,
        "agents": facts.agents,
        "hooks": facts.hooks,
        "nats": bus,
        "services": services,
    }


def table(said: Status) -> str:
    """One line for each process."""
    nats = said.get("nats", {})
    owner = f"pid {nats['pid']}" if nats.get("pid") else "not ours (NATS_URL)"
    rows = [("nats", owner, str(nats.get("url", "")))]
    for service in said.get("services", []):
        rows.append((service["name"], _pid(service), _place(service)))
    return "\n".join(f"  {name:<12} {pid:<12} {place}".rstrip() for name, pid, place in rows)


def started(said: Status) -> str:
    lines = [
        f"{said['app']} is served at {said['url']}",
        table(said),
        f"  data in {said['data_dir']}",
    ]
    paths = [f"/teams/{id_}" for id_ in said["teams"]]
    paths += [f"/agents/{id_}" for id_ in said["agents"]]
    if paths:
        lines += ["try:", f"  {curl(said['url'], paths[0])}"]
    return "\n".join([*lines, "stop with Ctrl-C"])


def curl(url: str, path: str) -> str:
    """The command that asks what is served under `path`."""
    return f'curl -X POST {url}{path}/runs -F "message={QUESTION}" -F "stream=false"'


def _pid(service: dict[str, Any]) -> str:
    return f"pid {service['pid']}" if service.get("pid") else "not running"


def _place(service: dict[str, Any]) -> str:
    state = "ready" if service.get("ready") else "not ready"
    port = service.get("management_port")
    ends = f", ended unasked {service['ended']} times" if service.get("ended") else ""
    return f"{state}{ends}" + (f", http://127.0.0.1:{port}/readyz" if port else "")
