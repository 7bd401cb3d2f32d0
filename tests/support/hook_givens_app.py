"""An app whose hooks write down what they are given."""

import json
import os
from typing import Any

from teambus import Agent, AsyncSqliteDb, OpenAIChat, Session, Team, TeamBus, TeamRunOutput, hook

STORY = os.environ["HOOK_STORY"]


def note(hook_name: str, run_id: str, **facts: Any) -> None:
    with open(STORY, "a", encoding="utf-8") as story:
        story.write(json.dumps({"what": "began", "hook": hook_name, "run": run_id} | facts) + "\n")


@hook(run_in_background=True, name="failures", on=("ERROR", "CANCELLED"))
def failures(run_output: TeamRunOutput) -> None:
    note("failures", run_output.run_id, status=run_output.status)


@hook(run_in_background=True, name="sessions", attempts_max=2, backoff_s=0.2)
async def sessions(run_output: TeamRunOutput, session: Session) -> None:
    note("sessions", run_output.run_id, runs=[run.run_id for run in session.runs])


@hook(run_in_background=True, name="of-members", attempts_max=2, backoff_s=0.2)
def of_members(run_output: Any, agent: Agent, **everything: Any) -> None:
    context = everything["run_context"]
    note(
        "of-members",
        run_output.run_id,
        agent=agent.name,
        session=context.session_id,
        given=sorted(everything),
        keys=[everything["delivery"].id, everything["delivery"].idempotency_key],
    )
    if run_output.content == "raise":
        raise ValueError("not this member")


@hook(run_in_background=True, name="given")
async def given(**everything: Any) -> None:
    facts = {name: type(value).__name__ for name, value in everything.items()}
    context, delivery = everything["run_context"], everything["delivery"]
    note(
        "given",
        everything["run_output"].run_id,
        facts=facts,
        team=everything["team"].name,
        asked=everything["run_input"].input_content,
        context=[context.user_id, context.dependencies, context.metadata, context.session_state],
        delivery=[delivery.id, delivery.attempt, delivery.hook],
        key=delivery.idempotency_key,
        same_key=delivery.idempotency_key == context.idempotency_key,
    )


@hook(run_in_background=True, name="of-agents", on=("COMPLETED", "ERROR"))
async def of_agents(run_output: Any, agent: Agent, session: Session, **everything: Any) -> None:
    note(
        "of-agents",
        run_output.run_id,
        kind=type(run_output).__name__,
        of=[run_output.team_id, run_output.agent_id, agent.name],
        session=[session.team_id, session.agent_id, [run.run_id for run in session.runs]],
        asked=everything["run_input"].input_content,
        given=sorted(everything),
    )


MODEL = OpenAIChat(id="m")
editor = Agent(name="Editor", post_hooks=[of_members])
inner = Team(id="inner", model=MODEL, members=[editor])
news = Team(
    id="news",
    name="News",
    model=MODEL,
    members=[inner, Agent(name="Other")],
    post_hooks=[failures, given],
)
archive = Team(
    id="archive",
    model=MODEL,
    members=[Agent(name="Clerk")],
    db=AsyncSqliteDb(db_file=f"{STORY}.db", id="archive"),
    post_hooks=[sessions],
)
poet = Agent(name="Poet", model=MODEL, db=archive.db, post_hooks=[of_agents])
app = TeamBus(id="givens", teams=[news, archive], agents=[poet])
