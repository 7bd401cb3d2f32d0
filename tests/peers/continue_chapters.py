"""What both servers are asked about going on with runs that have ended."""

from typing import Any

from tests.peers.chapters import (
    AGENT_PATH,
    ANSWER,
    FACTS,
    HELPING,
    LEADER,
    PATH,
    WRITING,
    Rules,
    first_run_id,
)
from tests.peers.visitor import Visitor

MORE = "Longer, please."
GOING_ON: Rules = [
    {"match": [LEADER, MORE], "reply": "The longer article is ready."},
    {"match": [LEADER, ANSWER], "reply": "There is nothing to add."},
    *WRITING,
]
HELPING_ON: Rules = [
    {"match": ["Be of help.", MORE], "reply": "Tea is a plant that is drunk."},
    {"match": ["Be of help.", FACTS], "reply": "There is nothing to add."},
    *HELPING,
]
BROKEN: Rules = [{"match": [LEADER, FACTS], "status": 400, "error": "no such model"}, *WRITING]
REQUIREMENT = (
    '[{"id": "r1", "created_at": "2026-01-01T00:00:00+00:00", "tool_execution":'
    ' {"tool_call_id": "c1", "tool_name": "count_words", "tool_args": {}}}]'
)


async def going_on(visitor: Visitor) -> None:
    """Runs of a team that are gone on with, from their end and from before."""
    await visitor.rules(GOING_ON)
    ended = await visitor.run("a run", "Write about tea", session_id="on", user_id="ann")
    path = f"{PATH}/{ended['run_id']}/continue"
    ask = {"stream": "false", "session_id": "on"}
    more = await visitor.post("from its end", path, **ask)
    await visitor.get("that again", f"{PATH}/{more['run_id']}", session_id="on")
    await visitor.post("with a message", path, input=MORE, **ask)
    await visitor.post("with no requirements", path, requirements="[]", **ask)
    await visitor.post("with what it did not wait for", path, requirements=REQUIREMENT, **ask)
    await visitor.post("from its question", path, continue_from="last_user", **ask)
    await visitor.post("from between a call and its result", path, continue_from="4", **ask)
    await visitor.post("from behind its end", path, continue_from="99", **ask)
    await visitor.post("forked", path, fork="true", **ask)
    await visitor.post("steered only where it is regenerated", path, **steered(), **ask)
    await visitor.get("the runs", "/sessions/on/runs")
    await visitor.get("the previews", "/sessions/on/run-previews")
    await visitor.get("the session", "/sessions/on")


def steered() -> dict[str, str]:
    return {"additional_instructions": MORE}


async def regenerated(visitor: Visitor) -> None:
    """Answers that are made anew, beside the old one or in its place."""
    await visitor.rules(GOING_ON)
    ended = await visitor.run("a run", "Write about tea", session_id="anew")
    path = f"{PATH}/{ended['run_id']}"
    ask = {"stream": "false", "session_id": "anew", "regenerate": "true"}
    await visitor.post("beside it", f"{path}/continue", replace_original="false", **ask)
    await visitor.get("the runs then", "/sessions/anew/runs")
    await visitor.post("in its place", f"{path}/continue", **ask)
    await visitor.get("the runs now", "/sessions/anew/runs")
    await visitor.get("those that stand", "/sessions/anew/runs", status="completed")
    await visitor.get("those that do not", "/sessions/anew/runs", status="regenerated")
    await visitor.get("the session", "/sessions/anew")
    await visitor.get("what was replaced", path, session_id="anew")


async def told_going_on(visitor: Visitor) -> None:
    """Runs told of while they go on."""
    await visitor.rules(GOING_ON)
    ended = await visitor.run("a run", "Write about tea", session_id="tell")
    path = f"{PATH}/{ended['run_id']}/continue"
    ask = {"session_id": "tell"}
    await visitor.post("streamed", path, **ask)
    run_id = first_run_id(visitor, "streamed")
    await visitor.get("the run streamed", f"{PATH}/{run_id}", session_id="tell")
    await visitor.post("from its question", path, continue_from="last_user", **ask)
    await visitor.post("with few events", path, stream_events="false", **ask)
    await visitor.post("in the background", path, background="true", **ask)
    await visitor.post("not streamed", path, background="true", stream="false", **ask)
    await visitor.post("with a message", path, input=MORE, **ask)
    await visitor.post("regenerated", path, regenerate="true", **ask)


async def after_failures(visitor: Visitor) -> None:
    """Runs that failed, gone on with once their model is back."""
    await visitor.rules(BROKEN)
    ask = {"session_id": "back", "stream": "false"}
    failed = await visitor.run("a failed run", "Write about tea", **ask)
    path = f"{PATH}/{failed['run_id']}/continue"
    await visitor.post("failing again", path, **ask)
    await visitor.rules(GOING_ON)
    await visitor.post("succeeding", path, **ask)


async def not_to_go_on(visitor: Visitor) -> None:
    """Runs that cannot be gone on with, and requests that are refused."""
    await visitor.rules(GOING_ON)
    ended = await visitor.run("a run", "Write about tea", session_id="no", user_id="ann")
    path = f"{PATH}/{ended['run_id']}/continue"
    ask = {"stream": "false", "session_id": "no"}
    await visitor.post("without its session", path, stream="false")
    await visitor.post("in another session", path, stream="false", session_id="other")
    await visitor.post("by somebody else", path, user_id="eve", **ask)
    await visitor.post("an unknown run", f"{PATH}/nothing/continue", **ask)
    await visitor.post("of an unknown team", "/teams/nobody/runs/nothing/continue", **ask)
    await visitor.post("requirements that are no JSON", path, requirements="{", **ask)
    await visitor.post("requirements of numbers", path, requirements="[1]", **ask)
    await visitor.post("from nowhere", path, continue_from="the start", **ask)
    await visitor.post("a flag that is none", path, fork="perhaps", **ask)
    for step, form in MISTAKES.items():
        await visitor.post(step, path, **form, **ask)
    await visitor.ask("a JSON body", "POST", path, json=ask)
    await visitor.ask("a wrong method", "GET", path)
    await visitor.post("the cancel", f"{PATH}/gone/cancel")
    await visitor.run("a cancelled run", "Write", run_id="gone", session_id="no", user_id="ann")
    await visitor.post("what was cancelled", f"{PATH}/gone/continue", **ask)
    await visitor.post("told: cancelled", f"{PATH}/gone/continue", session_id="no")
    await visitor.post("told: unknown", f"{PATH}/nothing/continue", session_id="no")
    await visitor.post("told: by somebody else", path, session_id="no", user_id="eve")
    await visitor.post("told: wrong", path, session_id="no", replace_original="true")


MISTAKES: dict[str, dict[str, str]] = {
    "replaced and not regenerated": {"replace_original": "true"},
    "regenerated and forked": {"regenerate": "true", "fork": "true"},
    "regenerated from a number": {"regenerate": "true", "continue_from": "2"},
    "asked twice": {"input": "a", "additional_instructions": "b"},
}


async def agents_going_on(visitor: Visitor) -> None:
    """The same of an agent."""
    await visitor.rules(HELPING_ON)
    asked: dict[str, Any] = {"message": "What is tea?", "session_id": "aid", "stream": "false"}
    ended = await visitor.post("a run", AGENT_PATH, **asked)
    path = f"{AGENT_PATH}/{ended['run_id']}/continue"
    ask = {"session_id": "aid", "stream": "false"}
    await visitor.post("from its end", path, **ask)
    await visitor.post("with a message", path, input=MORE, **ask)
    await visitor.post("from its question", path, continue_from="last_user", **ask)
    await visitor.post("with no tools", path, tools="[]", **ask)
    await visitor.post("tools that are no JSON", path, tools="{", **ask)
    await visitor.post("tools of numbers", path, tools="[1]", **ask)
    await visitor.post("an unknown run", f"{AGENT_PATH}/nothing/continue", **ask)
    await visitor.post("told: unknown", f"{AGENT_PATH}/nothing/continue", session_id="aid")
    await visitor.post("without its session", path, stream="false")
    await visitor.post("streamed", path, session_id="aid")
    await visitor.post("regenerated", path, regenerate="true", **ask)
    await visitor.get("the runs", "/sessions/aid/runs")
