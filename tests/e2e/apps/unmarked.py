"""An app that runs all its post-hooks in the background, marked or not."""

import asyncio
import os
from pathlib import Path

from teambus import Agent, OpenAIChat, Team, TeamBus, TeamRunInput, TeamRunOutput

FOLDER = Path(os.environ["TEST_FOLDER"])


def say_more(run_input: TeamRunInput) -> None:
    run_input.input_content += ", please"


async def wait_for_gate(run_output: TeamRunOutput) -> None:
    await gate_opened()
    run_output.content = "changed"
    note(f"{run_output.run_id} {run_output.status}")


async def gate_opened() -> None:
    while True:
        if (FOLDER / "gate").exists():
            return
        await asyncio.sleep(0.02)


def note(line: str) -> None:
    with Path(os.environ["HOOK_LOG"]).open("a") as log:
        log.write(line + "\n")


desk = Team(
    id="desk",
    model=OpenAIChat(id="gpt-5.2"),
    members=[Agent(name="Writer")],
    pre_hooks=[say_more],
    post_hooks=[wait_for_gate],
)
app = TeamBus(id="unmarked", teams=[desk], run_hooks_in_background=True)
