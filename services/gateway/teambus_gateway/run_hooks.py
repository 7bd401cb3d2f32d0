"""How the background hooks of one run stand: what was recorded, and what is being called now."""

import asyncio
from dataclasses import asdict

import msgspec
import structlog

from teambus.bus import reads
from teambus.bus.api import ask_all
from teambus.bus.bodies import Bodies
from teambus.bus.connection import Bus
from teambus.bus.consumers import progress
from teambus.bus.errors import BusError, BusRefused
from teambus.bus.events import Events
from teambus.bus.topology import EVENTS, hook_consumer_name
from teambus.contracts import subjects
from teambus.contracts.catalogue import HookDescription
from teambus.contracts.hook import delivery_id
from teambus.contracts.hooks_api import CallsOfRun, HookCall, RunCalls
from teambus.contracts.message import MalformedMessage, decode
from teambus.contracts.run import RunCompleted
from teambus.domain.delivery import Standing, standing
from teambus.domain.hearing import wants
from teambus_gateway.lookup import Wanted
from teambus_gateway.problems import Problem
from teambus_gateway.runs import SOURCE
from teambus_gateway.shapes import Shape

log = structlog.get_logger(__name__)

SETTLED = ("delivered", "dead")


class RunHooks:
    """Asks the streams, and the hook-runners where a delivery is not settled."""

    def __init__(self, bus: Bus, *, calls_wait_s: float, retry_after_s: int) -> None:
        self._bus = bus
        self._bodies = Bodies(bus)
        self._events = Events(bus, self._bodies, source=SOURCE)
        self._calls_wait_s = calls_wait_s
        self._retry_after_s = retry_after_s

    async def of_ended(self, wanted: Wanted, hooks: list[HookDescription]) -> Shape | None:
        """The hooks that hear of the end of this run; None when the bus has no end of it.

        A hook that is newer than the run is not among them, unless the run was replayed to it.
        """
        try:
            return await self._of_ended(wanted, hooks)
        except (BusError, MalformedMessage) as error:
            log.warning("could not look up the hooks of a run", error=str(error))
            detail = "the hooks of the run cannot be looked up now; try again later"
            raise Problem(
                503, detail, "bus_unavailable", retry_after_s=self._retry_after_s
            ) from error

    async def _of_ended(self, wanted: Wanted, hooks: list[HookDescription]) -> Shape | None:
        run = wanted.key
        subject = subjects.event(run.tenant, run.team_id, run.run_id, "completed")
        stored = await reads.last(self._bus, EVENTS, subject)
        if stored is None:
            return None
        event = decode(RunCompleted, await self._bodies.load(stored.data, stored.headers))
        listening = [hook for hook in hooks if wants(hook, event.output)]
        found = await asyncio.gather(*(self._recorded(event, hook) for hook in listening))
        if any(each.state not in SETTLED for each in found):
            found = await self._with_calls(event, listening)
        heard = await asyncio.gather(
            *(
                self._is_due(hook, each, stored.seq)
                for hook, each in zip(listening, found, strict=True)
            )
        )
        told = zip(listening, found, heard, strict=True)
        return shape(event, [(hook, each) for hook, each, is_due in told if is_due])

    async def _recorded(self, event: RunCompleted, hook: HookDescription) -> Standing:
        return await self._standing(event, hook, None)

    async def _with_calls(
        self, event: RunCompleted, hooks: list[HookDescription]
    ) -> list[Standing]:
        """Asked first and read after it: what ended in between is seen to have ended."""
        calls = await self._calls(event)
        return await asyncio.gather(
            *(self._standing(event, hook, calls.get(hook.name)) for hook in hooks)
        )

    async def _standing(
        self, event: RunCompleted, hook: HookDescription, call: HookCall | None
    ) -> Standing:
        seen = await self._events.outcome(event.tenant, event.run_id, hook.name)
        return standing(seen.outcome, call)

    async def _calls(self, event: RunCompleted) -> dict[str, HookCall]:
        question = msgspec.json.encode(CallsOfRun(run_id=event.run_id))
        subject = subjects.api(event.tenant, "hook.calls")
        replies = await ask_all(self._bus, subject, question, wait_s=self._calls_wait_s)
        told = [msgspec.json.decode(r.data, type=RunCalls) for r in replies if not r.error_code]
        return {call.hook: call for each in told for call in each.calls}

    async def _is_due(self, hook: HookDescription, found: Standing, seq: int) -> bool:
        """Whether the hook hears of the event: it was there when it happened, or is told again."""
        if found != Standing("waiting"):
            return True
        try:
            come = await progress(self._bus, EVENTS, hook_consumer_name(hook))
        except BusRefused:
            return True  # It is not provisioned at the moment, and what it missed waits for it.
        return seq > come.settled_seq


def shape(event: RunCompleted, hooks: list[tuple[HookDescription, Standing]]) -> Shape:
    told = [
        {
            "name": hook.name,
            **asdict(found),
            "dead_letter": delivery_id(event.tenant, hook.name, event.run_id)
            if found.state == "dead"
            else None,
        }
        for hook, found in hooks
    ]
    return {"run_id": event.run_id, "status": event.output.status.value, "hooks": told}


def not_ended(run_id: str, status: str, hooks: list[HookDescription]) -> Shape:
    """Which of them will hear of the run is only known when it has ended."""
    told = [
        {"name": hook.name, **asdict(Standing("waiting")), "dead_letter": None} for hook in hooks
    ]
    return {"run_id": run_id, "status": status, "hooks": told}
