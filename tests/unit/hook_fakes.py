"""A bus with memory for the courier of hooks, that can die at any of its acts."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any, cast

from teambus.bus.events import SeenOutcome
from teambus.contracts.catalogue import HookDescription
from teambus.contracts.hook import (
    DeadLetter,
    DeliveryState,
    HookOutcome,
    RedriveDelivery,
    delivery_id,
)
from teambus.contracts.ids import completed_event_id
from teambus.contracts.message import encode
from teambus.contracts.output import RunStatus, TeamRunOutput
from teambus.contracts.run import RunCompleted
from teambus_hook_runner.asked import Asked
from teambus_hook_runner.calling import Calling
from teambus_hook_runner.courier import Courier, Desk, Patience
from teambus_hook_runner.wire import Raised, Returned

TENANT, RUN, HOOK = "default", "r1", "log"
ORDINARY = f"teambus.v1.event.{TENANT}.desk.{RUN}.completed"
REDRIVEN = f"teambus.v1.redrive.{TENANT}.{HOOK}"
RAISED = Raised(0, "raised", "ValueError: no", "Traceback ...")
PERMANENT = Raised(0, "permanent", "Permanent: never", "Traceback ...")
CRASHED = Raised(0, "crashed", "its process exited with code 9 during the call")
RETURNED = Returned(0)


class Died(BaseException):
    """The hook-runner is gone, before its next act."""


def redrive(generation: int = 1, *, suspect: bool = False) -> bytes:
    """Somebody wants the event delivered again."""
    order = RedriveDelivery(
        delivery_id=delivery_id(TENANT, HOOK, RUN),
        tenant=TENANT,
        hook=HOOK,
        event=event(),
        generation=generation,
        asked_at=1,
        suspect=suspect,
    )
    return encode(order)


def letter(generation: int = 0) -> DeadLetter:
    """A letter somebody else wrote."""
    return DeadLetter(
        id=delivery_id(TENANT, HOOK, RUN),
        about="hook",
        name=HOOK,
        tenant=TENANT,
        reason="x",
        died_at=1,
        attempts=3,
        event=event(),
        generation=generation,
    )


def event(**options: Any) -> RunCompleted:
    output = TeamRunOutput(
        run_id=RUN,
        team_id="desk",
        session_id="s",
        status=options.pop("status", RunStatus.COMPLETED),
        created_at=1,
        content_type="str",
        member_responses=options.pop("member_responses", []),
    )
    return RunCompleted(
        event_id=completed_event_id(TENANT, "desk", RUN),
        tenant=TENANT,
        team_id="desk",
        run_id=RUN,
        session_id="s",
        output=output,
        completed_at=1,
    )


@dataclass
class World:
    """Everything that outlives a hook-runner, and when the present one dies."""

    acts_left: int = 10_000
    outcome: SeenOutcome = field(default_factory=lambda: SeenOutcome(None, 0))
    outcomes: list[HookOutcome] = field(default_factory=list)
    letters: dict[str, DeadLetter] = field(default_factory=dict)
    calls: list[tuple[int, bool]] = field(default_factory=list)
    fate: list[str] = field(default_factory=list)
    delivered: int = 0
    refusals: list[Exception] = field(default_factory=list)
    write_in_between: HookOutcome | None = None

    def act(self) -> None:
        if self.acts_left == 0:
            raise Died
        self.acts_left -= 1

    def courier(self, answers: list[Returned | Raised], **options: Any) -> Courier:
        hook = HookDescription(
            name=HOOK, app="app", function="log", teams=["desk"], **{"backoff_s": 0.001} | options
        )
        desk = Desk(
            cast(Any, FakeBus()),
            cast(Any, FakeBodies()),
            cast(Any, FakeEvents(self)),
            cast(Any, None),
            Patience(crash_max=20, backoff_max_s=600, record_retry_s=0.001),
            Calling(),
        )
        return Courier(desk, hook, FakeCaller(self, answers))

    def held(self, data: bytes | None = None) -> Any:
        """The next delivery of the event, or of this message."""
        self.delivered += 1
        given = encode(event()) if data is None else data
        subject = REDRIVEN if b'"hook.redrive.v1"' in given else ORDINARY
        return FakeHeld(self, FakeDelivery(self.delivered, given, subject=subject))

    @property
    def is_settled(self) -> bool:
        return bool(self.fate) and self.fate[-1] in ("ack", "term")


@dataclass
class FakeBus:
    closed: asyncio.Event = field(default_factory=asyncio.Event)


class FakeBodies:
    async def load(self, data: bytes, _: dict[str, str]) -> bytes:
        return data


@dataclass
class FakeCaller:
    """Answers in turn; the last answer is repeated."""

    world: World
    answers: list[Returned | Raised]

    async def call(self, asked: Asked, *, suspect: bool) -> Returned | Raised:
        self.world.act()
        self.world.calls.append((asked.attempt, suspect))
        return self.answers[min(asked.attempt, len(self.answers)) - 1]


@dataclass
class FakeEvents:
    world: World

    async def outcome(self, *_: str) -> SeenOutcome:
        return self.world.outcome

    async def note_outcome(self, outcome: HookOutcome, *, after: int | None = None) -> bool:
        world = self.world
        world.act()
        if world.refusals:
            raise world.refusals.pop()
        if world.write_in_between is not None:
            self._put(world.write_in_between)
            world.write_in_between = None
        if after is not None and after != world.outcome.seq:
            return False
        self._put(outcome)
        return True

    def _put(self, outcome: HookOutcome) -> None:
        self.world.outcomes.append(outcome)
        self.world.outcome = SeenOutcome(outcome, self.world.outcome.seq + 1)

    async def bury(self, letter: DeadLetter) -> bool:
        self.world.act()
        there = self.world.letters.get(letter.id)
        if there is not None and there.generation >= letter.generation:
            return False
        self.world.letters[letter.id] = letter
        return True

    async def forget_letter(self, _: str, *, before: int) -> None:
        self.world.act()
        there = await self.dead_letter(_)
        if there is not None and there.generation < before:
            del self.world.letters[there.id]

    async def dead_letter(self, _: str) -> DeadLetter | None:
        return self.world.letters.get(delivery_id(TENANT, HOOK, RUN))


@dataclass
class FakeDelivery:
    attempt: int
    data: bytes
    headers: dict[str, str] = field(default_factory=dict)
    subject: str = ORDINARY
    seq: int = 7


@dataclass
class FakeHeld:
    world: World
    delivery: FakeDelivery

    async def ack(self) -> None:
        self._say("ack")

    async def nak(self, delay_s: float) -> None:
        self._say(f"nak {'later' if delay_s else 'now'}")

    async def term(self, _: str) -> None:
        self._say("term")

    def _say(self, what: str) -> None:
        self.world.act()
        self.world.fate.append(what)


def failed(
    attempt: int, state: DeliveryState = "failed", retry_at: float = 0, generation: int = 0
) -> HookOutcome:
    """An outcome somebody else wrote."""
    return HookOutcome(
        delivery_id=delivery_id(TENANT, HOOK, RUN),
        tenant=TENANT,
        team_id="desk",
        run_id=RUN,
        hook=HOOK,
        state=state,
        attempt=attempt,
        retry_at=retry_at,
        at=time.time(),
        generation=generation,
    )
