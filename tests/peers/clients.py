"""Agno's own client, as a process in the peer's venv, and what it says."""

import asyncio
import json
import os
from dataclasses import dataclass
from typing import Any

from tests.peers.agentos import ROOT, Served, agno_python
from tests.peers.answers import Names, plain
from tests.peers.chapters import HELPING, WRITING

CLIENT_CHAPTERS = (
    "client offers",
    "client team_runs",
    "client agent_runs",
    "client sessions",
    "client session_changes",
)


@dataclass(frozen=True, slots=True)
class Said:
    """What the client made of a server's answers, and which methods it has for such."""

    chapters: dict[str, dict[str, Any]]
    methods: frozenset[str]


async def client_says(served: Served) -> Said:
    """Call each method at a server. A step it could not take is told with its error."""
    await served.model.reset()
    await served.model.rules([*WRITING, *HELPING])
    process = await asyncio.create_subprocess_exec(
        *(agno_python(), "-m", "tests.peers.apps.client", served.url),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": ""},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, complained = await process.communicate()
    assert process.returncode == 0, f"{served.name}: {complained.decode()}"
    told = json.loads(said)
    chapters = {f"client {name}": _named(steps) for name, steps in told["chapters"].items()}
    return Said(chapters, frozenset(told["methods"]))


def _named(steps: dict[str, Any]) -> dict[str, Any]:
    names = Names()
    for step, told in steps.items():
        names.learn(step, told)
    return {step: plain(told, names) for step, told in steps.items()}
