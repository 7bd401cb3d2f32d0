"""Four hooks that misbehave for a message with "hostile" in it, beside one that never does.

Each writes down, when it begins, which processes still run the same delivery.
"""

import asyncio
import ctypes
import json
import os
import time
from pathlib import Path
from typing import Any

from teambus import Agent, Delivery, OpenAIChat, Team, TeamBus, TeamRunOutput, hook

LOG = Path(os.environ["HOOK_LOG"])
LONG_S = 600


def note(what: str, run: TeamRunOutput, delivery: Delivery, **facts: Any) -> None:
    """One line in one write, so that lines of several processes do not mix."""
    line = {"what": what, "hook": delivery.hook, "run": run.run_id, "attempt": delivery.attempt}
    with LOG.open("a") as log:
        log.write(json.dumps(line | {"pid": os.getpid()} | facts) + "\n")


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def beside(run: TeamRunOutput, delivery: Delivery) -> list[int]:
    lines = [json.loads(line) for line in LOG.read_text().splitlines()]
    mine = [each for each in lines if (each["hook"], each["run"]) == (delivery.hook, run.run_id)]
    ended = {each["attempt"] for each in mine if each["what"] == "ended"}
    return [each["pid"] for each in mine if each["attempt"] not in ended and is_alive(each["pid"])]


def misbehaves(run: TeamRunOutput, delivery: Delivery) -> bool:
    note("began", run, delivery, beside=beside(run, delivery))
    assert run.input is not None
    if "hostile" in run.input.input_content:
        return True
    note("ended", run, delivery)
    return False


def block() -> None:
    time.sleep(LONG_S)


@hook(run_in_background=True, name="blocks", timeout_s=3, attempts_max=3, backoff_s=0.1)
async def blocks(run_output: TeamRunOutput, delivery: Delivery) -> None:
    if misbehaves(run_output, delivery):
        block()


@hook(run_in_background=True, name="holds", timeout_s=3, attempts_max=3, backoff_s=0.1)
async def holds(run_output: TeamRunOutput, delivery: Delivery) -> None:
    if misbehaves(run_output, delivery):
        # Called so, a C function keeps the interpreter's lock.
        ctypes.PyDLL(None).sleep(LONG_S)


@hook(run_in_background=True, name="clings", timeout_s=3, attempts_max=3, backoff_s=0.1)
async def clings(run_output: TeamRunOutput, delivery: Delivery) -> None:
    if misbehaves(run_output, delivery):
        await never_end()


async def never_end() -> None:
    while True:
        try:
            await asyncio.sleep(LONG_S)
        except asyncio.CancelledError:
            continue


@hook(run_in_background=True, name="exits", timeout_s=3, attempts_max=3, backoff_s=0.1)
async def exits(run_output: TeamRunOutput, delivery: Delivery) -> None:
    if misbehaves(run_output, delivery):
        os._exit(9)


@hook(run_in_background=True, name="good", timeout_s=3, attempts_max=3, backoff_s=0.1)
async def good(run_output: TeamRunOutput, delivery: Delivery) -> None:
    note("began", run_output, delivery, beside=beside(run_output, delivery))
    note("ended", run_output, delivery)


desk = Team(
    id="desk",
    model=OpenAIChat(id="gpt-5.2"),
    members=[Agent(name="Writer")],
    post_hooks=[blocks, holds, clings, exits, good],
)
app = TeamBus(id="hostile", teams=[desk])
