"""Podman with a storage of its own: the podman of this machine sees nothing of it."""

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".cluster"
TOOLS = ("podman", "runc", "netavark", "aardvark-dns", "catatonit", "iptables", "mmdebstrap")
ALSO_IN = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/lib/podman"))

REMOVING = (
    "pod kill --all",
    "pod rm --all --force --time=0",
    "rm --all --force --time=0",
    "volume rm --all --force",
    "network prune --force",
)

CONTAINERS_CONF = """\
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=4096:4096"]
[network]
network_backend = "netavark"
"""


def why_not() -> str | None:
    """Why containers cannot be run here, if they cannot."""
    if sys.platform != "linux":
        return "containers are run on Linux only"
    if os.geteuid() != 0:
        return "containers are run as root only"
    if missing := [tool for tool in TOOLS if shutil.which(tool, path=ALSO_IN) is None]:
        return f"not installed: {', '.join(missing)}; on Debian `make cluster-test` installs them"
    return None


class CommandFailed(AssertionError):
    """What a command said."""


class Podman:
    """The commands, on a storage in `folder`."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        settings = folder / "containers.conf"
        settings.write_text(CONTAINERS_CONF)
        self.environment = {**os.environ, "CONTAINERS_CONF": str(settings)}
        places = {"root": "store", "runroot": "run", "tmpdir": "run/tmp"}
        places["network-config-dir"] = "networks"
        self.command = ["podman", "--storage-driver=overlay", "--log-level=error"]
        self.command += [f"--{name}={folder / place}" for name, place in places.items()]

    async def __call__(self, *words: str, wait_s: float = 120) -> str:
        """What it printed. Raises `CommandFailed`."""
        status, said = await self.outcome(*words, wait_s=wait_s)
        if status != 0:
            raise CommandFailed(f"podman {' '.join(words)}: {said}")
        return said.strip()

    async def outcome(self, *words: str, wait_s: float = 120) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            *self.command,
            *words,
            env=self.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(wait_s):
            said, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, said.decode()

    async def has_image(self, name: str) -> bool:
        return (await self.outcome("image", "exists", name))[0] == 0

    def remove_all(self) -> None:
        """All but the images, which stay for the next time."""
        for words in REMOVING:
            command = [*self.command, *words.split()]
            subprocess.run(command, check=False, env=self.environment, capture_output=True)
