"""A team whose hook asks for the session its run belongs to."""

import os
from pathlib import Path

from teambus import Agent, AsyncSqliteDb, OpenAIChat, Session, Team, TeamBus, TeamRunOutput, hook


@hook(run_in_background=True, name="remember", backoff_s=0.1)
def remember(run_output: TeamRunOutput, session: Session) -> None:
    runs = [run.run_id for run in session.runs]
    with Path(os.environ["HOOK_LOG"]).open("a") as log:
        log.write(f"{session.session_id} {len(runs)} {runs[-1] == run_output.run_id}\n")


teambus = TeamBus(
    id="remembering",
    teams=[
        Team(
            id="content-team",
            name="ContentTeam",
            model=OpenAIChat(id="gpt-5.2"),
            members=[Agent(name="Writer", instructions="Write prose.")],
            db=AsyncSqliteDb(db_file=str(Path(os.environ["TEST_FOLDER"]) / "team.db")),
            post_hooks=[remember],
        )
    ],
)
