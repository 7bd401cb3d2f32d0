"""`/readyz` of real processes says what is not as it should be, until it is mended."""

from pathlib import Path
from typing import Any

import httpx2

from teambus.bus import topology
from tests.e2e.conftest import APPS
from tests.support.processes import Process
from tests.support.system import system_of, until

OFTEN = {
    "GATEWAY_TOPOLOGY_LOOK_S": "0.2",
    "TEAM_RUNNER_TOPOLOGY_LOOK_S": "0.2",
    "TEAM_RUNNER_STORE_LOOK_S": "0.2",
    "TEAM_RUNNER_STORE_BUSY_TIMEOUT_S": "0.2",
    "HOOK_RUNNER_TOPOLOGY_LOOK_S": "0.2",
}


async def reasons(process: Process) -> dict[str, str]:
    url = f"http://127.0.0.1:{process.facts['management_port']}/readyz"
    async with httpx2.AsyncClient(timeout=30) as client:
        answer = await client.get(url)
    body: dict[str, Any] = answer.json()
    expected = (503, "unready") if body["reasons"] else (200, "ready")
    assert (answer.status_code, body["status"]) == expected
    found: dict[str, str] = body["reasons"]
    return found


async def says(process: Process, about: str, part: str) -> None:
    async def told() -> bool:
        return part in (await reasons(process)).get(about, "")

    await until(told, 30, f"{about} is not told; {process.tail(5)}")


async def is_ready(process: Process) -> None:
    async def ready() -> bool:
        return not await reasons(process)

    await until(ready, 30, f"still unready; {process.tail(5)}")


async def test_a_service_is_unready_while_its_streams_consumers_or_database_are_wrong(
    tmp_path: Path,
) -> None:
    async with system_of(APPS / "story.py", tmp_path, environment=OFTEN) as system:
        services = system.gateway, system.runner, system.hook_runner
        for process in services:
            await is_ready(process)
        jetstream = system.bus.client.jetstream()
        await jetstream.delete_stream(topology.DEAD)
        for process in (system.gateway, system.runner):
            await says(process, "topology", f"{topology.DEAD} is missing; run `teambus provision")
        await system.provision()
        (hook,) = [each.name for each in await jetstream.consumers_info(topology.EVENTS)]
        await jetstream.delete_consumer(topology.EVENTS, hook)
        await says(
            system.hook_runner, "topology", f"consumer {hook} of {topology.EVENTS} is missing"
        )
        await system.provision()
        database = tmp_path / "team.db"
        database.rename(tmp_path / "elsewhere")
        database.mkdir()
        await says(system.runner, "database", "team-db: the session database is unavailable")
        assert await reasons(system.gateway) == {}
        database.rmdir()
        (tmp_path / "elsewhere").rename(database)
        for process in services:
            await is_ready(process)
