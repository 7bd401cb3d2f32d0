"""A team whose hook ends the process it is called in, and one that knows nothing of that."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from teambus import (
    Agent,
    AsyncSqliteDb,
    OpenAIChat,
    Team,
    TeamBus,
    TeamRunInput,
    TeamRunOutput,
    hook,
)


def end_it_all(run_input: TeamRunInput) -> None:
    if "kill" in run_input.input_content:
        os._exit(1)


@hook(run_in_background=True, name="note-run", backoff_s=0.1, on=("COMPLETED", "ERROR"))
def note_run(run_output: TeamRunOutput) -> None:
    with Path(os.environ["HOOK_LOG"]).open("a") as log:
        log.write(f"{run_output.run_id} {run_output.status}\n")


def team(id_: str, *pre_hooks: Callable[..., Any]) -> Team:
    return Team(
        id=id_,
        name=id_,
        model=OpenAIChat(id="gpt-5.2"),
        members=[Agent(name="Writer")],
        pre_hooks=list(pre_hooks),
        db=AsyncSqliteDb(db_file=str(Path(os.environ["TEST_FOLDER"]) / f"{id_}.db"), id=id_),
        post_hooks=[note_run],
    )


teambus = TeamBus(id="deadly", teams=[team("deadly-team", end_it_all), team("calm-team")])
