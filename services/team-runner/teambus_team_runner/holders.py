"""Asking the runner that has a run whether it still has it, before the run is taken from it.

A request comes to another runner while its holder lives when the bus was away for longer than
`ack_wait`. Whoever took the run then would do again what is under way.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import msgspec

from teambus.bus.api import NobodyAnswers, Question, Reply, answering, ask
from teambus.bus.connection import Bus
from teambus.bus.errors import BusUnavailable
from teambus.contracts import subjects
from teambus.contracts.ids import RunId, Tenant, token
from teambus.contracts.runs_api import HoldsRun, RunHeld

AT_ONCE_MAX = 1000
PAUSE_S = 0.2


@dataclass(frozen=True, slots=True)
class HolderLimits:
    """`answer_s`: how long a holder may take to answer before it counts as dead; `return_s`: how
    long after an outage it is given to connect to the bus again.
    """

    answer_s: float = 2
    return_s: float = 5


@dataclass(frozen=True, slots=True)
class Holders:
    """All runners, from one of them. `runner` is its name in journals: no other life has it."""

    bus: Bus
    runner: str
    limits: HolderLimits

    @asynccontextmanager
    async def answering(self, holds: Callable[[Tenant, RunId], bool]) -> AsyncIterator[None]:
        """Say of this runner what it holds while the block runs."""

        async def answer(question: Question) -> Reply:
            try:
                asked = msgspec.json.decode(question.data, type=HoldsRun)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                return Reply.error(400, f"malformed question: {error}")
            held = holds(question.tenant, asked.run_id)
            return Reply(msgspec.json.encode(RunHeld(held=held)))

        subject = _subject("*", self.runner)
        async with answering(
            self.bus, subject, answer, queue="team-runner", at_once_max=AT_ONCE_MAX
        ):
            yield

    async def has_another(self, tenant: Tenant, run_id: RunId, holder: str | None) -> bool:
        """Whether `holder`, the last to write the run's journal, is another runner and alive and
        has the run in hand. One that is stopped or dead does not answer.
        """
        if holder is None or holder == self.runner:
            return False
        question = msgspec.json.encode(HoldsRun(run_id=run_id))
        while True:
            try:
                subject = _subject(tenant, holder)
                reply = await ask(self.bus, subject, question, wait_s=self.limits.answer_s)
            except NobodyAnswers:
                if time.monotonic() - self.bus.reconnected_at > self.limits.return_s:
                    return False
            except BusUnavailable:
                return False
            else:
                return _is_yes(reply)
            await asyncio.sleep(PAUSE_S)


def _subject(tenant: Tenant, runner: str) -> str:
    return subjects.api(tenant, f"runner.{token(runner)}.holds")


def _is_yes(reply: Reply) -> bool:
    """One that answers anything else lives as well, and is asked again when the message returns."""
    if reply.error_code is not None:
        return True
    return msgspec.json.decode(reply.data, type=RunHeld).held
