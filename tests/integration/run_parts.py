"""Team-runners in this process on a real nats-server with the scripted model, and ways to fail."""

import asyncio
import contextlib
import dataclasses
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import structlog

from teambus import Agent, AsyncSqliteDb, OpenAIChat, Team, TeamBus
from teambus.app.describe import describe
from teambus.bus import reads, topology
from teambus.bus.bodies import Bodies
from teambus.bus.cancels import CancelWatch, WatchLimits, order_cancel
from teambus.bus.connection import Bus, BusSettings, connect
from teambus.bus.events import Events
from teambus.bus.journal import Journal, read_entries, read_tail
from teambus.bus.provision import Consumer, provision
from teambus.bus.publish import Publication, publish
from teambus.bus.sessions import Sessions
from teambus.contracts import subjects
from teambus.contracts.control import CancelRun
from teambus.contracts.hook import DeadLetter
from teambus.contracts.journal import AttemptStarted, JournalEntry
from teambus.contracts.message import decode, encode
from teambus.contracts.run import RunCompleted, RunRequest, request_digest
from teambus.contracts.session import SessionRecord
from teambus.domain.replay import Past, read_past
from teambus.local.nats_server import NatsServer
from teambus.testing.model import ModelServer
from teambus_team_runner import main as composition
from teambus_team_runner.databases import Databases
from teambus_team_runner.line import Line
from teambus_team_runner.presence import present
from teambus_team_runner.sessions import (
    LoadedSession,
    RunWrite,
    Stores,
    StoreSettings,
    StoreUnavailable,
)
from teambus_team_runner.settings import Settings

ACK_WAIT_S = 1.0
DESK, NIGHT, POET = "desk", "night", "poet"
QUICK: dict[str, Any] = {
    "hands": 16,
    "drain_s": 10.0,
    "session_look_s": 0.3,
    "orphan_after_s": 0.5,
    "store_retry_s": 0.2,
    "store_give_up_s": 30.0,
    "model_backoff_s": 0.05,
    "request_timeout_s": 0.5,
}
_numbers = itertools.count(1)


class Died(Exception):
    """the process ends here, as far as the run is concerned"""


@dataclass
class Faults:
    """What goes wrong, each once for each time it is named."""

    planned: list[str] = field(default_factory=list)
    met: list[str] = field(default_factory=list)
    database_away: bool = False

    def at(self, place: str) -> None:
        if place in self.planned:
            self.planned.remove(place)
            self.met.append(place)
            raise Died(place)


class FaultyDatabases(Databases):
    """Databases that can be away, and where a process can die."""

    def __init__(self, components: Any, stores: Stores, faults: Faults) -> None:
        super().__init__(components, stores)
        self._faults = faults

    async def load(self, *args: Any, **options: Any) -> LoadedSession:
        if self._faults.database_away:
            raise StoreUnavailable("it is away")
        return await super().load(*args, **options)

    async def save(self, write: RunWrite, **options: Any) -> None:
        self._faults.at("before the row")
        if self._faults.database_away:
            raise StoreUnavailable("it is away")
        await super().save(write, **options)


class FaultyEvents(Events):
    """Events a process can die before."""

    faults: Faults

    async def complete(self, event: RunCompleted) -> bool:
        self.faults.at("before the event")
        return await super().complete(event)


class FaultyLine(Line):
    """Sessions a process can die before or after closing."""

    faults: Faults

    async def close(self, asked: Any, seen: Any = None) -> None:
        self.faults.at("before the close")
        await super().close(asked, seen)
        self.faults.at("before the ack")


@dataclass
class Runs:
    """A provisioned bus, the model, and the runners that a test starts."""

    nats: NatsServer
    model: ModelServer
    bus: Bus
    app: TeamBus
    events: Events
    ack_wait_s: float = ACK_WAIT_S

    @asynccontextmanager
    async def runner(
        self, faults: Faults | None = None, *, url: str | None = None, **changes: Any
    ) -> AsyncIterator[Any]:
        """A runner with a connection of its own; drained when the block ends."""
        settings = Settings((self.nats.url,), "unused", **{**QUICK, **changes})
        stop = asyncio.Event()
        async with contextlib.AsyncExitStack() as stack:
            bus = await stack.enter_async_context(connect(bus_settings(url or self.nats.url)))
            components = {each.id: each for each in self.app.components}
            stores = Stores(StoreSettings())
            stack.push_async_callback(stores.close)
            faults = faults or Faults()
            databases = FaultyDatabases(components, stores, faults)
            models = await stack.enter_async_context(composition._models(settings, bus))
            pool = Consumer(topology.REQUESTS, topology.pool_name(self.app.id), self.ack_wait_s)
            limits = WatchLimits(settings.cancels_max, settings.cancel_look_s)
            cancels = CancelWatch(bus, limits)
            await stack.enter_async_context(cancels.following())
            runner = composition._runner(
                composition.Ground(settings, self.app, bus, pool, databases, models, cancels)
            )
            _arm(runner, faults)
            await stack.enter_async_context(present(bus, self.app.id, runner.hands))
            await stack.enter_async_context(runner.answering())
            working = asyncio.create_task(runner.run(stop))
            try:
                yield runner
            finally:
                stop.set()
                await working

    async def submit(
        self,
        run_id: str,
        *,
        team: str = DESK,
        msg_id: str | None = None,
        tenant: str = "default",
        **fields: Any,
    ) -> int:
        request = RunRequest(run_id=run_id, **{"input": f"question {run_id}", **fields})
        return await self.put(encode(request), team=team, msg_id=msg_id, tenant=tenant)

    async def put(
        self,
        data: bytes,
        *,
        team: str = DESK,
        msg_id: str | None = None,
        tenant: str = "default",
        **headers: str,
    ) -> int:
        subject = subjects.request(tenant, team)
        unique = msg_id or f"m{next(_numbers)}"
        message = Publication(subject, data, unique, headers=headers)
        return (await publish(self.bus, message)).seq

    async def cancel(self, run_id: str, *, team: str = DESK, reason: str | None = None) -> None:
        """Return once the order is on the bus."""
        order = CancelRun(
            tenant="default",
            team_id=team,
            run_id=run_id,
            requested_at=time.time(),
            reason=reason,
        )
        await order_cancel(self.bus, order, source="test")

    async def end(
        self, run_id: str, *, team: str = DESK, wait_s: float = 20, tenant: str = "default"
    ) -> RunCompleted:
        async def ended() -> RunCompleted | None:
            return await self.events.completed(tenant, team, run_id)

        found: RunCompleted = await until(ended, wait_s, f"no end of {run_id}")
        return found

    async def past(self, run_id: str) -> Past:
        return read_past(await self.journal(run_id))

    async def journal(self, run_id: str) -> list[JournalEntry]:
        subject = subjects.journal("default", run_id)
        tail = await read_tail(self.bus, subject)
        read = await read_entries(self.bus, Bodies(self.bus), subject, tail, entries_max=1000)
        return read.entries

    async def entries(self, run_id: str) -> int:
        subject = subjects.journal("default", run_id)
        return len(await self.stored(topology.JOURNAL, subject))

    async def dies(self, run_id: str, times: int, **fields: Any) -> None:
        """Earlier attempts at a run, each of which ended in a death."""
        request = RunRequest(run_id=run_id, **{"input": f"question {run_id}", **fields})
        for _ in range(times):
            subject = subjects.journal("default", run_id)
            tail = await read_tail(self.bus, subject)
            journal = Journal(self.bus, Bodies(self.bus), subject, run_id=run_id, tail=tail)
            record = AttemptStarted(
                runner="dead",
                request_seq=1,
                team_id=DESK,
                request_digest=request_digest(request),
                at=time.time(),
            )
            await journal.append(record)

    async def session(self, session_id: str) -> SessionRecord:
        return (await Sessions(self.bus).read("default", session_id)).record

    async def is_free(self, session_id: str) -> bool:
        record = await self.session(session_id)
        return record.holder is None and not record.waiting

    async def free(self, session_id: str) -> None:
        await until(lambda: self.is_free(session_id), 10, f"{session_id} is held")

    async def waiting(self, session_id: str, count: int) -> None:
        async def enough() -> bool:
            return len((await self.session(session_id)).waiting) >= count

        await until(enough, 20, f"fewer than {count} wait for {session_id}")

    async def drained(self) -> None:
        """Return once no request is in the queue."""

        async def empty() -> bool:
            reply = await reads.call(self.bus, f"$JS.API.STREAM.INFO.{topology.REQUESTS}", b"")
            return int(msgspec.json.decode(reply.data)["state"]["messages"]) == 0

        await until(empty, 20, "requests are left in the queue")

    async def letters(self, name: str) -> list[DeadLetter]:
        stored = await self.stored(topology.DEAD, f"{subjects.ROOT}.dead.*.*.{name}.*")
        return [decode(DeadLetter, message.data) for message in stored]

    async def stored(self, stream: str, subject: str) -> list[reads.Stored]:
        found = reads.history(self.bus, stream, subject, until=2**62, messages_max=10_000)
        return [message async for message in found]

    async def last_call(self) -> int:
        calls = await self.model.calls()
        return calls[-1].n if calls else 0


def bus_settings(url: str) -> BusSettings:
    return BusSettings((url,), "test", request_timeout_s=0.5, publish_patience_s=10)


def app_in(folder: Path, model: ModelServer) -> TeamBus:
    """Two teams; `desk` asks two members, `night` has one it never needs to ask. And an agent."""

    def chat() -> OpenAIChat:
        return OpenAIChat(id="gpt-5.2", base_url=model.base_url, api_key="scripted")

    def agent(name: str) -> Agent:
        return Agent(name=name, role=name, instructions=f"You are {name}.", model=chat())

    db = AsyncSqliteDb(db_file=str(folder / "team.db"))
    return TeamBus(
        id="news",
        teams=[
            Team(
                id=DESK,
                name="Desk",
                model=chat(),
                members=[agent("Researcher"), agent("Writer")],
                db=db,
            ),
            Team(id=NIGHT, name="Night", model=chat(), members=[agent("Watch")], db=db),
        ],
        agents=[
            Agent(
                id=POET,
                name="Poet",
                model=chat(),
                db=db,
                instructions="You are Poet.",
                add_history_to_context=True,
                session_state={"verses": 0, "kept": True},
            )
        ],
    )


@asynccontextmanager
async def runs_in(folder: Path, *, ack_wait_s: float = ACK_WAIT_S) -> AsyncIterator[Runs]:
    async with NatsServer(folder / "nats") as nats, ModelServer() as model:
        usual = structlog.get_config()
        _log_plainly()
        async with connect(bus_settings(nats.url)) as bus:
            app = app_in(folder, model)
            await provision(bus, describe(app), topology.TopologySettings(ack_wait_s=ack_wait_s))
            events = Events(bus, Bodies(bus), source="test")
            try:
                yield Runs(nats, model, bus, app, events, ack_wait_s)
            finally:
                structlog.configure(**usual)


async def until(ask: Any, wait_s: float, otherwise: str) -> Any:
    deadline = time.monotonic() + wait_s
    while not (answer := await ask()):
        assert time.monotonic() < deadline, otherwise
        await asyncio.sleep(0.01)
    return answer


def _log_plainly() -> None:
    """The default's pretty tracebacks take seconds, in which no heartbeat is sent."""
    plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*structlog.get_config()["processors"][:-1], plain])


def _arm(runner: Any, faults: Faults) -> None:
    """Put the places where it can die between the runner and what it writes."""
    attempts = runner._attempts
    endings = attempts.endings
    endings.events.__class__ = FaultyEvents
    endings.line.__class__ = FaultyLine
    endings.events.faults = endings.line.faults = faults
    assert dataclasses.is_dataclass(attempts)
