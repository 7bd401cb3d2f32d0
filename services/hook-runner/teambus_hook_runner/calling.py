"""Which hooks are being called for which runs, for whoever asks: nothing of it is written down."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import msgspec

from teambus.bus.api import Question, Reply, answering
from teambus.bus.connection import Bus
from teambus.contracts import subjects
from teambus.contracts.hooks_api import CallsOfRun, HookCall, RunCalls
from teambus.contracts.ids import RunId, Tenant
from teambus_hook_runner.parcel import Addressed

AT_ONCE_MAX = 100


@dataclass(slots=True)
class Calling:
    """The calls this process is making: at most as many as all hooks may have at once."""

    _calls: dict[int, tuple[Addressed, int, float]] = field(default_factory=dict)

    def begin(self, addressed: Addressed, attempt: int) -> None:
        self._calls[id(addressed)] = (addressed, attempt, time.time())

    def end(self, addressed: Addressed) -> None:
        del self._calls[id(addressed)]

    def of(self, tenant: Tenant, run_id: RunId) -> list[HookCall]:
        return [
            HookCall(
                hook=addressed.hook,
                attempt=attempt,
                began_at=began_at,
                generation=addressed.generation,
            )
            for addressed, attempt, began_at in self._calls.values()
            if (addressed.event.tenant, addressed.event.run_id) == (tenant, run_id)
        ]

    async def answer(self, question: Question) -> Reply | None:
        """Only who is calling says so: who asks cannot know how many hook-runners there are."""
        try:
            wanted = msgspec.json.decode(question.data, type=CallsOfRun)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return Reply.error(422, f"not a CallsOfRun: {error}")
        calls = self.of(question.tenant, wanted.run_id)
        return Reply(msgspec.json.encode(RunCalls(calls=calls))) if calls else None


@asynccontextmanager
async def saying_what_is_called(bus: Bus, calling: Calling) -> AsyncIterator[None]:
    """Every hook-runner is asked, and while the block runs this one answers too."""
    subject = subjects.api("*", "hook.calls")
    async with answering(bus, subject, calling.answer, queue="", at_once_max=AT_ONCE_MAX):
        yield
