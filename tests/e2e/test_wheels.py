"""What is handed out: four wheels, installed where there is no checkout."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from teambus.local.ports import free_port
from teambus.testing.model import ModelServer
from tests.e2e.conftest import APPS
from tests.support.program import GONE_S, program
from tests.support.supervised import ROOT, all_gone, until

DISTRIBUTIONS = ("shared", "services/gateway", "services/team-runner", "services/hook-runner")
COMMAND_S = 300
UNREACHABLE = ("Retrying", "ConnectionError", "timed out")

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
async def installed(tmp_path: Path) -> AsyncIterator[Path]:
    """The programs of an environment that has the wheels and what they need, and nothing else."""
    dist, venv = tmp_path / "dist", tmp_path / "venv"
    sources = [str(ROOT / each) for each in DISTRIBUTIONS]
    build = ("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(dist))
    await run(sys.executable, "-P", "-m", "pip", *build, *sources)
    await run(sys.executable, "-m", "venv", str(venv))
    pip = (str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-compile")
    await run(*pip, "--constraint", constraints(tmp_path), *wheels(dist))
    yield venv / "bin"
    shutil.rmtree(venv)


async def test_installed_from_wheels_a_users_program_is_served_outside_the_checkout(
    installed: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    shutil.copy(APPS / "their_app.py", folder)
    python, teambus = str(installed / "python"), str(installed / "teambus")
    where = await run(python, "-c", "import teambus; print(teambus.__file__)", folder=folder)
    assert where.startswith(str(tmp_path)), where
    async with ModelServer() as model:
        variables = {
            "PORT": str(free_port("127.0.0.1")),
            "PYTHONPATH": "",
            "OPENAI_API_KEY": "scripted",
            "OPENAI_BASE_URL": model.base_url,
        }
        async with program(python, "their_app.py", folder=folder, **variables) as started:
            answer = await started.post("from wheels")
            assert answer.status_code == 200, answer.text
            assert answer.json()["status"] == "COMPLETED"
            assert "their_app:app is served at" in await run(teambus, "status", folder=folder)
            family = started.family()
            assert await started.end(signal.SIGTERM) == 0, started.said()
    await until(lambda: all_gone(family), GONE_S, f"gone: {family}")


def wheels(dist: Path) -> list[str]:
    """By their files: no registry is asked for a package of ours."""
    found = sorted(str(wheel) for wheel in dist.glob("*.whl"))
    assert len(found) == len(DISTRIBUTIONS), found
    return [f"{each}[local]" if Path(each).name.startswith("teambus-") else each for each in found]


def constraints(folder: Path) -> str:
    """The versions of the lock file, without its hashes: those would forbid our own wheels."""
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    file = folder / "constraints.txt"
    file.write_text("\n".join(x.removesuffix("\\") for x in lines if "==" in x) + "\n")
    return str(file)


async def run(*command: str, folder: Path | None = None) -> str:
    """What it prints; skips where it fails because no registry can be reached."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": ""},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(COMMAND_S):
        printed, _ = await process.communicate()
    said = printed.decode()
    if process.returncode and any(sign in said for sign in UNREACHABLE):
        pytest.skip(f"the package registry cannot be reached: {said[-500:]}")
    assert process.returncode == 0, said
    return said
