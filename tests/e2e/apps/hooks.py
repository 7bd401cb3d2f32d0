"""Background hooks that do what the run's message tells them, and checks in the foreground.

A message holds words such as `first=raise` or `second=wait:gate`; a hook not named just returns.
"""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

from teambus import (
    Agent,
    Delivery,
    InputCheckError,
    OpenAIChat,
    OutputCheckError,
    RunContext,
    Session,
    Team,
    TeamBus,
    TeamRunInput,
    TeamRunOutput,
    hook,
)

FOLDER = Path(os.environ["TEST_FOLDER"])


def note(what: str, hook_name: str, run_id: str, **facts: Any) -> None:
    """One line in one write, so that lines of several processes do not mix."""
    line = {"what": what, "hook": hook_name, "run": run_id, "pid": os.getpid(), **facts}
    with Path(os.environ["HOOK_LOG"]).open("a") as log:
        log.write(json.dumps(line) + "\n")


async def opened(gate: str) -> None:
    while True:
        if (FOLDER / gate).exists():
            return
        await asyncio.sleep(0.02)


async def play(run_output: TeamRunOutput, delivery: Delivery) -> None:
    note("began", delivery.hook, run_output.run_id, attempt=delivery.attempt)
    assert run_output.input is not None
    words = run_output.input.input_content.split()
    acts = dict(word.split("=", 1) for word in words if "=" in word)
    verb, _, gate = acts.get(delivery.hook, "return").partition(":")
    if verb == "raise":
        raise ValueError("the hook said no")
    if verb == "until" and not (FOLDER / gate).exists():
        raise ValueError("not before somebody mends it")
    if verb == "wait":
        await opened(gate)
    note("ended", delivery.hook, run_output.run_id, attempt=delivery.attempt)


@hook(run_in_background=True, name="first", attempts_max=3, backoff_s=0.2)
async def first(run_output: TeamRunOutput, delivery: Delivery) -> None:
    await play(run_output, delivery)


@hook(run_in_background=True, name="second", attempts_max=3, backoff_s=0.2)
async def second(run_output: TeamRunOutput, delivery: Delivery) -> None:
    await play(run_output, delivery)


def check_input(run_input: TeamRunInput, session: Session, user_id: str, team: Team) -> None:
    if "forbidden" in run_input.input_content:
        raise InputCheckError("that may not be asked")
    run_input.input_content += f" (asked by {user_id} of {team.name} in {session.session_id})"


async def fail(run_context: RunContext) -> None:
    raise RuntimeError(f"a hook that fails in {run_context.run_id}")


def check_output(run_output: TeamRunOutput, metadata: dict[str, Any] | None) -> None:
    if "unspeakable" in str(run_output.content):
        raise OutputCheckError("that may not be said")
    run_output.content = f"{run_output.content} (seen with {metadata})"


MODEL = OpenAIChat(id="gpt-5.2")
desk = Team(id="desk", model=MODEL, members=[Agent(name="Writer")], post_hooks=[first, second])
checked = Team(
    id="checked",
    name="Checked",
    model=MODEL,
    members=[Agent(name="Writer")],
    pre_hooks=[check_input, fail],
    post_hooks=[fail, check_output, first],
)
app = TeamBus(id="hooks", teams=[desk, checked])
