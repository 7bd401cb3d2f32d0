"""The team-runner's main loop: take requests, hold each until it is settled, no more than hands."""

import asyncio
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from functools import partial

import structlog

from teambus.bus.bodies import Bodies
from teambus.bus.errors import BusError
from teambus.bus.events import Events
from teambus.bus.journal import Fenced
from teambus.bus.pull import Delivery, Inbox
from teambus.bus.tracing import carrying
from teambus.contracts.ids import RunId, Tenant
from teambus.contracts.message import MalformedMessage
from teambus.contracts.subjects import RequestSubject
from teambus.contracts.tracing import TraceContext
from teambus.runtime.hands import Hands
from teambus.runtime.tracing import Tracer
from teambus_team_runner import metrics
from teambus_team_runner.ahead import Ahead
from teambus_team_runner.asked import Asked, read, refuse_malformed
from teambus_team_runner.attempt import Attempts, Outcome
from teambus_team_runner.engine.tracing import RunTrace
from teambus_team_runner.hold import Handle
from teambus_team_runner.parking import Parking
from teambus_team_runner.refusal import refuse_id_in_use

log = structlog.get_logger(__name__)


class Runner:
    """Takes run requests from the pool's queue."""

    def __init__(
        self,
        inbox: Inbox,
        hands: Hands,
        attempts: Attempts,
        events: Events,
        bodies: Bodies,
        *,
        ack_wait_s: float,
    ) -> None:
        self._inbox = inbox
        self._hands = hands
        self._attempts = attempts
        self._agents = attempts.execution.agents
        self._cancels = attempts.cancels
        self._events = events
        self._bodies = bodies
        self._ack_wait_s = ack_wait_s
        self._in_hand: dict[tuple[Tenant, RunId], Handle] = {}
        self._stop = asyncio.Event()
        self.ahead: Ahead | None = None
        self.parking: Parking | None = None
        self.tracer: Tracer | None = None
        self._show()

    @property
    def hands(self) -> Hands:
        return self._hands

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop`, then finish what is in hand within the hands' patience, and give
        the rest back.
        """
        self._stop = stop
        assert self.ahead is not None
        assert self.parking is not None
        async with self._hands:
            keeping = asyncio.create_task(self.ahead.keep(), name="keep what is held ahead")
            try:
                async with self._inbox:
                    await self._pull(self.ahead, stop)
            finally:
                keeping.cancel()
            log.info("draining", in_hand=self._hands.busy, held_ahead=self.ahead.held)
            await self.ahead.close()
            await self.parking.close()

    def answering(self) -> AbstractAsyncContextManager[None]:
        """Tell other runners what this one holds; to be entered before `run` and left after it."""
        return self._attempts.holders.answering(self._holds)

    def give_up(self) -> None:
        """Let go of all at once: without a bus nothing of it can be kept."""
        self._hands.hurry()

    async def resume(self, handle: Handle) -> None:
        """Take a run out of parking, once it is its turn for a hand."""
        assert self.ahead is not None
        cancelled = handle.cancellation.requested
        with handle.kept():
            begun = await self.ahead.turn(handle, self._stop, cancelled)
        if begun:
            return
        if cancelled.is_set():
            # A cancelled run waits for no hand: it only ends.
            self.begin(handle.asked.tenant, handle)
        else:
            await handle.give_back()
            self._forget(handle)

    def begin(self, tenant: Tenant, waited: Delivery | Handle) -> None:
        """Give a hand to a request that was held ahead, or to a run that was parked."""
        if isinstance(waited, Handle):
            self._hands.take(self._hold(waited), owner=tenant)
        else:
            self._hands.take(self._take_again(waited), owner=tenant)

    async def _pull(self, ahead: Ahead, stop: asyncio.Event) -> None:
        while not stop.is_set():
            if spare := self._hands.spare:
                pulled = await self._inbox.fetch(spare, stop)
            else:
                pulled = await ahead.wait(stop)
            for delivery in pulled:
                await self._accept(delivery, ahead)

    async def _accept(self, delivery: Delivery, ahead: Ahead) -> None:
        """Hands may have been taken by waiting runs since the delivery was asked for."""
        if self._hands.spare:
            tenant = RequestSubject.parse(delivery.subject).tenant
            self._hands.take(self._take(delivery), owner=tenant)
        else:
            await ahead.add(delivery)

    async def _take_again(self, delivery: Delivery) -> None:
        """Take a request that was held without its body."""
        assert self.ahead is not None
        try:
            is_stored = await self.ahead.backlog.load(delivery)
        except BusError as error:
            log.warning("could not read a request; it will be delivered again", why=str(error))
            return
        except asyncio.CancelledError:
            await delivery.nak()
            raise
        if is_stored:
            await self._take(delivery)

    async def _take(self, delivery: Delivery) -> None:
        try:
            asked = await self._read(delivery)
        except BusError as error:
            log.warning("could not read a request; it will be delivered again", why=str(error))
            return
        except asyncio.CancelledError:
            await delivery.nak()
            raise
        if asked is not None:
            await self._begin(asked, delivery)

    async def _read(self, delivery: Delivery) -> Asked | None:
        try:
            return await read(delivery, self._bodies)
        except MalformedMessage as error:
            await refuse_malformed(delivery, error, self._events, self._agents)
            return None

    async def _begin(self, asked: Asked, delivery: Delivery) -> None:
        if (known := self._in_hand.get(asked.key)) is not None:
            await self._again(known, asked, delivery)
            return
        if delivery.attempt == 1:
            metrics.count_wait(delivery.stored_at)
        handle = Handle(delivery, asked, ack_wait_s=self._ack_wait_s)
        if self.tracer is not None:
            asker = TraceContext.of(delivery.headers)
            handle.trace = RunTrace(self.tracer, asked.tenant, asked.run_id, asker)
        self._in_hand[asked.key] = handle
        self._cancels.listen(*asked.run, handle.cancellation.request)
        await self._hold(handle)

    async def _again(self, known: Handle, asked: Asked, delivery: Delivery) -> None:
        """A request for a run in hand: its own message redelivered, or the asker repeating it."""
        if asked.request_seq == known.asked.request_seq:
            log.info("redelivered while in hand", run_id=asked.run_id)
            known.replace(delivery)
            return
        if (asked.team_id, asked.digest) != (known.asked.team_id, known.asked.digest):
            await refuse_id_in_use(asked, known.asked.team_id, self._events, self._agents)
        await delivery.ack()

    async def _hold(self, handle: Handle) -> None:
        """Carry out a run in hand until it is settled, lost or parked."""
        parked = False
        with _named(handle), _traced(handle.trace):
            try:
                with handle.kept():
                    parked = await self._attempt(handle) is Outcome.PARKED
            except Fenced as fenced:
                handle.drop()
                metrics.RUNS_LOST.inc()
                log.warning("lost the run to another runner", why=str(fenced))
            except BusError as error:
                log.warning("gave up the run; it will be delivered again", why=str(error))
            except asyncio.CancelledError:
                await handle.give_back()
                raise
            finally:
                if not parked:
                    self._forget(handle)
        if parked:
            assert self.parking is not None
            await self.parking.park(handle, self._forget)

    async def _attempt(self, handle: Handle) -> Outcome:
        alone = partial(self._hands.alone, wait_s=self._attempts.limits.alone_wait_s)
        outcome = await self._attempts.make(handle, alone)
        if outcome is not Outcome.SUSPECT:
            return outcome
        log.warning("the run died before, and has one attempt left; waiting for empty hands")
        async with alone():
            return await self._attempts.make(handle)

    def _show(self) -> None:
        """Have the figures of what is held asked for whenever somebody looks."""
        metrics.HANDS.set_function(lambda: self._hands.count)
        metrics.IN_HAND.set_function(lambda: self._hands.busy)
        metrics.PARKED.set_function(lambda: self.parking.parked if self.parking else 0)
        metrics.HELD_AHEAD.set_function(lambda: self.ahead.held if self.ahead else 0)

    def _holds(self, tenant: Tenant, run_id: RunId) -> bool:
        handle = self._in_hand.get((tenant, run_id))
        return handle is not None and not handle.dropped

    def _forget(self, handle: Handle) -> None:
        if self._in_hand.get(handle.asked.key) is handle:
            del self._in_hand[handle.asked.key]
            self._cancels.ignore(*handle.asked.run)


def _named(handle: Handle) -> AbstractContextManager[object]:
    """Have what is logged in the block say which run it is about."""
    asked = handle.asked
    names = {"run_id": asked.run_id, "team_id": asked.team_id, "tenant": asked.tenant}
    if handle.trace is not None:
        names["trace_id"] = handle.trace.here.trace_id
    return structlog.contextvars.bound_contextvars(**names)


def _traced(trace: RunTrace | None) -> AbstractContextManager[None]:
    """Have what is published in the block go on with the run's trace."""
    return nullcontext() if trace is None else carrying(trace.here)
