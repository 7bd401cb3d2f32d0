"""What both servers are asked of a team, chapter by chapter. Each chapter stands alone."""

import asyncio
from typing import Any, TypeAlias

from tests.peers.visitor import Visitor

LEADER = "Coordinate the two."
FACTS, PROSE, ANSWER = "Tea is a plant.", "Tea, said the plant.", "The article is ready."
PATH = "/teams/content-team/runs"
WAIT_S = 30
CUT_S = 2
AGENT_PATH = "/agents/assistant/runs"


Rules: TypeAlias = list[dict[str, Any]]


def delegate(member: str, task: str) -> dict[str, Any]:
    return {"name": "delegate_task_to_member", "arguments": {"member_id": member, "task": task}}


WRITING: Rules = [
    {"match": [LEADER, PROSE, "3"], "reply": ANSWER},
    {
        "match": [LEADER, PROSE],
        "tool_calls": [{"name": "count_words", "arguments": {"text": "one two 3"}}],
    },
    {"match": [LEADER, FACTS], "tool_calls": [delegate("writer", "Write about it.")]},
    {"match": LEADER, "tool_calls": [delegate("researcher", "Find facts.")]},
    {"match": ["Give facts.", "see page 7"], "reply": FACTS},
    {
        "match": "Give facts.",
        "tool_calls": [{"name": "look_up", "arguments": {"topic": "tea"}}],
    },
    {"match": "Write prose.", "reply": PROSE},
]
"""The leader asks one member after the other and counts words; the researcher looks something up.
Nothing happens at the same time, so two servers tell of it in the same order.
"""

WRITER_HELD = {"match": "Write prose.", "hold": "writer", "reply": PROSE}
HELPING: Rules = [
    {"match": ["Be of help.", "see page 7"], "reply": FACTS},
    {"match": "Be of help.", "tool_calls": [{"name": "look_up", "arguments": {"topic": "tea"}}]},
]


def first_run_id(visitor: Visitor, step: str) -> str:
    """The id of the run that a step started, streamed or not."""
    body = visitor.bodies[step]
    run_id: str = (body[0]["data"] if isinstance(body, list) else body)["run_id"]
    return run_id


async def offers(visitor: Visitor) -> None:
    """What the server says of itself and its teams."""
    for path in ("/", "/health", "/info", "/config", "/teams", "/teams/content-team"):
        await visitor.get(path, path)
    await visitor.get("a second team", "/teams/strict-team")
    await visitor.get("an unknown team", "/teams/nobody")
    await visitor.get("an unknown path", "/nowhere")
    await visitor.ask("a wrong method", "DELETE", "/teams")


async def runs(visitor: Visitor) -> None:
    """Runs whose whole answer is waited for, and asking for them again."""
    await visitor.rules(WRITING)
    new = await visitor.run("a run in a new session", "Write about tea", user_id="ann")
    session_id = new["session_id"]
    await visitor.run(
        "a run with everything",
        "Write about tea",
        session_id=session_id,
        user_id="ann",
        session_state='{"articles": 1, "mood": "good"}',
        metadata='{"urgent": true}',
        dependencies='{"editor": "Bob"}',
    )
    await visitor.get("a run asked for", f"{PATH}/{new['run_id']}", session_id=session_id)
    await visitor.get("an unknown run", f"{PATH}/nothing", session_id=session_id)
    await visitor.get("a run without its session", f"{PATH}/{new['run_id']}")
    await visitor.get("a run in another session", f"{PATH}/{new['run_id']}", session_id="other")
    await visitor.run("a stranger's run", "Write", session_id=session_id, user_id="eve")


async def failures(visitor: Visitor) -> None:
    """Runs that end as ERROR, and members that fail."""
    await visitor.run("a refused run", "Tell a secret", team="strict-team", session_id="refused")
    await visitor.rules([{"match": LEADER, "status": 400, "error": "no such model"}])
    failed = await visitor.run("a failed run", "Write about tea", session_id="failed")
    await visitor.get("a failed run again", f"{PATH}/{failed['run_id']}", session_id="failed")
    await visitor.rules(
        [
            {"match": [LEADER, "no facts today"], "reply": "There is no article."},
            {"match": "Give facts.", "status": 400, "error": "no facts today"},
            *WRITING,
        ]
    )
    await visitor.run("a failed member", "Write about tea", session_id="half")
    await visitor.rules(
        [
            {"match": LEADER, "has_tool_results": True, "reply": "There is no such member."},
            {"match": LEADER, "tool_calls": [delegate("nobody", "Do it.")]},
        ]
    )
    await visitor.run("an unknown member", "Write about tea", session_id="unknown")


async def mistakes(visitor: Visitor) -> None:
    """Requests that are refused."""
    await visitor.rules(WRITING)
    await visitor.post("no message", PATH, stream="false")
    await visitor.run("an empty message", "")
    await visitor.run("a flag that is none", "Write", stream="perhaps")
    await visitor.run("a version that is none", "Write", version="new")
    await visitor.run("an unknown team", "Write", team="nobody")
    await visitor.run("metadata of a wrong kind", "Write", metadata="[1]")
    await visitor.ask("a JSON body", "POST", PATH, json={"message": "Write"})
    await visitor.ask("a long key", "POST", PATH, data={}, headers={"Idempotency-Key": "k" * 600})
    await visitor.run("state that is no JSON", "Write", session_state="{", session_id="bad")


async def streams(visitor: Visitor) -> None:
    """Runs told of while they run."""
    await visitor.rules(WRITING)
    ask = {"stream": "true", "user_id": "ann"}
    await visitor.run("a streamed run", "Write about tea", session_id="told", **ask)
    run_id = first_run_id(visitor, "a streamed run")
    await visitor.get("a streamed run again", f"{PATH}/{run_id}", session_id="told")
    await visitor.run("a run without events", "Write", stream_events="false", **ask)
    await visitor.post("stream is the default", PATH, message="Write", session_id="default")
    await visitor.run("a streamed refusal", "Tell a secret", team="strict-team", **ask)
    await visitor.rules([{"match": LEADER, "status": 400, "error": "no such model"}])
    await visitor.run("a streamed failure", "Write about tea", **ask)


async def background(visitor: Visitor) -> None:
    """Runs nobody waits for: polled, streamed, resumed."""
    await visitor.rules(WRITING)
    ask = {"background": "true", "session_id": "later"}
    accepted = await visitor.run("a run for later", "Write about tea", **ask)
    await visitor.ended(f"{PATH}/{accepted['run_id']}", session_id="later")
    await visitor.get(
        "the run when it has ended", f"{PATH}/{accepted['run_id']}", session_id="later"
    )
    await visitor.run("a stream for later", "Write about tea", stream="true", **ask)
    resume = f"{PATH}/{first_run_id(visitor, 'a stream for later')}/resume"
    await visitor.post("all of it again", resume, session_id="later")
    seen = next(
        frame["data"]["event_index"]
        for frame in visitor.bodies["a stream for later"]
        if frame["event"] == "TeamToolCallCompleted"
    )
    await visitor.post("the rest of it", resume, session_id="later", last_event_index=str(seen))
    await visitor.post("nothing of it", resume, session_id="later", last_event_index="1000")
    await visitor.post("an unknown run's stream", f"{PATH}/nothing/resume", session_id="later")
    await visitor.run("a plain run", "Write about tea", session_id="later")
    resume = f"{PATH}/{first_run_id(visitor, 'a plain run')}/resume"
    await visitor.post("a plain run's stream", resume, session_id="later")


async def cancels(visitor: Visitor) -> None:
    """Runs that are no longer wanted."""
    await visitor.rules(WRITING)
    await visitor.post("of an unknown run", f"{PATH}/nothing/cancel")
    await visitor.post("of an unknown team's run", "/teams/nobody/runs/nothing/cancel")
    await visitor.post("before the run", f"{PATH}/early/cancel")
    await visitor.run("a run cancelled before", "Write", run_id="early", session_id="cancelled")
    await visitor.get("it is still there", f"{PATH}/early", session_id="cancelled")


async def resumed(visitor: Visitor) -> None:
    """A stream that is joined while the writer is at work."""
    await visitor.rules([WRITER_HELD, *WRITING])
    ask = {"background": "true", "stream": "true", "session_id": "joined", "run_id": "joined-run"}
    subscribed = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(visitor.run("a stream at work", "Write about tea", **ask))
        await visitor.model_is_asked("Write about it.")
        rest = {"session_id": "joined", "last_event_index": "5"}
        resume = visitor.follow("joined", f"{PATH}/joined-run/resume", subscribed, **rest)
        tasks.create_task(resume)
        await asyncio.wait_for(subscribed.wait(), WAIT_S)
        await visitor.get("the run at work", f"{PATH}/joined-run", session_id="joined")
        await visitor.served.model.release("writer")


async def cut(visitor: Visitor) -> None:
    """A run that is cancelled while the writer is at work. AgentOS waits for the writer's model."""
    await visitor.rules([WRITER_HELD, *WRITING])
    ask = {"background": "true", "stream": "true", "session_id": "cut", "run_id": "cut-run"}
    stream = asyncio.create_task(visitor.run("a stream cut", "Write about tea", **ask))
    await visitor.model_is_asked("Write about it.")
    await visitor.post("the cancel", f"{PATH}/cut-run/cancel")
    await asyncio.wait([stream], timeout=CUT_S)
    await visitor.served.model.release("writer")
    await stream
    await visitor.get("the run cut", f"{PATH}/cut-run", session_id="cut")
