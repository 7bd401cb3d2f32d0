"""The first user story with its sessions in PostgreSQL, which may die like everything else."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest

from tests.support.postgres import PASSWORD, PostgresProcess
from tests.support.system import System, system_of

APP = Path(__file__).parent / "apps" / "postgres_story.py"


@pytest.fixture
def postgres() -> Iterator[PostgresProcess]:
    server = PostgresProcess()
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
async def story(tmp_path: Path, postgres: PostgresProcess) -> AsyncIterator[System]:
    secret = tmp_path / "password"
    secret.write_text(PASSWORD + "\n")
    environment = {
        "TEAM_RUNNER_DB_URL": postgres.url.replace(f":{PASSWORD}@", "@"),
        "TEAM_RUNNER_DB_PASSWORD_FILE": str(secret),
    }
    async with system_of(APP, tmp_path, environment=environment, start=False) as system:
        await system.start()
        yield system


def stored(postgres: PostgresProcess) -> list[tuple[str, str]]:
    with psycopg.connect(postgres.url) as connection:
        asked = "SELECT run_id, status FROM teambus_sessions_runs ORDER BY fence"
        return connection.execute(asked).fetchall()


def secrets_said(folder: Path) -> list[str]:
    logs = [*folder.glob("*.log"), *folder.glob("*.jsonl")]
    return [log.name for log in logs if PASSWORD in log.read_text()]


async def test_a_run_completes_and_is_stored_though_its_database_is_killed_under_it(
    story: System, postgres: PostgresProcess
) -> None:
    first = await story.run("before", session_id="s")
    await story.model.rules([{"match": "Give facts", "hold": "gate"}])
    posted = asyncio.create_task(story.post("during", session_id="s"))
    await story.model.wait_for_calls(4 + 3, timeout_s=30)
    postgres.kill()
    await story.model.release("gate")
    await story.model.wait_for_calls(4 + 4, timeout_s=30)
    await asyncio.wait((posted,), timeout=1)
    assert not posted.done()  # what is not stored is not answered
    await asyncio.to_thread(postgres.start)
    answer = await posted
    assert answer.status_code == 200, answer.text
    run = answer.json()
    assert run["status"] == "COMPLETED"
    assert stored(postgres) == [(first["run_id"], "COMPLETED"), (run["run_id"], "COMPLETED")]
    assert len(await story.hook_lines(1, containing=run["run_id"])) == 1
    told = (await story.client.get("/sessions/s/runs")).json()
    assert {each["run_id"] for each in told} >= {first["run_id"], run["run_id"]}
    assert secrets_said(story.folder) == []


async def test_a_run_asked_for_while_the_database_is_away_waits_unpaid_and_completes(
    story: System, postgres: PostgresProcess
) -> None:
    postgres.kill()
    posted = asyncio.create_task(story.post("early"))
    await asyncio.wait((posted,), timeout=1)
    assert not posted.done()
    await asyncio.to_thread(postgres.start)
    answer = await posted
    assert (answer.status_code, answer.json()["status"]) == (200, "COMPLETED")
    assert stored(postgres) == [(answer.json()["run_id"], "COMPLETED")]


async def test_a_runner_that_is_not_told_where_the_database_is_does_not_start(
    story: System,
) -> None:
    with pytest.raises(AssertionError, match="ended with 2 before ready"):
        await story.second_runner.start(TEAM_RUNNER_DB_URL="")
    assert "TEAM_RUNNER_DB_URL_FILE" in story.second_runner.facts["error"]


async def test_a_runner_with_a_wrong_password_does_not_start(story: System) -> None:
    wrong = {"TEAM_RUNNER_DB_PASSWORD_FILE": "", "TEAM_RUNNER_DB_PASSWORD": "wr0ng-one"}
    with pytest.raises(AssertionError, match="ended with 2 before ready"):
        await story.second_runner.start(**wrong)
    assert "the password is wrong" in story.second_runner.facts["error"]
    assert "wr0ng-one" not in story.second_runner.log.read_text()
