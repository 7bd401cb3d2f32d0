"""The doctor asks a runner what it can reach, for only runners have the keys."""

import json
from pathlib import Path
from typing import Any

from tests.e2e.conftest import APPS
from tests.support.system import System, system_of


async def findings(system: System) -> tuple[int, dict[str, dict[str, Any]]]:
    code, said = await system.teambus("doctor", "--json")
    return code, {each["about"]: each for each in json.loads(said)["findings"]}


async def test_the_doctor_says_whether_database_and_model_are_reached(tmp_path: Path) -> None:
    async with system_of(APPS / "story.py", tmp_path) as system:
        _, found = await findings(system)
        database, model = found["database team-db"], found["model 127.0.0.1"]
        assert (database["level"], model["level"], found["clock"]["level"]) == ("ok", "ok", "ok")
        assert database["says"] == "reached; its tables are of version 2"
        assert model["says"] == "reached, the key is accepted; it has gpt-5.2"
        file = tmp_path / "team.db"
        file.rename(tmp_path / "elsewhere")
        file.mkdir()
        await system.model.__aexit__(None, None, None)
        code, found = await findings(system)
        assert code == 1
        database, model = found["database team-db"], found["model 127.0.0.1"]
        assert (database["level"], model["level"]) == ("fault", "fault")
        assert "cannot be opened" in database["says"]
        assert "TEAM_RUNNER_DB_URL" in database["mend"]
        assert "OPENAI_BASE_URL" in model["mend"]
