"""Dead letters and the hooks of a run over HTTP, with a stand-in for the hook-runners."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from teambus.bus import reads, topology
from teambus.bus.provision import provision
from teambus.bus.pull import Delivery, Inbox
from teambus.bus.topology import TopologySettings, hook_consumer_name
from teambus.contracts.catalogue import HookDescription
from teambus.contracts.hook import (
    DeadLetter,
    HookFailure,
    HookOutcome,
    RedriveDelivery,
    delivery_id,
)
from teambus.contracts.message import decode
from teambus.contracts.output import RunStatus
from teambus.contracts.run import RunCompleted, RunRequest
from teambus_hook_runner.calling import Calling, saying_what_is_called
from teambus_hook_runner.parcel import Addressed
from tests.integration.gateway_parts import APP, Served, System, finished, reconnected, system

TENANT = "default"
HOOKS = {
    name: HookDescription(name=name, app="story", function=name, teams=[team], on=on)
    for name, team, on in (
        ("log", "content-team", ("COMPLETED",)),
        ("bill", "content-team", ("COMPLETED",)),
        ("alarm", "content-team", ("ERROR",)),
        ("praise", "poet", ("COMPLETED",)),
    )
}
FAILURE = HookFailure(attempt=1, code="raised", error="it broke", started_at=1, failed_at=2)
RUN = "/teams/content-team/runs/r1"


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[System]:
    async with system(tmp_path) as made:
        app = msgspec.structs.replace(APP, hooks=list(HOOKS.values()))
        await provision(made.bus, app, TopologySettings())
        yield made


@pytest.fixture
async def served(place: System) -> AsyncIterator[Served]:
    async with place.gateway() as gateway:
        yield gateway


def event(run_id: str = "r1", **options: Any) -> RunCompleted:
    end = finished(RunRequest(run_id=run_id, input="ask", session_id="s"), **options)
    end.output.created_at = 1
    return msgspec.structs.replace(end, completed_at=2)


async def buried(place: System, run_id: str = "r1", **changes: Any) -> str:
    """A letter of the hook `log`; its id."""
    given: dict[str, Any] = {
        "id": delivery_id(TENANT, "log", run_id),
        "about": "hook",
        "name": "log",
        "tenant": TENANT,
        "reason": "gave up after 1 attempt",
        "died_at": 5,
        "team_id": "content-team",
        "run_id": run_id,
        "event": event(run_id),
        "attempts": 1,
        "failures": [FAILURE],
    }
    letter = DeadLetter(**(given | changes))
    assert await place.events.bury(letter)
    return letter.id


async def recorded(place: System, hook: str, state: Any, **changes: Any) -> None:
    outcome = HookOutcome(
        delivery_id=delivery_id(TENANT, hook, "r1"),
        tenant=TENANT,
        team_id="content-team",
        run_id="r1",
        hook=hook,
        state=state,
        **{"attempt": 1, "at": 7, **changes},
    )
    assert await place.events.note_outcome(outcome)


async def hooks_of(served: Served, path: str = RUN) -> dict[str, Any]:
    answer = await served.http.get(f"{path}/hooks")
    assert answer.status_code == 200, answer.text
    told: list[dict[str, Any]] = answer.json()["hooks"]
    return {each["name"]: each for each in told}


async def taken(place: System, stream: str, hook: str) -> Delivery:
    """What the hook's consumer has, taken as a hook-runner would."""
    async with Inbox(place.bus, stream, hook_consumer_name(HOOKS[hook])) as inbox:
        while not (found := await inbox.fetch(1, asyncio.Event())):
            pass
    return found[0]


async def test_letters_are_listed_shown_and_discarded(place: System, served: Served) -> None:
    first = await buried(place)
    await buried(place, "r2", team_id="poet", died_at=9)
    listed = (await served.http.get("/dead-letters")).json()
    assert [letter["run_id"] for letter in listed["data"]] == ["r1", "r2"]
    assert listed["data"][0] == {
        "id": first,
        "about": "hook",
        "name": "log",
        "team_id": "content-team",
        "run_id": "r1",
        "reason": "gave up after 1 attempt",
        "attempts": 1,
        "last_error": "it broke",
        "redriven": 0,
        "died_at": 5.0,
    }
    assert listed["meta"] == {"limit": 20, "next": None}
    for query in ("team_id=poet", "since=6", "name=log&after=1", "about=hook&since=9"):
        some = (await served.http.get(f"/dead-letters?{query}")).json()["data"]
        assert [letter["run_id"] for letter in some] == ["r2"], query
    page = (await served.http.get("/dead-letters?limit=1")).json()
    assert page["meta"] == {"limit": 1, "next": 1}
    shown = await served.http.get(f"/dead-letters/{first}")
    assert decode(DeadLetter, shown.content).event == event()
    assert (await served.http.delete(f"/dead-letters/{first}")).status_code == 204
    for answer in (
        await served.http.get(f"/dead-letters/{first}"),
        await served.http.delete(f"/dead-letters/{first}"),
        await served.http.post(f"/dead-letters/{first}/redrive"),
    ):
        assert (answer.status_code, answer.json()) == (404, {"detail": "Dead letter not found"})


async def test_a_run_id_of_any_text_is_no_hindrance(place: System, served: Served) -> None:
    id_ = await buried(place, "of/a b?#ü")
    [listed] = (await served.http.get("/dead-letters")).json()["data"]
    assert listed["id"] == id_
    path = "/dead-letters/default:log:of%2Fa%20b%3F%23%C3%BC"
    assert (await served.http.get(path)).status_code == 200
    assert (await served.http.post(f"{path}/redrive")).status_code == 202


async def test_a_letter_is_redriven_to_its_hook(place: System, served: Served) -> None:
    id_ = await buried(place)
    answer = await served.http.post(f"/dead-letters/{id_}/redrive")
    assert (answer.status_code, answer.json()) == (202, {"redriven": [id_]})
    order = decode(RedriveDelivery, (await taken(place, topology.REDRIVE, "log")).data)
    assert (order.event, order.generation, order.delivery_id) == (event(), 1, id_)
    assert (await served.http.get(f"/dead-letters/{id_}")).status_code == 404


async def test_letters_are_redriven_by_what_they_are_of(place: System, served: Served) -> None:
    one = await buried(place)
    two = await buried(place, "r2", died_at=9)
    gone = await buried(place, "r3", id="gone", name="gone")
    run = await buried(place, "r4", id="run", about="run", name="content-team")
    answer = await served.http.post("/dead-letters/redrive?since=9")
    assert (answer.status_code, answer.json()) == (
        202,
        {"redriven": [two], "refused": [], "next": None},
    )
    told = (await served.http.post("/dead-letters/redrive?all=true")).json()
    assert told["redriven"] == [one]
    assert [(each["id"], each["code"]) for each in told["refused"]] == [(gone, "hook_gone")]
    left = (await served.http.get("/dead-letters")).json()["data"]
    assert [letter["id"] for letter in left] == [gone, run]


async def test_what_is_asked_wrongly_or_cannot_be_done_says_so(
    place: System, served: Served
) -> None:
    run = await buried(place, id="run", about="run", name="content-team")
    refused = await served.http.post(f"/dead-letters/{run}/redrive")
    assert refused.status_code == 409
    assert refused.json()["code"] == "not_redrivable"
    assert "ask for a new run" in refused.json()["detail"]
    everything = await served.http.post("/dead-letters/redrive")
    assert everything.status_code == 422
    assert "all=true" in everything.json()["detail"]
    for query in ("about=shoe", "limit=0", "limit=1001", "since=soon", "after=-1"):
        assert (await served.http.get(f"/dead-letters?{query}")).status_code == 422, query


async def test_a_bus_that_is_away_is_said_and_nothing_is_lost(
    place: System, served: Served
) -> None:
    id_ = await buried(place)
    await place.nats.kill()
    for answer in (
        await served.http.get("/dead-letters"),
        await served.http.post(f"/dead-letters/{id_}/redrive"),
        await served.http.get(f"{RUN}/hooks"),
    ):
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
    await place.nats.restart()
    await reconnected(served.bus)
    assert (await served.http.get(f"/dead-letters/{id_}")).status_code == 200


async def test_each_hook_of_a_run_says_how_it_stands(place: System, served: Served) -> None:
    assert await place.events.complete(event())
    before = await hooks_of(served)
    assert {name: each["state"] for name, each in before.items()} == {
        "log": "waiting",
        "bill": "waiting",
    }
    await recorded(place, "log", "failed", failures=[FAILURE], retry_at=99)
    await recorded(place, "bill", "delivered")
    assert await hooks_of(served) == {
        "log": {
            "name": "log",
            "state": "retrying",
            "attempts": 1,
            "since": 7.0,
            "retry_at": 99.0,
            "last_error": "it broke",
            "redriven": 0,
            "dead_letter": None,
        },
        "bill": {
            "name": "bill",
            "state": "delivered",
            "attempts": 1,
            "since": 7.0,
            "retry_at": None,
            "last_error": None,
            "redriven": 0,
            "dead_letter": None,
        },
    }
    await recorded(place, "log", "dead", attempt=3, failures=[FAILURE])
    dead = (await hooks_of(served))["log"]
    assert (dead["state"], dead["attempts"]) == ("dead", 3)
    assert dead["dead_letter"] == await buried(place)
    await served.http.post(f"/dead-letters/{dead['dead_letter']}/redrive")
    again = (await hooks_of(served))["log"]
    assert (again["state"], again["attempts"], again["redriven"]) == ("waiting", 0, 1)


async def test_a_hook_runs_when_a_hook_runner_says_that_it_is_calling_it(place: System) -> None:
    assert await place.events.complete(event())
    await recorded(place, "bill", "delivered")
    idle, busy = Calling(), Calling()
    async with (
        place.gateway(hook_calls_wait_s=2.0) as served,
        saying_what_is_called(place.bus, idle),
        saying_what_is_called(place.bus, busy),
    ):
        calls = Addressed("log", event()), Addressed("bill", event())
        for call in calls:
            busy.begin(call, 2)
        told = await hooks_of(served)
        assert (told["log"]["state"], told["log"]["attempts"]) == ("running", 2)
        assert told["bill"]["state"] == "delivered", "its outcome outlives its call"
        for call in calls:
            busy.end(call)
        busy.begin(Addressed("log", event("another")), 1)
        assert (await hooks_of(served))["log"]["state"] == "waiting"


async def test_a_hook_that_is_newer_than_the_run_does_not_hear_of_it(
    place: System, served: Served
) -> None:
    assert await place.events.complete(event())
    late = HookDescription(name="late", app="story", function="late", teams=["content-team"])
    app = msgspec.structs.replace(APP, hooks=[*HOOKS.values(), late])
    await provision(place.bus, app, TopologySettings())
    await served.parts.catalogue.refresh()
    assert set(await hooks_of(served)) == {"log", "bill"}
    assert await place.events.complete(event("r2"))
    assert set(await hooks_of(served, "/teams/content-team/runs/r2")) == {"log", "bill", "late"}


async def test_which_hooks_hear_of_a_run_goes_by_how_it_ended(
    place: System, served: Served
) -> None:
    assert await place.events.complete(event(status=RunStatus.ERROR))
    assert set(await hooks_of(served)) == {"alarm"}


async def test_hooks_of_a_run_that_has_not_ended_wait(place: System, served: Served) -> None:
    place.runner.go.clear()
    begun = (await served.post(background="true")).json()
    answer = await served.http.get(f"/teams/content-team/runs/{begun['run_id']}/hooks")
    assert answer.json()["status"] == "PENDING"
    states = {each["name"]: each["state"] for each in answer.json()["hooks"]}
    assert states == {"log": "waiting", "bill": "waiting", "alarm": "waiting"}
    place.runner.go.set()


async def test_an_agents_run_has_its_own_hooks_and_an_unknown_run_none(
    place: System, served: Served
) -> None:
    assert await place.events.complete(event(of_agent=True))
    assert set(await hooks_of(served, "/agents/poet/runs/r1")) == {"praise"}
    for path in ("/teams/content-team/runs/r1", "/teams/poet/runs/r1", "/teams/no/runs/r1"):
        assert (await served.http.get(f"{path}/hooks")).status_code == 404, path


async def test_a_hook_whose_consumer_is_missing_waits(place: System, served: Served) -> None:
    assert await place.events.complete(event())
    name = hook_consumer_name(HOOKS["log"])
    await reads.call(place.bus, f"$JS.API.CONSUMER.DELETE.{topology.EVENTS}.{name}", b"")
    assert (await hooks_of(served))["log"]["state"] == "waiting"
