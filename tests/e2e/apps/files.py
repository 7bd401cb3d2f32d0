"""A team of two that is given files, and a background hook that writes down what it is told."""

import os
from pathlib import Path

from teambus import Agent, AsyncSqliteDb, OpenAIChat, Team, TeamBus, TeamRunOutput, hook


@hook(run_in_background=True, name="note-files")
def note_files(run_output: TeamRunOutput) -> None:
    images = (run_output.input and run_output.input.images) or []
    keys = [each.media_reference.storage_key for each in images if each.media_reference]
    with Path(os.environ["HOOK_LOG"]).open("a") as log:
        log.write(f"{run_output.run_id} {' '.join(keys)}\n")


content_team = Team(
    id="content-team",
    name="ContentTeam",
    model=OpenAIChat(id="gpt-5.2"),
    members=[
        Agent(name="Researcher", role="finds facts", instructions="Give facts."),
        Agent(name="Writer", role="writes", instructions="Write prose."),
    ],
    db=AsyncSqliteDb(db_file=str(Path(os.environ["TEST_FOLDER"]) / "team.db")),
    post_hooks=[note_files],
)

teambus = TeamBus(id="files", teams=[content_team])
