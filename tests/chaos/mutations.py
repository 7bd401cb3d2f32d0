"""Deliberately broken builds: each takes one guard away, so that the reckoning has to miss it.

A mutation is a change of text in a copy of the sources, made loudly or not at all. Where a guard
covers a moment too short to be hit in a minute, the broken build lingers there.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.faults import Aim

ROOT = Path(__file__).parents[2]
SOURCES = ("shared", "services/gateway", "services/team-runner", "services/hook-runner")
RUNNER = "services/team-runner/teambus_team_runner"
HOOK_RUNNER = "services/hook-runner/teambus_hook_runner"
GATEWAY = "services/gateway/teambus_gateway"


class DoesNotApply(Exception):
    """the text that a mutation changes is not there, or not once"""


@dataclass(frozen=True, slots=True)
class Change:
    """One text in one file for another."""

    file: str
    old: str
    new: str

    def made_in(self, text: str) -> str:
        if text.count(self.old) != 1:
            raise DoesNotApply(f"{self.file} has {text.count(self.old)} times: {self.old!r}")
        return text.replace(self.old, self.new)


@dataclass(frozen=True, slots=True)
class Mutation:
    """A guard taken away, the checks of which one has to see it, and faults that bring it out."""

    guard: str
    changes: tuple[Change, ...]
    seen_by: tuple[str, ...]
    aim: Aim = field(default_factory=Aim)

    def applied_in(self, folder: Path) -> Mapping[str, str]:
        """The environment of services that run from a changed copy of the sources in `folder`."""
        for source in SOURCES:
            shutil.copytree(
                ROOT / source, folder / source, ignore=shutil.ignore_patterns("__pycache__")
            )
        for change in self.changes:
            file = folder / change.file
            file.write_text(change.made_in(file.read_text()))
        paths = [*(str(folder / source) for source in SOURCES), str(ROOT)]
        return {"PYTHONPATH": ":".join(paths)}

    def check(self) -> None:
        """Raises `DoesNotApply` when the sources have changed under it."""
        for change in self.changes:
            change.made_in((ROOT / change.file).read_text())


_RUNNERS_DIE = Aim({"kill": 6, "freeze": 2, "cut": 1}, ("team-runner",))
_RUNNERS_FREEZE = Aim({"freeze": 6, "deafen": 2, "kill": 1}, ("team-runner",))
_HOOK_RUNNERS_DIE = Aim({"kill": 5, "kill hook process": 1}, ("hook-runner",))
_GATEWAYS_DIE = Aim({"kill": 5, "freeze": 1}, ("gateway",))
_GATEWAYS_ARE_CUT_OFF = Aim({"cut": 5, "deafen": 1}, ("gateway",))

MUTATIONS = (
    Mutation(
        "the journal is appended to by compare-and-set",
        (
            Change(
                "shared/teambus/bus/journal.py",
                "data, nonce, after=self._seq, headers=headers)",
                "data, nonce, headers=headers)",
            ),
        ),
        ("steps journaled once", "model calls made twice", "runs of a session never overlap"),
        _RUNNERS_FREEZE,
    ),
    Mutation(
        "what the journal holds is not done again",
        (
            Change(
                f"{RUNNER}/steps.py",
                "recorded = self._past.answers.get(path)",
                "recorded = None and self._past.answers.get(path)",
            ),
        ),
        ("steps journaled once", "model calls made twice"),
        _RUNNERS_DIE,
    ),
    Mutation(
        "a tool marked never is not called again",
        (
            Change(
                f"{RUNNER}/steps.py",
                "if (intent := self._past.intents.get(path)) is not None and intent.digest",
                "if (intent := self._past.intents.get(path)) is True and intent.digest",
            ),
        ),
        ("tools marked never called once",),
        _RUNNERS_DIE,
    ),
    Mutation(
        "a request is acknowledged after its completed event",
        (
            Change(
                f"{RUNNER}/ending.py",
                "        if await self.events.complete(completed):\n"
                "            count_end(completed, handle.began_at)\n"
                "            if handle.trace is not None:\n"
                "                handle.trace.run(completed, handle.began_at)\n"
                "        await self.leave(handle)\n",
                "        await self.leave(handle)\n"
                "        await __import__('asyncio').sleep(0.3)\n"
                "        await self.events.complete(completed)\n",
            ),
        ),
        ("accepted runs = ends", "clients answered"),
        _RUNNERS_DIE,
    ),
    Mutation(
        "a session is one run's at a time",
        (
            Change(
                "shared/teambus/domain/session_order.py",
                "if _holds(record, claim) or (record.holder is None and _is_next(others, claim)):",
                "if True:",
            ),
            Change(
                f"{RUNNER}/attempt.py",
                "return isinstance(verdict, session_order.Busy)",
                "return verdict is None",
            ),
        ),
        ("runs of a session never overlap", "history whole and in order"),
    ),
    Mutation(
        "a session is closed at the end of its run",
        (
            Change(
                f"{RUNNER}/ending.py",
                "await self.line.close(handle.asked, handle.opened)",
                "pass",
            ),
        ),
        ("nothing left in hand or open",),
    ),
    Mutation(
        "202 is said when the request is in the queue",
        (
            Change(
                f"{GATEWAY}/runs.py",
                "return status_of(before.end)\n",
                "return status_of(before.end)\n"
                "            self._late = asyncio.create_task(self._submit_late(asked))\n"
                "            return RunStatus.PENDING\n",
            ),
            Change(
                f"{GATEWAY}/runs.py",
                "    @asynccontextmanager\n    async def streamed(",
                "    async def _submit_late(self, asked: Submission) -> None:\n"
                "        await asyncio.sleep(0.3)\n"
                "        await self._requests.submit(asked.tenant, asked.team_id, asked.request)\n"
                "\n"
                "    @asynccontextmanager\n    async def streamed(",
            ),
        ),
        ("accepted runs = ends", "clients answered"),
        _GATEWAYS_DIE,
    ),
    Mutation(
        "a waiting gateway looks the end up as well",
        (
            Change(
                "shared/teambus/bus/waiter.py",
                "            end = end or await self.look(request_seq, wait_s=look_s)\n",
                "",
            ),
        ),
        ("replies come when runs end", "clients answered"),
        _GATEWAYS_ARE_CUT_OFF,
    ),
    Mutation(
        "a stream goes on where it was cut",
        (
            Change(
                f"{GATEWAY}/run_routes.py",
                "return -1 if last_event_index is None else max(-1, last_event_index)",
                "return -1 if last_event_index is None else max(-1, last_event_index + 1)",
            ),
        ),
        ("streams equal the stored events", "clients answered"),
        _GATEWAYS_DIE,
    ),
    Mutation(
        "a delivery is acknowledged after its hook was called",
        (
            Change(
                f"{HOOK_RUNNER}/courier.py",
                "        began_at, began = time.time(), time.monotonic()\n",
                "        began_at, began = time.time(), time.monotonic()\n"
                "        await parcel.held.ack()\n",
            ),
        ),
        ("hooks delivered or dead",),
        _HOOK_RUNNERS_DIE,
    ),
    Mutation(
        "that a hook was called is written before the acknowledgement",
        (
            Change(
                f"{HOOK_RUNNER}/courier.py",
                "        await self._note(outcome, after=None)\n",
                "        await parcel.held.ack()\n"
                "        await asyncio.sleep(0.2)\n"
                "        await self._note(outcome, after=None)\n",
            ),
        ),
        ("hooks delivered or dead",),
        _HOOK_RUNNERS_DIE,
    ),
    Mutation(
        "a dead letter is written before the delivery is ended",
        (
            Change(
                f"{HOOK_RUNNER}/courier.py",
                "        if past.letter is None:\n",
                "        await parcel.held.term(reason)\n"
                "        await asyncio.sleep(0.2)\n"
                "        if past.letter is None:\n",
            ),
        ),
        ("hooks delivered or dead", "dead letters"),
        _HOOK_RUNNERS_DIE,
    ),
)
