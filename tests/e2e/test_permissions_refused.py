"""What each identity must not do, by name, each tried with its real key and refused.

The server says itself that it refused (a permissions violation, read from the connection), and an
identity that may see everything finds that nothing was stored.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest
import pytest_asyncio

from teambus.bus import reads, topology
from teambus.bus.connection import Bus, connect
from teambus.bus.errors import BusUnavailable
from tests.e2e.locked_parts import being, locked_system
from tests.support.locked import ADMIN
from tests.support.system import System, until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]

WAIT_S = 30
ROOT = "teambus.v1"
API = "$JS.API"
NEXT = f"{API}.CONSUMER.MSG.NEXT"
THEIRS = f"{ROOT}.event.beta.content-team.r.completed"
RUNNER, HOOKS, OTHERS = "team-runner.locked", "hook-runner.locked", "hook-runner.hooks"
ACME, BETA = "client.acme", "client.beta"
EVERY_STREAM = [each["name"] for each in topology.streams(topology.TopologySettings())]
POOL = topology.pool_name("locked")
OTHER_POOL = topology.pool_name("hooks")


@dataclass(frozen=True, slots=True)
class Act:
    """`subject` is what somebody says something on or, with `hears`, listens to."""

    who: str
    what: str
    subject: str
    hears: bool = False

    def about(self, hook_consumer: str) -> str:
        """The subject, with the name of a hook's consumer, which only the bus knows."""
        return self.subject.replace("<hook>", hook_consumer)

    def __str__(self) -> str:
        return f"{self.who} {self.what}"


def says(who: str, what: str, subject: str) -> Act:
    return Act(who, what, subject)


def hears(who: str, what: str, subject: str) -> Act:
    return Act(who, what, subject, hears=True)


ACTS = [
    says("gateway", "forges a completed event", f"{ROOT}.event.acme.content-team.r.completed"),
    says("gateway", "refuses a run in a runner's place", f"{ROOT}.event.acme.t.r.refused"),
    says("gateway", "writes in a journal", f"{ROOT}.journal.acme.r.0"),
    says("gateway", "tells frames of a run", f"{ROOT}.frame.acme.r"),
    says("gateway", "opens a session", f"{ROOT}.session.acme.s"),
    says("gateway", "takes the janitor's lease", f"{ROOT}.lease.janitor"),
    says("gateway", "buries something", f"{ROOT}.dead.acme.hook.teller.x"),
    says("gateway", "pulls work", f"{NEXT}.TEAMBUS_REQUESTS.{POOL}"),
    says("gateway", "acknowledges work", f"$JS.ACK.TEAMBUS_REQUESTS.{POOL}.1.1.1.1.0"),
    says("gateway", "deletes a request", f"{API}.STREAM.MSG.DELETE.TEAMBUS_REQUESTS"),
    says("gateway", "deletes an event", f"{API}.STREAM.MSG.DELETE.TEAMBUS_EVENTS"),
    says("gateway", "empties the events", f"{API}.STREAM.PURGE.TEAMBUS_EVENTS"),
    says("gateway", "makes a consumer", f"{API}.CONSUMER.CREATE.TEAMBUS_EVENTS.x"),
    says("gateway", "writes in the catalogue", "$KV.teambus_catalogue.locked"),
    says("gateway", "asks a runner what it holds", f"{ROOT}.api.acme.runner.r.holds"),
    hears("gateway", "hears everything", ">"),
    hears("gateway", "hears a runner's answers", "_INBOX.team-runner.locked.>"),
    hears("gateway", "hears requests in the runners' place", f"{ROOT}.request.>"),
    says(RUNNER, "asks for a run", f"{ROOT}.request.acme.content-team.std"),
    says(RUNNER, "accepts a run", f"{ROOT}.event.acme.content-team.r.accepted"),
    says(RUNNER, "cancels a run", f"{ROOT}.control.acme.content-team.r"),
    says(RUNNER, "says how a hook went", f"{ROOT}.hook.acme.r.teller"),
    says(RUNNER, "has a delivery made again", f"{ROOT}.redrive.acme.teller"),
    says(RUNNER, "buries for a hook", f"{ROOT}.dead.acme.hook.teller.x"),
    says(RUNNER, "pulls another app's runs", f"{NEXT}.TEAMBUS_REQUESTS.{OTHER_POOL}"),
    says(
        RUNNER,
        "acknowledges another app's runs",
        f"$JS.ACK.TEAMBUS_REQUESTS.{OTHER_POOL}.1.1.1.1.0",
    ),
    says(RUNNER, "takes what is meant for a hook", f"{NEXT}.TEAMBUS_EVENTS.<hook>"),
    says(RUNNER, "changes a stream", f"{API}.STREAM.UPDATE.TEAMBUS_REQUESTS"),
    says(RUNNER, "deletes an event", f"{API}.STREAM.MSG.DELETE.TEAMBUS_EVENTS"),
    says(RUNNER, "deletes a journal", f"{API}.STREAM.PURGE.TEAMBUS_JOURNAL"),
    hears(RUNNER, "answers for another app", f"{ROOT}.api.*.pool.hooks"),
    hears(RUNNER, "answers for another database", f"{ROOT}.api.*.db.other.sessions.list"),
    hears(RUNNER, "answers in a gateway's place", f"{ROOT}.api.*.run.start"),
    hears(RUNNER, "hears a gateway's answers", "_INBOX.gateway.>"),
    says(HOOKS, "asks for a run", f"{ROOT}.request.acme.content-team.std"),
    says(HOOKS, "forges a completed event", f"{ROOT}.event.acme.content-team.r.completed"),
    says(HOOKS, "cancels a run", f"{ROOT}.control.acme.content-team.r"),
    says(HOOKS, "opens a session", f"{ROOT}.session.acme.s"),
    says(HOOKS, "writes in a journal", f"{ROOT}.journal.acme.r.0"),
    says(HOOKS, "says how another app's hook went", f"{ROOT}.hook.acme.r.first"),
    says(HOOKS, "buries a run", f"{ROOT}.dead.acme.run.content-team.r"),
    says(HOOKS, "pulls runs", f"{NEXT}.TEAMBUS_REQUESTS.{POOL}"),
    says(HOOKS, "acknowledges runs", f"$JS.ACK.TEAMBUS_REQUESTS.{POOL}.1.1.1.1.0"),
    says(HOOKS, "deletes a session over the bus", f"{ROOT}.api.acme.db.d.sessions.delete"),
    says(HOOKS, "reads a journal", f"{API}.STREAM.MSG.GET.TEAMBUS_JOURNAL"),
    says(HOOKS, "reads files", f"{API}.STREAM.MSG.GET.OBJ_teambus_files"),
    says(
        OTHERS,
        "takes what is meant for another app's hook",
        f"{NEXT}.TEAMBUS_EVENTS.<hook>",
    ),
    says(OTHERS, "acknowledges for another app's hook", "$JS.ACK.TEAMBUS_EVENTS.<hook>.1.1.1.1.0"),
    says(OTHERS, "takes another hook's redrives", f"{NEXT}.TEAMBUS_REDRIVE.<hook>"),
    hears(OTHERS, "hears another hook-runner's answers", "_INBOX.hook-runner.locked.>"),
    says("provision", "asks for a run", f"{ROOT}.request.acme.content-team.std"),
    says("provision", "deletes a stream", f"{API}.STREAM.DELETE.TEAMBUS_EVENTS"),
    says("provision", "makes a stream of another name", f"{API}.STREAM.CREATE.SPY"),
    says("provision", "reads events", f"{API}.STREAM.MSG.GET.TEAMBUS_EVENTS"),
    says("operator", "asks for a run", f"{ROOT}.request.acme.content-team.std"),
    says("operator", "reads a journal", f"{API}.STREAM.MSG.GET.TEAMBUS_JOURNAL"),
    says("doctor", "says how a hook went", f"{ROOT}.hook.acme.r.teller"),
    says("doctor", "deletes a dead letter", f"{API}.STREAM.MSG.DELETE.TEAMBUS_DEAD"),
    says(ACME, "asks for a run of another tenant's", f"{ROOT}.request.beta.content-team.std"),
    says(ACME, "asks in another lane", f"{ROOT}.request.acme.content-team.hi"),
    says(ACME, "cancels another tenant's run", f"{ROOT}.control.beta.content-team.r"),
    says(ACME, "starts a run for another tenant", f"{ROOT}.api.beta.run.start"),
    says(ACME, "waits for another tenant's run", f"{ROOT}.api.beta.run.wait"),
    says(ACME, "lists another tenant's sessions", f"{ROOT}.api.beta.db.d.sessions.list"),
    says(ACME, "deletes another tenant's session", f"{ROOT}.api.beta.db.d.sessions.delete"),
    says(
        ACME,
        "reads another tenant's result",
        f"{API}.DIRECT.GET.TEAMBUS_EVENTS.{THEIRS}",
    ),
    says(ACME, "reads events by number", f"{API}.DIRECT.GET.TEAMBUS_EVENTS"),
    says(ACME, "reads events from their leader", f"{API}.STREAM.MSG.GET.TEAMBUS_EVENTS"),
    says(ACME, "forges a completed event", f"{ROOT}.event.acme.content-team.r.completed"),
    says(ACME, "forges a live event", f"{ROOT}.live.acme.r.completed"),
    says(ACME, "looks at a stream", f"{API}.STREAM.INFO.TEAMBUS_EVENTS"),
    says(ACME, "makes a consumer", f"{API}.CONSUMER.CREATE.TEAMBUS_EVENTS.x"),
    says(ACME, "asks who runs what", f"{ROOT}.api.acme.pool.locked"),
    hears(ACME, "hears another tenant's runs", f"{ROOT}.live.beta.>"),
    hears(ACME, "hears everybody's runs", f"{ROOT}.live.>"),
    hears(ACME, "hears orders to cancel", f"{ROOT}.ordered.>"),
    hears(ACME, "answers in a gateway's place", f"{ROOT}.api.acme.run.start"),
    hears(ACME, "hears everything", ">"),
    *(says("gateway", f"deletes {each}", f"{API}.STREAM.DELETE.{each}") for each in EVERY_STREAM),
    *(
        says(HOOKS, f"empties {each}", f"{API}.STREAM.PURGE.{each}")
        for each in EVERY_STREAM
        if each != topology.BODIES
    ),
]

# Each has a name of its own.
assert len({str(act) for act in ACTS}) == len(ACTS) >= 40


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    async with locked_system(tmp_path_factory.mktemp("locked")) as system:
        yield system


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hook_consumer(served: System) -> str:
    """The consumer of a hook of the app that is served."""
    listed = await served.bus.client.jetstream().consumers_info("TEAMBUS_EVENTS")
    return listed[0].name


async def held(served: System) -> dict[str, tuple[int, int, int]]:
    """How much is stored where nothing happens by itself, as who may see everything sees it."""
    found = {}
    for name in EVERY_STREAM:
        if name != topology.LEASES:
            state = (await served.bus.client.jetstream().stream_info(name)).state
            found[name] = (state.messages, state.last_seq, state.consumer_count)
    return found


@pytest.mark.parametrize("act", ACTS, ids=str)
async def test_it_is_refused(served: System, hook_consumer: str, act: Act) -> None:
    subject = act.about(hook_consumer)
    before = await held(served)
    async with being(served, act.who) as bus:
        if act.hears:
            await bus.client.subscribe(subject)
        else:
            await bus.client.publish(subject, b"{}", reply=bus.client.new_inbox())
        await until(partial(is_refused, bus, subject), WAIT_S, "the server let it through")
    assert await held(served) == before


async def is_refused(bus: Bus, subject: str) -> bool:
    return f'"{subject.lower()}"' in str(bus.violation).lower()


ANSWERED_ELSEWHERE = [
    f"{ROOT}.request.acme.content-team.std",
    f"{ROOT}.control.acme.content-team.r",
    f"{ROOT}.api.acme.run.start",
    f"{API}.DIRECT.GET.TEAMBUS_EVENTS.{ROOT}.event.acme.content-team.mine.completed",
]


@pytest.mark.parametrize("subject", ANSWERED_ELSEWHERE)
async def test_a_tenant_cannot_have_what_it_may_ask_answered_into_a_stream(
    served: System, subject: str
) -> None:
    """Who asks names where the answer goes, and servers answer there whoever may not."""
    mine = f"{ROOT}.event.acme.content-team.mine.completed"
    if await reads.last(served.bus, topology.EVENTS, mine) is None:
        await served.bus.client.jetstream().publish(mine, b'{"of": "acme"}')
    places = [f"{ROOT}.event.beta.content-team.forged.completed", f"{ROOT}.session.beta.s"]
    async with being(served, ACME) as bus:
        for place in places:
            await bus.client.publish(subject, b"{}", reply=place)
        # What is answered after that was answered where it can be heard.
        assert await bus.request(subject, b"{}") is not None
    for stream, place in zip((topology.EVENTS, topology.SESSIONS), places, strict=True):
        assert await reads.last(served.bus, stream, place) is None


async def test_nobody_has_a_service_answer_into_a_stream(served: System) -> None:
    """The gateway itself may write there, but not as the answer to a question."""
    subject = f"{ROOT}.api.default.run.start"
    async with being(served, ADMIN) as bus:
        for place in (f"{ROOT}.hook.default.r.teller", "$O.teambus_files.M.x"):
            await bus.client.publish(subject, b"{}", reply=place)
        assert await bus.request(subject, b"{}") is not None
    for stream, place in (
        (topology.HOOKS, f"{ROOT}.hook.default.r.teller"),
        (topology.FILES, "$O.teambus_files.M.x"),
    ):
        assert await reads.last(served.bus, stream, place) is None


async def test_a_tenant_hears_no_answers_but_its_own(served: System) -> None:
    heard: list[str] = []

    async def hear(message: Any) -> None:
        heard.append(message.subject)

    async with being(served, ACME) as bus, being(served, BETA) as other:
        await bus.client.subscribe("_INBOX.>", cb=hear)
        await bus.barrier()
        subject = f"{ROOT}.api.beta.run.wait"
        for _ in range(3):
            assert await other.request(subject, b"{}") is not None
        assert await bus.request(f"{ROOT}.api.acme.run.wait", b"{}") is not None
        mine = str(bus.replies._prefix)
        assert [each for each in heard if not each.startswith(mine)] == []


async def test_who_has_no_key_or_another_is_not_let_in(served: System) -> None:
    assert served.lock is not None
    settings = served.lock.settings("gateway", served.nats.url, connect_timeout_s=2)
    served.lock.renew("stranger")
    stranger = replace(settings, access=served.lock.access("stranger"))
    nobody = replace(settings, access=replace(settings.access, nkey_seed_file=None))
    for each in (stranger, nobody):
        with pytest.raises(BusUnavailable, match="refuses the credentials"):
            async with connect(each):
                pass
