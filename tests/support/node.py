"""Node for clients in JavaScript: found, checked, and given its packages from the lock."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest

NODE_MAJOR_MIN = 20
INSTALL_S = 300


def installed(clients: Path, kept: Path) -> Path:
    """A folder in `kept` with a copy of `clients` and its packages beside it.

    Skips where Node, npm or their registry are missing.
    """
    npm = _npm()
    lock = (clients / "package-lock.json").read_bytes()
    folder = kept / hashlib.sha256(lock).hexdigest()[:16]
    shutil.copytree(clients, folder, dirs_exist_ok=True)
    if not (folder / "node_modules" / ".package-lock.json").exists():
        _install(npm, folder)
    return folder


def _npm() -> str:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("node and npm are not both installed")
    asked = subprocess.run(
        [node, "-p", "JSON.stringify(process.versions)"], capture_output=True, check=True
    )
    version = json.loads(asked.stdout)["node"]
    if int(version.split(".")[0]) < NODE_MAJOR_MIN:
        pytest.skip(f"node {version} is older than {NODE_MAJOR_MIN}")
    return npm


def _install(npm: str, folder: Path) -> None:
    command = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
    asked = subprocess.run(
        command, check=False, cwd=folder, capture_output=True, text=True, timeout=INSTALL_S
    )
    if asked.returncode != 0:
        pytest.skip(f"npm ci failed: {asked.stderr[-500:]}")
