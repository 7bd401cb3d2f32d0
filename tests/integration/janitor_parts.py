"""A janitor in this process whose sweeps a test makes, and the bus it sweeps."""

import asyncio
import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from structlog.testing import capture_logs

from teambus.bus import survey, topology
from teambus.contracts import subjects
from teambus.contracts.run import RunCompleted
from teambus.contracts.session import SessionClaim, SessionRecord
from teambus_team_runner.janitor.composition import janitor_of
from teambus_team_runner.janitor.janitor import Janitor
from teambus_team_runner.settings import Settings
from tests.integration.run_parts import QUICK, Runs, until

UNSERVED_S = 0.5
PATIENT_S = 600.0


async def janitor(runs: Runs, **changes: Any) -> Janitor:
    """One that holds the lease."""
    quick = {"janitor_lease_s": 600.0, "janitor_sweep_s": 600.0, "unserved_s": UNSERVED_S}
    settings = Settings((runs.nats.url,), "unused", **{**QUICK, **quick, **changes})
    made = janitor_of(runs.bus, settings)
    await made.candidacy._look()
    assert made.candidacy.held
    return made


async def another(runs: Runs, former: Janitor, **changes: Any) -> Janitor:
    """The janitor after this one."""
    await former.candidacy.resign()
    made = await janitor(runs, **changes)
    made.unserved.absences.go_on(made.candidacy.notes)
    return made


async def swept(janitor: Janitor, seconds: float) -> None:
    """Sweep again and again for so long."""
    for _ in range(max(2, round(seconds / 0.1))):
        await janitor.sweep()
        await asyncio.sleep(0.1)


async def given_up(runs: Runs, janitor: Janitor, run_id: str, *, team: str) -> RunCompleted:
    async def ended() -> RunCompleted | None:
        await janitor.sweep()
        return await runs.events.completed("default", team, run_id)

    found: RunCompleted = await until(ended, 20, f"{run_id} was not given up")
    return found


async def queued(runs: Runs) -> int:
    seen = await survey.stream(runs.bus, topology.REQUESTS)
    assert seen is not None
    return seen.state.messages


async def ends(runs: Runs) -> int:
    return len(await runs.stored(topology.EVENTS, f"{subjects.ROOT}.event.*.*.*.completed"))


async def claimed(runs: Runs, janitor: Janitor, session_id: str, claim: SessionClaim) -> None:
    """The session is this run's, whatever becomes of it."""
    sessions = janitor.unserved.giving_up.sessions
    seen = await sessions.read("default", session_id)
    record = SessionRecord(tenant="default", session_id=session_id, fence=1, holder=claim)
    assert await sessions.replace(seen, record)


class Died(Exception):
    """the janitor's process ends here"""


class Mortal:
    """Passes all on, and dies at the place a test names: before or after a call."""

    def __init__(self, real: Any, name: str, *, after: bool) -> None:
        self._real = real
        self._name = name
        self._after = after

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        if name != self._name:
            return found

        async def die(*args: Any, **options: Any) -> None:
            if self._after:
                await found(*args, **options)
            raise Died(name)

        return die


def dying(janitor: Janitor, part: str, call: str, *, after: bool) -> None:
    """Let it die at a call of one of those it works with."""
    giving_up = janitor.unserved.giving_up
    mortal: Any = Mortal(getattr(giving_up, part), call, after=after)
    janitor.unserved.giving_up = dataclasses.replace(giving_up, **{part: mortal})


@contextmanager
def said() -> Iterator[list[dict[str, Any]]]:
    """What is logged meanwhile, by name."""
    with capture_logs() as entries:
        yield entries  # type: ignore[misc]  # structlog's entries are dicts of anything


def times(entries: list[dict[str, Any]], event: str) -> int:
    return sum(entry["event"] == event for entry in entries)
