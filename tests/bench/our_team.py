"""The measured team on teambus."""

import os
from pathlib import Path

from teambus import Agent, AsyncSqliteDb, OpenAIChat, Team, TeamBus, TeamRunOutput, hook


@hook(run_in_background=True)
async def note_run(run_output: TeamRunOutput) -> None:
    len(str(run_output.content))


teambus = TeamBus(
    id="bench",
    teams=[
        Team(
            id="content-team",
            name="ContentTeam",
            model=OpenAIChat(id="gpt-5.2"),
            members=[
                Agent(name="Researcher", role="finds facts", instructions="Give facts."),
                Agent(name="Writer", role="writes", instructions="Write prose."),
            ],
            instructions="Coordinate the two.",
            db=AsyncSqliteDb(db_file=str(Path(os.environ["TEST_FOLDER"]) / "team.db")),
            post_hooks=[note_run],
            markdown=True,
        )
    ],
)
