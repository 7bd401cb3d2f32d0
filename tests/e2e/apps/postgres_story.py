"""The story's team with its sessions in PostgreSQL; where that is, the team-runner is told."""

import os
from pathlib import Path

from teambus import Agent, AsyncPostgresDb, OpenAIChat, Team, TeamBus, TeamRunOutput, hook


@hook(run_in_background=True, name="note-run", attempts_max=3, backoff_s=0.1)
def note_run(run_output: TeamRunOutput) -> None:
    with Path(os.environ["HOOK_LOG"]).open("a") as log:
        log.write(f"{run_output.run_id} {run_output.status}\n")


content_team = Team(
    id="content-team",
    name="ContentTeam",
    model=OpenAIChat(id="gpt-5.2"),
    members=[
        Agent(name="Researcher", role="finds facts", instructions="Give facts."),
        Agent(name="Writer", role="writes", instructions="Write prose."),
    ],
    instructions="Coordinate the two.",
    db=AsyncPostgresDb(),
    post_hooks=[note_run],
    markdown=True,
)

teambus = TeamBus(id="story", teams=[content_team])
