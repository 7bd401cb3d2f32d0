"""Having the app loaded, described and provisioned by a process of its own."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from teambus.local.child import Child, launch
from teambus.local.errors import LocalError, Refused
from teambus.local.plan import ServiceSpec
from teambus.local.service import REFUSED, Surroundings

TAIL_BYTES_MAX = 64 * 1024


@dataclass(frozen=True, slots=True)
class AppFacts:
    """What that process tells about the app. `left` is what earlier forms of it left on the bus."""

    app: str = ""
    teams: list[str] = field(default_factory=list)
    agents: list[str] = field(default_factory=list)
    hooks: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


async def load(spec: ServiceSpec, around: Surroundings) -> AppFacts:
    """Raises `Refused` with the reason when the app is wrong."""
    load_s = around.settings.load_s
    pipe, nowhere = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    child = await launch(spec, around.watch_fd, stdout=nowhere, stderr=pipe)
    try:
        async with asyncio.timeout(load_s):
            said, code = await asyncio.gather(_tail(child.stderr), child.ended())
    except TimeoutError as error:
        raise Refused(
            f"loading the app took longer than {load_s:g} s; what runs when it is imported?"
        ) from error
    finally:
        await _end(child)
    if code == REFUSED:
        raise Refused(child.error or said)
    if code != 0:
        raise LocalError(f"loading the app failed with code {code}: {said or 'it said nothing'}")
    return _facts(child.facts)


async def _tail(stderr: asyncio.StreamReader) -> str:
    kept = b""
    while said := await stderr.read(TAIL_BYTES_MAX):
        kept = (kept + said)[-TAIL_BYTES_MAX:]
    return kept.decode(errors="replace").strip()


async def _end(child: Child) -> None:
    if child.code is None:
        child.kill()
        await child.ended()


def _facts(said: dict[str, Any]) -> AppFacts:
    return AppFacts(
        app=str(said.get("app", "")),
        teams=[str(each) for each in said.get("teams", [])],
        agents=[str(each) for each in said.get("agents", [])],
        hooks=[str(each) for each in said.get("hooks", [])],
        left=[str(each) for each in said.get("left", [])],
    )
