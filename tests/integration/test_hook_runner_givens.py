"""What a hook is given, which runs it hears of, and sessions asked for over the bus."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from nats.aio.msg import Msg

from teambus import Session
from teambus.contracts import subjects
from teambus.contracts.hook import delivery_id
from teambus.contracts.ids import token
from teambus.contracts.output import RunStatus
from tests.integration.hook_parts import TENANT, Ground, completed, ground, member_run

pytestmark = pytest.mark.asyncio(loop_scope="module")

DATABASE = subjects.api("*", f"db.{token('archive')}.session")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def on(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ground]:
    """One hook-runner for all these tests; each has runs of its own."""
    async with ground(tmp_path_factory.mktemp("hooks"), "hook_givens_app.py") as made:
        await made.started()
        yield made


@pytest.fixture
def run(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)


async def test_a_hook_that_takes_everything_is_given_everything(on: Ground, run: str) -> None:
    event = completed(
        run,
        "news",
        user_id="ann",
        metadata={"m": 1},
        session_state={"s": 2},
        dependencies={"d": 3},
    )
    await on.events.complete(event)
    [said] = await on.told(1, run=run, hook="given")
    assert said["facts"] == {
        "debug_mode": "bool",
        "delivery": "Delivery",
        "metadata": "dict",
        "run_context": "RunContext",
        "run_input": "TeamRunInput",
        "run_output": "TeamRunOutput",
        "session": "NoneType",
        "team": "Team",
        "user_id": "str",
    }
    assert (said["team"], said["asked"]) == ("News", "ask")
    assert said["context"] == ["ann", {"d": 3}, {"m": 1}, {"s": 2}]
    assert said["delivery"] == [delivery_id(TENANT, "given", run), 1, "given"]
    assert said["key"] == delivery_id(TENANT, "given", run)
    assert said["same_key"]


async def test_a_hook_hears_only_of_the_ends_it_named(on: Ground, run: str) -> None:
    ends = (RunStatus.COMPLETED, RunStatus.ERROR, RunStatus.CANCELLED)
    for status in ends:
        await on.events.complete(completed(f"{run}-{status}", "news", status=status))
    await on.settled("failures", "given")
    heard = [line["status"] for line in on.story(hook="failures") if run in line["run"]]
    given = [line["run"] for line in on.story(hook="given") if run in line["run"]]
    assert sorted(heard) == ["CANCELLED", "ERROR"]
    assert given == [f"{run}-COMPLETED"]
    assert await on.outcome("failures", f"{run}-COMPLETED") is None


async def test_a_members_hook_is_called_for_each_of_its_runs_at_any_depth(
    on: Ground, run: str
) -> None:
    deep = member_run("inner-1", team_id="inner", member_responses=[member_run("e-2", "editor")])
    runs = [member_run("e-1", "editor"), member_run("o-1", "other"), deep]
    runs.append(member_run("e-3", "editor", status=RunStatus.ERROR))
    await on.events.complete(completed(run, "news", member_responses=runs))
    await on.stands("of-members", run, "delivered")
    said = [line for line in on.story(hook="of-members") if line["session"].endswith(run)]
    assert [line["run"] for line in said] == ["e-1", "e-2"]
    assert {line["agent"] for line in said} == {"Editor"}
    assert "team" not in said[0]["given"]


async def test_a_members_hook_that_fails_for_one_run_is_called_again_for_all(
    on: Ground, run: str
) -> None:
    runs = [member_run("f-1", "editor"), member_run("f-2", "editor", content="raise")]
    await on.events.complete(completed(run, "news", member_responses=runs))
    dead = await on.stands("of-members", run, "dead")
    assert dead.attempt == 2
    said = [line for line in on.story(hook="of-members") if line["session"].endswith(run)]
    assert [line["run"] for line in said] == ["f-1", "f-2"] * 2
    id_ = delivery_id(TENANT, "of-members", run)
    assert [line["keys"] for line in said] == [[id_, f"{id_}:f-1"], [id_, f"{id_}:f-2"]] * 2


async def test_a_run_without_the_member_is_no_work_for_its_hook(on: Ground, run: str) -> None:
    await on.events.complete(completed(run, "news", member_responses=[member_run("o", "other")]))
    await on.settled("of-members")
    assert await on.outcome("of-members", run) is None


async def test_a_session_is_asked_for_when_the_hook_names_it(on: Ground, run: str) -> None:
    event = completed(run, "archive")
    session = Session(session_id=event.session_id, runs=[event.output])

    async def answer(message: Msg) -> None:
        asked = msgspec.json.decode(message.data)
        found: Any = session if asked == {"session_id": event.session_id} else None
        await message.respond(b"" if found is None else msgspec.json.encode(found))

    subscription = await on.bus.client.subscribe(DATABASE, cb=answer)
    await on.bus.barrier()
    await on.events.complete(event)
    [said] = await on.told(1, run=run, hook="sessions")
    await on.stands("sessions", run, "delivered")
    assert said["runs"] == [run]
    await subscription.unsubscribe()


async def test_a_hook_of_an_agent_is_given_the_agent_and_no_team(on: Ground, run: str) -> None:
    early = completed(f"{run}-early", "poet", status=RunStatus.ERROR)
    event = completed(run, "poet", agent_id="poet", agent_name="Poet")

    async def answer(message: Msg) -> None:
        session_id = msgspec.json.decode(message.data)["session_id"]
        session = Session(session_id=session_id, team_id="poet", runs=[event.output])
        await message.respond(msgspec.json.encode(session))

    subscription = await on.bus.client.subscribe(DATABASE, cb=answer)
    await on.bus.barrier()
    for each in (event, early):
        await on.events.complete(each)
        [said] = await on.told(1, run=each.run_id, hook="of-agents")
        await on.stands("of-agents", each.run_id, "delivered")
        assert (said["kind"], said["of"]) == ("RunOutput", [None, "poet", "Poet"])
        assert said["session"] == [None, "poet", [run]]
        assert said["asked"] == "ask"
        assert "team" not in said["given"]
    await subscription.unsubscribe()


@pytest.mark.parametrize("reply", ["none", "silence", "nobody", "error"])
async def test_a_session_that_cannot_be_had_is_a_failed_attempt(
    on: Ground, run: str, reply: str
) -> None:
    async def answer(message: Msg) -> None:
        if reply == "none":
            await message.respond(b"")
        elif reply == "error":
            headers = {"Nats-Service-Error-Code": "503"}
            await on.bus.client.publish(message.reply, b"", headers=headers)

    subscription = None
    if reply != "nobody":
        subscription = await on.bus.client.subscribe(DATABASE, cb=answer)
        await on.bus.barrier()
    await on.events.complete(completed(run, "archive"))
    dead = await on.stands("sessions", run, "dead")
    assert [failure.code for failure in dead.failures] == ["raised", "raised"]
    assert dead.failures[0].error.startswith("its session could not be read: ")
    assert on.story(run=run) == []
    if subscription is not None:
        await subscription.unsubscribe()
