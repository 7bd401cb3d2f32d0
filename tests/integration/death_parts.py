"""A team-runner frozen at every step of a run at once: as many runs as there are steps, each at its
own, with a tap on the runner's line to the bus. Then it is killed, or stopped and woken.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from teambus.bus import topology
from teambus.bus.bodies import Bodies
from teambus.bus.requests import Requests
from teambus.bus.sessions import Sessions
from teambus.contracts import subjects
from teambus.contracts.headers import NEW_RUN, NEW_SESSION
from teambus.contracts.run import RunRequest
from teambus.contracts.session import SessionRecord
from tests.support.system import System, system_of, until
from tests.support.tap import Frame, Point, Tap, tap_on

APP = Path(__file__).parent.parent / "e2e" / "apps" / "paying.py"
GATE = "gate"
Side = Literal["before", "after"]


@dataclass(frozen=True)
class Case:
    """One step of a run and what may be done again when its runner dies there.

    `calls` are model calls, `looks` calls of a tool that may be repeated. `place` is for runs that
    are not as usual; without `at` it is waited for, and for no message.
    """

    name: str
    at: Callable[[Frame], bool] | None = None
    side: Side = "before"
    calls: int = 0
    looks: int = 0
    place: str = ""
    team: str = "paying-team"

    def __str__(self) -> str:
        return f"{self.side} {self.name}" if self.at else self.name


def subject(beginning: str, *texts: bytes) -> Callable[[Frame], bool]:
    return lambda frame: frame.says(beginning, *texts)


def journal(record: str, path: str = "") -> Callable[[Frame], bool]:
    text = f'"record":"{record}","path":"{path}' if path else f'"record":"{record}"'
    return subject(f"{subjects.ROOT}.journal.", text.encode())


def session_closed(frame: Frame) -> bool:
    return frame.says(f"{subjects.ROOT}.session.") and b'"holder":{' not in frame.raw


# A step, how it is recognised, and what is done again if the runner dies before it and after it.
_STEPS: tuple[tuple[str, Callable[[Frame], bool], tuple[int, int], tuple[int, int]], ...] = (
    ("the request is delivered", subject(f"{subjects.ROOT}.request."), (0, 0), (0, 0)),
    ("the attempt", journal("attempt"), (0, 0), (0, 0)),
    ("the session is opened", subject(f"{subjects.ROOT}.session.", b'"holder":{'), (0, 0), (0, 0)),
    ("the leader's answer", journal("model", "leader/0"), (1, 0), (0, 0)),
    ("the first frames", subject(f"{subjects.ROOT}.frame."), (1, 1), (1, 1)),
    ("a tool's result", journal("tool", "leader/0/tool:"), (0, 1), (0, 0)),
    ("the intent of a tool", journal("intent"), (1, 0), (0, 0)),
    ("the result of a tool called once", journal("tool", "leader/1/tool:"), (0, 0), (0, 0)),
    ("a member's answer", journal("model", "member:"), (1, 0), (0, 0)),
    ("the final answer", journal("model", "leader/3"), (1, 0), (0, 0)),
    ("the end", journal("end"), (0, 0), (0, 0)),
    (
        "the completed event",
        subject(f"{subjects.ROOT}.event.", b"run.completed.v1"),
        (0, 0),
        (0, 0),
    ),
    ("the session is closed", session_closed, (0, 0), (0, 0)),
    ("the acknowledgement", subject("$JS.ACK.", b"+ACK"), (0, 0), (0, 0)),
)
PROOF = subject("$JS.API.STREAM.MSG.GET.TEAMBUS_JOURNAL")
SIDES: tuple[Side, Side] = ("before", "after")
CASES = (
    *(
        Case(name, at, side, calls=again[0], looks=again[1])
        for name, at, *agains in _STEPS
        for side, again in zip(SIDES, agains, strict=True)
    ),
    Case("a proof of the hold", PROOF, place="proof"),
    Case("a proof of the hold", PROOF, "after", place="proof"),
    *(
        Case(f"{name} of a new run", at, side, place="new")
        for name, at, *_ in _STEPS[1:3]
        for side in SIDES
    ),
    Case("the end of a run nobody reads", journal("end"), "before", calls=1, place="unread"),
    Case("the end of a run nobody reads", journal("end"), "after", place="unread"),
    Case("during a model call", calls=1, place="model"),
    Case("while another has the session", place="waiting"),
    Case("during two members' calls", calls=2, place="branches"),
    Case("during a tool", looks=1, place="look"),
    Case("during a tool called once", place="charge"),
    Case("before the row", place="row", team="locked-team"),
)


@dataclass
class Staged:
    """A case under way."""

    case: Case
    run_id: str
    session_id: str
    point: Point | None

    @property
    def usual_calls(self) -> int:
        """How often the model is called if nothing dies."""
        return {"branches": 4, "proof": 6}.get(self.case.place, 5)


@dataclass
class Stage:
    """The system, its frozen runner, and what became of each case."""

    system: System
    tap: Tap
    runs: list[Staged]
    lock: sqlite3.Connection

    def __getitem__(self, case: Case) -> Staged:
        return next(run for run in self.runs if run.case is case)

    async def begin(self) -> None:
        """Return once every run is where its case wants it."""
        self.tap.points = [run.point for run in self.runs if run.point]
        waiting = [run for run in self.runs if run.case.place == "waiting"]
        await self._bring([run for run in self.runs if run not in waiting])
        await self._bring(waiting)

    async def _bring(self, runs: list[Staged]) -> None:
        for run in runs:
            await self._submit(run)
        for run in runs:
            await until(lambda run=run: self._is_there(run), 60, lambda run=run: self._lost(run))  # type: ignore[misc]  # a lambda's default

    async def _submit(self, run: Staged) -> None:
        requests = Requests(self.system.bus, Bodies(self.system.bus), "test")
        request = RunRequest(
            run_id=run.run_id,
            input=f"do {run.run_id}",
            session_id=run.session_id,
            stream=run.case.place != "unread",
        )
        new = f"{NEW_RUN} {NEW_SESSION}" if run.case.place == "new" else ""
        await requests.submit("default", run.case.team, request, new=new)

    async def ended(self) -> None:
        """Return once every run has its end and nothing is left to be done."""
        for run in self.runs:
            await self.system.completed(run.run_id, team=run.case.team, wait_s=60)
        await self.quiet(hooks=len(self.runs))

    async def quiet(self, *, hooks: int) -> None:
        """Return once no request is left, so no session is open, and hooks have heard so often."""
        await until(self._is_quiet, 60, "requests are left")
        await self.system.hook_lines(hooks, wait_s=60)

    def tool_calls(self, run: Staged) -> list[tuple[str, str]]:
        """The name and key of each."""
        lines = (self.system.folder / "tools.log").read_text().splitlines()
        found = [line.split() for line in lines]
        return [(name, key) for name, run_id, key in found if run_id == run.run_id]

    async def model_calls(self, run: Staged) -> list[str]:
        """What each ended with, but those after a tool whose outcome is unknown."""
        calls = await self.system.model.calls()
        return [call.last_content for call in calls if run.run_id in call.last_content]

    async def is_free(self, run: Staged) -> bool:
        record = await self._record(run)
        return record.holder is None and not record.waiting

    async def _record(self, run: Staged) -> SessionRecord:
        return (await Sessions(self.system.bus).read("default", run.session_id)).record

    async def _is_there(self, run: Staged) -> bool:
        if run.point is not None:
            return run.point.reached.is_set()
        if run.case.place in ("look", "charge"):
            log = self.system.folder / "tools.log"
            return log.exists() and f"{run.case.place} {run.run_id} " in log.read_text()
        if run.case.place == "row":
            entries = await self.system.stored(
                topology.JOURNAL, subjects.journal("default", run.run_id)
            )
            return any(b'"record":"end"' in entry.data for entry in entries)
        if run.case.place == "waiting":
            record = await self._record(run)
            return [waiter.run_id for waiter in record.waiting] == [run.run_id]
        calls = await self.system.model.calls()
        held = [c for c in calls if run.run_id in c.last_content and c.outcome is None]
        return len(held) == run.case.calls

    def _lost(self, run: Staged) -> str:
        return f"{run.case} was not reached; runner: {self.system.runner.tail()}"

    async def _is_quiet(self) -> bool:
        return await self.system.queued() == 0


@asynccontextmanager
async def staged(
    folder: Path, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Stage]:
    """The stage is set: every run frozen at its step in one runner, the other not yet started."""
    runs: list[Staged] = []
    for number, case in enumerate(CASES):
        behind = runs[-1].session_id if case.place == "waiting" else None
        runs.append(_staged(number, case, behind))
    quick = {"TEAM_RUNNER_HOLDER_ANSWER_S": "0.5", **(environment or {})}
    async with (
        system_of(APP, folder, start=False, environment=quick) as system,
        tap_on(system.nats.port) as tap,
    ):
        await system.model.rules([rule for run in runs for rule in _rules(run)])
        await system.provision()
        blocks = [f"{run.case.place}:{run.run_id}" for run in runs if run.case.place]
        await asyncio.gather(
            system.runner.start(NATS_URL=tap.url, TOOL_BLOCKS=" ".join(blocks)),
            system.hook_runner.start(),
        )
        with closing(sqlite3.connect(folder / "locked.db", isolation_level=None)) as lock:
            lock.execute("BEGIN IMMEDIATE")
            stage = Stage(system, tap, runs, lock)
            await stage.begin()
            yield stage


def _staged(number: int, case: Case, behind: str | None) -> Staged:
    run_id = f"x{number:02d}x"
    session_id = behind or f"s-{run_id}"
    marks = (run_id.encode(), subjects.session_token(session_id).encode())
    # The first to look at the tail is who takes the run.
    skip = 1 if case.place == "proof" else 0
    point = Point(case.at, case.side, marks, skip) if case.at else None
    return Staged(case, run_id, session_id, point)


def _rules(run: Staged) -> list[dict[str, Any]]:
    """The leader looks, charges, asks the researcher, and is done; in one case it asks both."""
    id_, leader, member = run.run_id, {"model": "leader-model"}, {"model": "member-model"}
    held = {"hold": GATE, "times": run.case.calls}
    done = {"match": f"facts of {id_}", "reply": f"Done {id_}.", **leader}
    facts = {"match": id_, "reply": f"facts of {id_}", **member}
    asking = {"match": [id_, "charge"], "tool_calls": [_ask("researcher", id_)], **leader}
    charging = {"match": f"looked {id_}", "tool_calls": [{"name": "charge"}], **leader}
    looking = {"match": id_, "tool_calls": [{"name": "look"}], **leader}
    if run.case.place == "model":
        return [looking | held, done, facts, asking, charging, looking]
    if run.case.place == "proof":
        # A try that fails when the last proof is too old for another.
        late = {"match": id_, "delay_ms": 1050, "status": 500, "times": 1, **leader}
        return [late, done, facts, asking, charging, looking]
    if run.case.place == "branches":
        both = [_ask("researcher", id_), _ask("writer", id_)]
        return [done, facts | held, facts, looking | {"tool_calls": both}]
    return [done, facts, asking, charging, looking]


def _ask(member: str, run_id: str) -> dict[str, Any]:
    arguments = {"member_id": member, "task": f"find {run_id}"}
    return {"name": "delegate_task_to_member", "arguments": arguments}
