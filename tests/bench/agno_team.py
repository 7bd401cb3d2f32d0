"""The measured team on Agno's AgentOS. Runs in a venv of its own, where Agno is installed."""

from agno.agent import Agent  # type: ignore[import-not-found] # only in Agno's own venv
from agno.db.sqlite import AsyncSqliteDb  # type: ignore[import-not-found] # as above
from agno.hooks.decorator import hook  # type: ignore[import-not-found] # as above
from agno.models.openai import OpenAIChat  # type: ignore[import-not-found] # as above
from agno.os import AgentOS  # type: ignore[import-not-found] # as above
from agno.run.team import TeamRunOutput  # type: ignore[import-not-found] # as above
from agno.team import Team  # type: ignore[import-not-found] # as above


@hook(run_in_background=True)  # type: ignore[untyped-decorator] # Agno is not there to be typed
async def note_run(run_output: TeamRunOutput) -> None:
    len(str(run_output.content))


app = AgentOS(
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
            db=AsyncSqliteDb(db_file="agno.db"),
            post_hooks=[note_run],
            markdown=True,
            telemetry=False,
        )
    ],
    telemetry=False,
).get_app()
