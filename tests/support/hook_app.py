"""An app whose hooks do what the run tells them to, and write down when they began and ended.

The run's content is JSON: for each hook what it does, attempt by attempt; the last is repeated.
"""

import asyncio
import ctypes
import json
import os
import time
from typing import Any

from teambus import Agent, Delivery, OpenAIChat, Permanent, Team, TeamBus, TeamRunOutput, hook

STORY = os.environ["HOOK_STORY"]
MENDED = f"{STORY}.mended"
ODD = "odd \udcff text"


def note(what: str, hook_name: str, run_id: str, **facts: Any) -> None:
    line = {"what": what, "hook": hook_name, "run": run_id, "at": time.monotonic(), **facts}
    descriptor = os.open(STORY, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, json.dumps(line | {"pid": os.getpid()}).encode() + b"\n")
    os.close(descriptor)


def wanted(output: TeamRunOutput, name: str, attempt: int) -> tuple[str, float]:
    """What to do, and for how long."""
    acts = json.loads(output.content or "{}").get(name, ["return"])
    verb, _, seconds = acts[min(attempt, len(acts)) - 1].partition(" ")
    return verb, float(seconds or 0)


def act(verb: str, seconds: float) -> None:
    """What async and sync hooks do alike, without yielding."""
    match verb:
        case "raise":
            raise ValueError("the hook said no")
        case "odd":
            raise ValueError(ODD)
        case "permanent":
            raise Permanent("never again")
        case "unmended" if not os.path.exists(MENDED):
            raise Permanent("not before somebody mends it")
        case "quit":
            raise SystemExit(3)
        case "block":
            time.sleep(seconds)
        case "hold":
            # Called so, a C function keeps the interpreter's lock.
            ctypes.PyDLL(None).usleep(int(seconds * 1e6))
        case "exit":
            os._exit(9)
        case "crash":
            ctypes.string_at(0)
        case "print":
            print("said by the hook")
            time.sleep(seconds)


async def act_async(verb: str, seconds: float) -> None:
    match verb:
        case "sleep":
            await asyncio.sleep(seconds)
        case "clean":
            try:
                await asyncio.sleep(seconds)
            except asyncio.CancelledError:
                note("cleaned", "first", "")
        case "never":
            await never_yield()
        case _:
            act(verb, seconds)


async def never_yield() -> None:
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            note("refused to yield", "", "")


async def play(name: str, output: TeamRunOutput, delivery: Delivery) -> None:
    note("began", name, output.run_id, attempt=delivery.attempt, id=delivery.id)
    await act_async(*wanted(output, name, delivery.attempt))
    note("ended", name, output.run_id, attempt=delivery.attempt)


@hook(run_in_background=True, name="first", timeout_s=2, backoff_s=0.2, attempts_max=3)
async def first(run_output: TeamRunOutput, delivery: Delivery) -> None:
    await play("first", run_output, delivery)


@hook(run_in_background=True, name="second", timeout_s=2, backoff_s=0.2, attempts_max=3)
async def second(run_output: TeamRunOutput, delivery: Delivery) -> None:
    await play("second", run_output, delivery)


@hook(run_in_background=True, name="plain", timeout_s=2, backoff_s=0.2, attempts_max=3)
def plain(run_output: TeamRunOutput, delivery: Delivery) -> None:
    note("began", "plain", run_output.run_id, attempt=delivery.attempt)
    act(*wanted(run_output, "plain", delivery.attempt))
    note("ended", "plain", run_output.run_id, attempt=delivery.attempt)


app = TeamBus(
    id="hooks",
    teams=[
        Team(
            id="desk",
            model=OpenAIChat(id="m"),
            members=[Agent(name="Writer")],
            post_hooks=[first, second, plain],
        )
    ],
)
