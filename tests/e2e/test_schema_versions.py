"""A team-runner that finds the sessions of another version: older ones go on, newer are refused."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.conftest import APPS
from tests.support.system import system_of

VERSION_1 = APPS.parents[1] / "integration" / "sessions_of_version_1.sql"


def make(folder: Path, *, version: int) -> None:
    with closing(sqlite3.connect(folder / "team.db")) as connection:
        connection.executescript(VERSION_1.read_text())
        connection.execute("UPDATE teambus_schema SET version = ?", (version,))
        connection.commit()


async def test_sessions_of_version_1_go_on(tmp_path: Path) -> None:
    make(tmp_path, version=1)
    async with system_of(APPS / "story.py", tmp_path) as story:
        new = await story.run("Write", session_id="s1", user_id="ada")
        runs = (await story.client.get("/sessions/s1/runs", params={"user_id": "ada"})).json()
        assert {run["run_id"] for run in runs} >= {"r1", "r2", new["run_id"]}


async def test_a_runner_does_not_start_on_sessions_of_a_newer_version(tmp_path: Path) -> None:
    make(tmp_path, version=9)
    async with system_of(APPS / "story.py", tmp_path, start=False) as story:
        await story.provision()
        with pytest.raises(AssertionError, match="ended with 2 before ready"):
            await story.runner.start()
        assert story.runner.facts["error"] == (
            f'"{tmp_path / "team.db"}" holds sessions in version 9, this teambus knows versions up '
            "to 2: install a newer teambus or give another database"
        )
