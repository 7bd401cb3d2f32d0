"""What `/metrics` reports is what the stored runs say, day by day."""

from pathlib import Path
from typing import Any

import pytest

from teambus.contracts.output import RunStatus
from teambus_team_runner.sessions import usage
from tests.integration.session_api_parts import Library, library
from tests.integration.session_questions import spent, team_run

DAY_S = 24 * 3600
NOON = 1_700_006_400 - 1_700_006_400 % DAY_S + 12 * 3600
FIRST, SECOND, THIRD = "2023-11-15", "2023-11-16", "2023-11-17"


async def stored(here: Library) -> None:
    """Two days of a team and an agent, and a third on which a run failed without any model."""
    runs: list[tuple[str, str, dict[str, Any]]] = [
        ("r1", "s1", {"created_at": NOON, "user_id": "ann"}),
        ("r2", "s1", {"created_at": NOON + 60, "user_id": "ann"}),
        ("r3", "s2", {"created_at": NOON + 61, "user_id": "bob"}),
        ("r4", "s2", {"created_at": NOON + DAY_S, "metrics": spent(100, "small")}),
        ("r5", "s3", {"created_at": NOON + DAY_S, "agent_id": "clerk", "member_responses": []}),
        ("r6", "s4", {"created_at": NOON + 2 * DAY_S, "metrics": None, "member_responses": []}),
    ]
    for fence, (run_id, session_id, changes) in enumerate(runs, start=1):
        status = RunStatus.ERROR if run_id == "r6" else RunStatus.COMPLETED
        await here.store.save(team_run(run_id, fence, session_id, status=status, **changes))


async def days(here: Library, **query: Any) -> list[dict[str, Any]]:
    answer = await here.get("/metrics", **query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["metrics"]
    return found


async def test_a_day_is_reported_in_the_words_of_agentos(tmp_path: Path) -> None:
    async with library(tmp_path) as here:
        await stored(here)
        report = (await here.get("/metrics")).json()
    first, second, third = report["metrics"]
    assert first == {
        "id": f"{FIRST}_daily",
        "agent_runs_count": 0,
        "agent_sessions_count": 0,
        "team_runs_count": 3,
        "team_sessions_count": 2,
        "workflow_runs_count": 0,
        "workflow_sessions_count": 0,
        "users_count": 2,
        "token_metrics": {
            "input_tokens": 3 * 15,
            "output_tokens": 3 * 2,
            "total_tokens": 3 * 17,
            "audio_total_tokens": 0,
            "audio_input_tokens": 0,
            "audio_output_tokens": 0,
            "cache_read_tokens": 0,
            "cache_write_tokens": 0,
            "reasoning_tokens": 0,
        },
        "model_metrics": [{"model_id": "gpt-5.2", "model_provider": "OpenAI", "count": 3}],
        "date": f"{FIRST}T00:00:00Z",
        "created_at": f"{FIRST}T12:00:00Z",
        "updated_at": first["updated_at"],
    }
    assert second["date"] == f"{SECOND}T00:00:00Z"
    assert (second["team_runs_count"], second["agent_runs_count"]) == (1, 1)
    assert (second["team_sessions_count"], second["agent_sessions_count"]) == (1, 1)
    counted = {each["model_id"]: each["count"] for each in second["model_metrics"]}
    assert counted == {"gpt-5.2": 2, "small": 1}
    assert second["token_metrics"]["total_tokens"] == (101 + 6) + 11
    assert (third["team_runs_count"], third["users_count"]) == (1, 0)
    assert (third["token_metrics"]["total_tokens"], third["model_metrics"]) == (0, [])
    assert report["updated_at"] == max(day["updated_at"] for day in report["metrics"])


async def test_without_runs_there_is_nothing_to_report(tmp_path: Path) -> None:
    async with library(tmp_path) as here:
        assert (await here.get("/metrics")).json() == {"metrics": [], "updated_at": None}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"starting_date": SECOND}, [SECOND, THIRD]),
        ({"ending_date": SECOND}, [FIRST, SECOND]),
        ({"starting_date": SECOND, "ending_date": SECOND}, [SECOND]),
        ({"starting_date": THIRD, "ending_date": FIRST}, []),
        ({"user_id": "ann"}, [FIRST]),
        ({"user_id": "nobody"}, []),
        ({"db_id": "team-db", "table": "teambus_sessions"}, [FIRST, SECOND, THIRD]),
    ],
)
async def test_only_what_is_asked_for_is_reported(
    tmp_path: Path, query: dict[str, str], expected: list[str]
) -> None:
    async with library(tmp_path) as here:
        await stored(here)
        found = await days(here, **query)
    assert [day["date"][:10] for day in found] == expected
    if "user_id" in query and found:
        assert (found[0]["team_runs_count"], found[0]["users_count"]) == (2, 1)


async def test_a_day_begins_and_ends_at_midnight(tmp_path: Path) -> None:
    midnight = NOON - NOON % DAY_S
    async with library(tmp_path) as here:
        for fence, at in enumerate((midnight - 1, midnight, midnight + DAY_S - 1), start=1):
            await here.store.save(team_run(f"r{fence}", fence, created_at=at))
        all_days = await days(here)
        [only] = await days(here, starting_date=FIRST, ending_date=FIRST)
    assert [day["team_runs_count"] for day in all_days] == [1, 2]
    assert (only["team_runs_count"], only["token_metrics"]["total_tokens"]) == (2, 34)


async def test_more_runs_than_are_read_at_once_are_all_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "ROWS_AT_ONCE", 2)
    async with library(tmp_path) as here:
        for fence in range(1, 8):
            await here.store.save(team_run(f"r{fence}", fence, created_at=NOON))
        [day] = await days(here)
    assert (day["team_runs_count"], day["token_metrics"]["total_tokens"]) == (7, 7 * 17)


@pytest.mark.parametrize(
    ("query", "status", "detail"),
    [
        ({}, 400, "The db_id query parameter is required when using multiple databases"),
        ({"db_id": "nope"}, 404, "No database found with id 'nope'"),
    ],
)
@pytest.mark.parametrize("path", ["/metrics", "/metrics/refresh/status", "/metrics/refresh"])
async def test_which_database_is_meant_must_be_clear(
    tmp_path: Path, path: str, query: dict[str, str], status: int, detail: str
) -> None:
    method = "POST" if path == "/metrics/refresh" else "GET"
    async with library(tmp_path, teams=2) as here:
        for more in ({}, {"background": "true"}) if method == "POST" else ({},):
            answer = await here.send(method, path, **query, **more)
            assert (answer.status_code, answer.json()) == (status, {"detail": detail})


async def test_a_date_that_is_none_is_refused_as_fastapi_would(tmp_path: Path) -> None:
    async with library(tmp_path) as here:
        answer = await here.get("/metrics", starting_date="soon")
    [problem] = answer.json()["detail"]
    assert (answer.status_code, problem["loc"]) == (422, ["query", "starting_date"])
    assert problem["type"] == "date_from_datetime_parsing"


async def test_a_refresh_has_nothing_to_wait_for(tmp_path: Path) -> None:
    async with library(tmp_path) as here:
        await stored(here)
        now = await here.send("POST", "/metrics/refresh")
        later = await here.send("POST", "/metrics/refresh", background="true")
        status = (await here.get("/metrics/refresh/status")).json()
        report = (await here.get("/metrics")).json()
    assert (now.status_code, now.json()) == (200, report["metrics"])
    assert (later.status_code, later.json()["status"]) == (202, "started")
    assert (status["status"], status["error"]) == ("completed", None)


async def test_without_a_runner_the_report_is_asked_for_again_later(tmp_path: Path) -> None:
    async with library(tmp_path) as here:
        await here.answering.aclose()
        answer = await here.get("/metrics")
    assert (answer.status_code, answer.json()["code"]) == (503, "database_unserved")
    assert "retry-after" in answer.headers
