"""A whole system behind a lock, and what the server itself says of who tried what."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from teambus.bus.connection import Bus, connect
from tests.e2e.conftest import APPS
from tests.support.locked import Lock, refused
from tests.support.system import System, system_of

QUICK = {
    "TEAM_RUNNER_JANITOR_LEASE_S": "2",
    "TEAM_RUNNER_JANITOR_SWEEP_S": "0.3",
    "TEAM_RUNNER_UNSERVED_S": "2",
}
TENANTS = ("acme", "beta")


@asynccontextmanager
async def locked_system(folder: Path) -> AsyncIterator[System]:
    """The services of one app; the lock knows those of another app, too."""
    lock = Lock(folder / "lock", TENANTS, others=(APPS / "hooks.py",))
    async with system_of(APPS / "locked.py", folder, environment=QUICK, lock=lock) as system:
        yield system


@asynccontextmanager
async def being(system: System, identity: str) -> AsyncIterator[Bus]:
    """Connected as somebody who is no service of ours: what an intruder with their key would do."""
    assert system.lock is not None
    settings = system.lock.settings(
        identity, system.nats.url, request_timeout_s=1, publish_patience_s=1
    )
    async with connect(settings) as bus:
        yield bus


def violations(system: System) -> list[tuple[str, str]]:
    """Who was refused what so far."""
    assert system.lock is not None
    return refused([system.folder / "nats" / "nats-server.log"], system.lock.keys)
