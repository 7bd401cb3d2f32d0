"""The doctor compares what the server lets an identity do with what it needs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from teambus.bus import permissions, topology
from teambus.bus.connection import connect
from teambus.bus.permissions import Rights
from teambus.bus.provision import provision
from teambus.cli.entitlement import check_rights
from teambus.cli.findings import Finding
from teambus.cli.options import UsageError
from teambus.cli.permissions import user
from tests.integration.bus_parts import APP, here
from tests.support.locked import ADMIN, Lock, LockedServer

JOURNALS = "teambus.v1.journal.*.*.*"
RUNNER = permissions.team_runner(APP)


@asynccontextmanager
async def served(folder: Path, *listed: Rights) -> AsyncIterator[LockedServer]:
    """A provisioned bus that lets these do what is listed."""
    lock = Lock(folder / "lock")
    for identity in (ADMIN, *(rights.identity for rights in listed)):
        lock.renew(identity)
    users = [user(rights, lock.keys[rights.identity]) for rights in listed]
    lock.write({"TEAMBUS": {"jetstream": "enabled", "users": users}})
    async with LockedServer(folder / "nats", lock) as server:
        async with connect(lock.settings(ADMIN, server.url)) as bus:
            await provision(bus, APP, topology.TopologySettings())
        yield server


async def found(server: LockedServer, known_as: str, identity: str = "") -> list[Finding]:
    assert server.lock is not None
    async with connect(server.lock.settings(known_as, server.url)) as bus:
        return await check_rights(bus, identity or known_as)


async def test_who_may_do_what_it_needs_has_nothing_to_mend(tmp_path: Path) -> None:
    everybody = permissions.everybody([APP])
    async with served(tmp_path, *everybody) as server:
        for rights in everybody:
            [finding] = await found(server, rights.identity)
            assert (finding.level, finding.mend) == ("ok", None), finding


async def test_what_is_lacking_and_what_is_too_much_is_named(tmp_path: Path) -> None:
    lacking = tuple(each for each in RUNNER.publish if each != JOURNALS)
    drifted = replace(RUNNER, publish=(*lacking, "teambus.v1.request.>"))
    async with served(tmp_path, drifted) as server:
        fault, note = await found(server, RUNNER.identity)
    assert (fault.level, note.level) == ("fault", "note")
    assert fault.says == f"{RUNNER.identity} may not use {JOURNALS}"
    assert note.says.endswith("may use what it does not need: teambus.v1.request.>")
    assert "teambus permissions" in str(fault.mend)


async def test_who_may_not_even_ask_is_told(tmp_path: Path) -> None:
    silent = replace(RUNNER, publish=(JOURNALS,))
    async with served(tmp_path, silent) as server:
        [finding] = await found(server, RUNNER.identity)
    assert finding.level == "fault"
    assert permissions.WHO_AM_I in finding.says


async def test_who_may_do_everything_is_noted_and_a_bus_without_limits_is_fine(
    tmp_path: Path,
) -> None:
    async with served(tmp_path) as server:
        [finding] = await found(server, ADMIN)
    assert (finding.level, "may do everything" in finding.says) == ("note", True)
    async with here(tmp_path / "open") as place:
        [finding] = await check_rights(place.bus, "doctor")
    assert finding.level == "ok"


async def test_who_is_unknown_is_told_who_there_is(tmp_path: Path) -> None:
    async with served(tmp_path, RUNNER) as server:
        with pytest.raises(UsageError, match=RUNNER.identity):
            await found(server, RUNNER.identity, "team-runner.gone")
