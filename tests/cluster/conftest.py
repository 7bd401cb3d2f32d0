"""The images, built once, and podman to run them with."""

import asyncio
import fcntl
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from tests.cluster.engine import Podman, why_not
from tests.cluster.images import build_all
from tests.support.helm import PEERS


@dataclass(frozen=True)
class Built:
    """What `make images` printed, and the podman that has the images."""

    podman: Podman
    said: str


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def built() -> AsyncIterator[Built]:
    """One at a time: there is one storage, and whoever comes begins and ends with none running."""
    if reason := why_not() or (None if PEERS.exists() else "no Helm here: make peers"):
        pytest.skip(reason)
    podman = Podman()
    with (podman.folder / "lock").open("w") as lock:
        await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
        podman.remove_all()
        try:
            yield Built(podman, await build_all(podman))
        finally:
            podman.remove_all()
        assert await podman("ps", "--all", "--quiet") == "", "containers are left"
        assert await podman("network", "ls", "--noheading", "--format={{.Name}}") == "podman"
