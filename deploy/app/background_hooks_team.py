"""The sample app: a team of two and a hook that keeps its books after the answer has gone out."""

import asyncio
import os

from teambus import (
    Agent,
    AsyncPostgresDb,
    AsyncSqliteDb,
    OpenAIChat,
    Team,
    TeamBus,
    TeamRunOutput,
    hook,
)

BOOKKEEPING_S = 2

# Runners on several machines share PostgreSQL; where it is, only team-runners are told.
on_postgres = os.environ.get("CONTENT_DESK_DB") == "postgres"
sessions = AsyncPostgresDb() if on_postgres else AsyncSqliteDb(db_file="tmp/content_desk.db")


@hook(run_in_background=True)
async def keep_the_books(run_output: TeamRunOutput, team: Team) -> None:
    """Called with the finished run; whoever asked does not wait for it."""
    length = len(str(run_output.content))
    print(f"books: {team.name} finished {run_output.run_id} with {length} characters")
    await asyncio.sleep(BOOKKEEPING_S)
    print(f"books: {run_output.run_id} is entered")


scout = Agent(
    name="Scout",
    model=OpenAIChat(id="gpt-5.2"),
    instructions="Collect the facts that matter for the question, each in one sentence.",
)

editor = Agent(
    name="Editor",
    model=OpenAIChat(id="gpt-5.2"),
    instructions="Turn facts into a short text that reads well aloud.",
)

content_team = Team(
    id="content-team",
    name="Content desk",
    model=OpenAIChat(id="gpt-5.2"),
    members=[scout, editor],
    instructions="Let the scout find out first, then have the editor write the answer.",
    db=sessions,
    post_hooks=[keep_the_books],
    markdown=True,
)

teambus = TeamBus(teams=[content_team], run_hooks_in_background=True)
app = teambus.get_app()

if __name__ == "__main__":
    teambus.serve(app="background_hooks_team:app", port=7777, reload=True)
