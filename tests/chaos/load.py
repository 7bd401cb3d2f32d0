"""Who asks for what: several clients, each with one run at a time, until told to stop."""

import asyncio
import random
import time

from tests.chaos.asks import Ask, Kind
from tests.chaos.clients import Clients

KINDS: tuple[Kind, ...] = (
    "plain",
    "keyed",
    "streamed",
    "streamed",
    "background",
    "direct",
    "started",
    "left",
)
TENANT, OTHER_TENANT = "default", "acme"
SESSIONS = 6
THINK_S = 0.4
CANCELLED_SHARE = 0.06
AGENT_SHARE = 0.4
TOOL_WORDS = "use the tool"


class Load:
    """All that is asked for is in `asks`, in the order it was asked."""

    def __init__(self, clients: Clients, chance: random.Random) -> None:
        self.asks: list[Ask] = []
        self.stopping = asyncio.Event()
        self._clients = clients
        self._chance = chance
        self._asking: list[asyncio.Task[None]] = []

    def begin(self, askers: int) -> None:
        self._asking = [asyncio.create_task(self._ask_on(), name="asker") for _ in range(askers)]

    async def finish(self, wait_s: float) -> None:
        """Let everybody have the answer they wait for; those who get none in time have none."""
        self.stopping.set()
        done, late = await asyncio.wait(self._asking, timeout=wait_s)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        for task in done:
            task.result()

    async def _ask_on(self) -> None:
        while not self.stopping.is_set():
            ask = self._new()
            self.asks.append(ask)
            await self._carry_out(ask)
            ask.done = True
            await asyncio.sleep(self._chance.expovariate(1 / THINK_S))

    async def _carry_out(self, ask: Ask) -> None:
        how = getattr(self._clients, "plain" if ask.kind == "keyed" else ask.kind)
        asking = asyncio.create_task(how(ask))
        try:
            if ask.kind in ("background", "streamed") and self._chance.random() < CANCELLED_SHARE:
                await asyncio.sleep(self._chance.uniform(0, 0.5))
                if ask.accepted_at is not None:
                    await self._clients.cancel(ask)
            await asking
        finally:
            asking.cancel()

    def _new(self) -> Ask:
        chance = self._chance
        kind = chance.choice(KINDS)
        is_others = kind == "direct" and chance.random() < 0.5
        component = "clerk" if chance.random() < AGENT_SHARE else "desk"
        run_id = f"run-{len(self.asks):05d}-{kind}"
        session = f"{component}-{chance.randrange(SESSIONS)}"
        words = f"{TOOL_WORDS} for" if component == "clerk" else "write about"
        return Ask(
            run_id=run_id,
            tenant=OTHER_TENANT if is_others else TENANT,
            component=component,
            session_id=session,
            kind=kind,
            message=f"[{run_id}] {words} it",
            began_at=time.time(),
        )
