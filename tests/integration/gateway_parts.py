"""A gateway in this process on a real nats-server, and a stand-in for the runners behind it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx2

from teambus.bus import reads, topology
from teambus.bus.bodies import Bodies
from teambus.bus.connection import Bus, BusSettings, connect
from teambus.bus.events import Events
from teambus.bus.provision import provision
from teambus.bus.pull import Delivery, Inbox
from teambus.contracts.catalogue import (
    AgentDescription,
    AppDescription,
    MemberDescription,
    ModelDescription,
    TeamDescription,
)
from teambus.contracts.ids import completed_event_id
from teambus.contracts.message import decode
from teambus.contracts.output import RunStatus, TeamRunInput, TeamRunOutput
from teambus.contracts.run import RunCompleted, RunRefused, RunRequest
from teambus.contracts.subjects import RequestSubject
from teambus.local.nats_server import NatsServer
from teambus_gateway.app import make_app
from teambus_gateway.gateway import open_gateway
from teambus_gateway.parts import Parts
from teambus_gateway.serving import bind, serve
from teambus_gateway.settings import GatewaySettings
from tests.support.system import until

MODEL = ModelDescription(id="gpt-5.2", provider="OpenAI", name="OpenAIChat")
TEAM = TeamDescription(
    id="content-team",
    name="ContentTeam",
    db_id="team-db",
    session_table="teambus_sessions",
    model=MODEL,
    markdown=True,
    instructions="Coordinate between researcher and writer to create content.",
    members=[
        MemberDescription(id="researcher", name="Researcher", model=MODEL, instructions="Look up."),
        MemberDescription(id="writer", name="Writer", model=MODEL, instructions="Write."),
    ],
)
AGENT = AgentDescription(
    id="poet", name="Poet", db_id="team-db", session_table="teambus_sessions", model=MODEL
)
APP = AppDescription(id="story", name="Story", teams=[TEAM], agents=[AGENT])
HURRIED = {
    "look_s": 0.5,
    "reply_timeout_s": 20.0,
    "publish_patience_s": 1.0,
    "store_timeout_s": 2.0,
    "drain_s": 5.0,
    "catalogue_reread_s": 0.0,
    "stream_keepalive_s": 0.3,
}

Ending = Callable[[RunRequest], RunCompleted | RunRefused | None]


@dataclass
class StandIn:
    """Takes requests and ends their runs as `ending` says; None leaves a run open for ever."""

    bus: Bus
    events: Events
    taken: list[RunRequest] = field(default_factory=list)
    seqs: list[int] = field(default_factory=list)
    ending: Ending | None = None
    go: asyncio.Event = field(default_factory=asyncio.Event)
    """While it is not set, runs stay in hand."""

    async def run(self) -> None:
        pool = topology.pool_name(APP.id)
        async with Inbox(self.bus, topology.REQUESTS, pool) as inbox, asyncio.TaskGroup() as hands:
            while True:
                for delivery in await inbox.fetch(256, asyncio.Event()):
                    hands.create_task(self._take(delivery))

    async def _take(self, delivery: Delivery) -> None:
        subject = RequestSubject.parse(delivery.subject)
        data = await Bodies(self.bus).load(delivery.data, delivery.headers)
        request = decode(RunRequest, data)
        self.taken.append(request)
        self.seqs.append(delivery.seq)
        await self.go.wait()
        if self.ending is None:
            end: RunCompleted | RunRefused | None = finished(
                request, tenant=subject.tenant, of_agent=subject.team_id == AGENT.id
            )
        else:
            end = self.ending(request)
        if isinstance(end, RunCompleted):
            await self.events.complete(end)
        elif isinstance(end, RunRefused):
            await self.events.refuse(end)
        await delivery.ack()

    async def until_taken(self, count: int) -> None:
        async def enough() -> bool:
            return len(self.taken) >= count

        await until(enough, 10, lambda: f"only {len(self.taken)} of {count} requests were taken")


def finished(
    request: RunRequest,
    *,
    tenant: str = "default",
    status: RunStatus = RunStatus.COMPLETED,
    code: str | None = None,
    content: str | None = None,
    of_agent: bool = False,
) -> RunCompleted:
    assert request.session_id is not None
    id_ = AGENT.id if of_agent else TEAM.id
    return RunCompleted(
        event_id=completed_event_id(tenant, id_, request.run_id),
        tenant=tenant,
        team_id=id_,
        run_id=request.run_id,
        session_id=request.session_id,
        output=TeamRunOutput(
            run_id=request.run_id,
            team_id=id_,
            team_name=None if of_agent else TEAM.name,
            agent_id=AGENT.id if of_agent else None,
            agent_name=AGENT.name if of_agent else None,
            session_id=request.session_id,
            user_id=request.user_id,
            status=status,
            created_at=int(time.time()),
            content_type="str",
            content=content or f"answer to {request.input[:40]}",
            input=TeamRunInput(input_content=request.input),
            member_responses=[],
            tools=[],
            metadata=request.metadata,
        ),
        completed_at=time.time(),
        code=code,
    )


@dataclass
class Served:
    """One gateway that answers on `url`."""

    url: str
    http: httpx2.AsyncClient
    bus: Bus
    parts: Parts
    stop: asyncio.Event
    serving: asyncio.Task[None]

    async def post(
        self,
        message: str | None = "Hello",
        *,
        key: str | None = None,
        path: str = "/teams/content-team",
        **fields: str,
    ) -> httpx2.Response:
        form = {"stream": "false", **fields}
        if message is not None:
            form["message"] = message
        given = {} if key is None else {"Idempotency-Key": key}
        return await self.http.post(f"{path}/runs", data=form, headers=given)

    async def poll(
        self, run_id: str, session_id: str, *, path: str = "/teams/content-team"
    ) -> httpx2.Response:
        return await self.http.get(f"{path}/runs/{run_id}", params={"session_id": session_id})


@dataclass
class System:
    """A provisioned nats-server with a stand-in runner."""

    nats: NatsServer
    bus: Bus
    events: Events
    runner: StandIn

    @staticmethod
    def request_of(data: bytes) -> RunRequest:
        return decode(RunRequest, data)

    async def stored(self, stream: str, subject: str) -> list[reads.Stored]:
        found = reads.history(self.bus, stream, subject, until=2**62, messages_max=10_000)
        return [message async for message in found]

    @asynccontextmanager
    async def gateway(self, **changes: Any) -> AsyncIterator[Served]:
        settings = replace(GatewaySettings((self.nats.url,)), port=0, **{**HURRIED, **changes})
        listening = bind(settings)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        stop = asyncio.Event()
        async with connect(settings.bus()) as bus, open_gateway(bus, settings) as parts:
            app = make_app(parts, settings)
            serving = asyncio.create_task(serve(app, listening, settings, stop=stop, parts=parts))
            limits = httpx2.Limits(max_connections=None)
            async with httpx2.AsyncClient(base_url=url, timeout=30, limits=limits) as http:
                try:
                    yield Served(url, http, bus, parts, stop, serving)
                finally:
                    stop.set()
                    await serving


async def reconnected(*buses: Bus) -> None:
    async def all_connected() -> bool:
        return all(bus.connected for bus in buses)

    await until(all_connected, 10, "not connected again")


@asynccontextmanager
async def system(
    folder: Path, *, go: bool = True, work: bool = True, **limits: Any
) -> AsyncIterator[System]:
    """`go=False`: runs are taken and kept; `work=False`: nobody takes any. The `limits` are the
    topology's.
    """
    settings = topology.TopologySettings(**limits)
    async with NatsServer(folder / "nats") as nats:
        async with connect(BusSettings((nats.url,), "test", publish_patience_s=5)) as bus:
            await provision(bus, APP, settings)
            events = Events(bus, Bodies(bus), source="test")
            runner = StandIn(bus, events)
            if go:
                runner.go.set()
            working = asyncio.create_task(runner.run() if work else asyncio.sleep(3600))
            try:
                yield System(nats, bus, events, runner)
            finally:
                working.cancel()
                await asyncio.gather(working, return_exceptions=True)
