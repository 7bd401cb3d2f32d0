"""An agent served by itself: its runs take the way of all runs."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from teambus.bus.sessions import Sessions
from teambus.contracts.session import SessionClaim, SessionRecord
from teambus_team_runner.sessions import StoreSettings, open_store
from tests.integration.run_parts import DESK, POET, Faults, Runs, runs_in

pytestmark = pytest.mark.asyncio(loop_scope="module")


def remembering(first: str, second: str) -> list[dict[str, object]]:
    """A model that says whether it was shown both questions."""
    both = [f"question {first}", f"question {second}"]
    return [{"match": both, "reply": "I remember."}, {"match": "", "reply": "Done."}]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Runs]:
    async with runs_in(tmp_path_factory.mktemp("runs")) as runs:
        yield runs


@pytest_asyncio.fixture(loop_scope="module")
async def runs(shared: Runs) -> AsyncIterator[Runs]:
    await shared.model.reset()
    yield shared
    await shared.drained()


async def test_an_agents_run_ends_in_its_row_its_event_and_a_free_session(runs: Runs) -> None:
    async with runs.runner():
        await runs.submit("alone", team=POET, session_id="s-alone")
        end = await runs.end("alone", team=POET)
        await runs.free("s-alone")
        await runs.drained()
    output = end.output
    assert (output.status, end.stored, end.team_id) == ("COMPLETED", True, POET)
    assert (output.agent_id, output.team_id, output.member_responses) == (POET, POET, [])
    db = runs.app.agents[0].db
    assert db is not None
    store = await open_store(db, StoreSettings())
    assert await store.run("default", "s-alone", "alone") == output
    await store.close()
    assert len(await runs.model.calls()) == 1


async def test_an_agent_remembers_its_session_and_the_state_in_it(runs: Runs) -> None:
    await runs.model.rules(remembering("verse-1", "verse-2"))
    async with runs.runner():
        await runs.submit("verse-1", team=POET, session_id="s-verse", session_state={"verses": 1})
        await runs.end("verse-1", team=POET)
        await runs.submit("verse-2", team=POET, session_id="s-verse")
        end = await runs.end("verse-2", team=POET)
    assert end.output.content == "I remember."
    assert end.output.session_state == {"verses": 1, "kept": True}


async def test_a_session_of_a_team_and_an_agent_is_one_at_a_time_but_two_memories(
    runs: Runs,
) -> None:
    await runs.model.rules(remembering("of-desk", "of-poet"))
    async with runs.runner():
        await runs.submit("of-desk", session_id="s-both")
        await runs.end("of-desk")
        await runs.submit("of-poet", team=POET, session_id="s-both")
        end = await runs.end("of-poet", team=POET)
    assert end.output.content == "Done."


@pytest.mark.parametrize("place", ["before the row", "before the event", "before the ack"])
async def test_an_agents_run_taken_over_is_not_paid_twice(runs: Runs, place: str) -> None:
    run_id = place.replace(" ", "-")
    async with runs.runner(Faults([place])):
        await runs.submit(run_id, team=POET, session_id=f"s-{run_id}")
        end = await runs.end(run_id, team=POET)
        await runs.drained()
    assert (end.output.status, end.output.agent_id) == ("COMPLETED", POET)
    assert len(await runs.model.calls()) == 1


async def test_an_agents_run_that_was_given_up_is_still_the_agents(runs: Runs) -> None:
    async with runs.runner(attempts_max=0):
        await runs.submit("given-up", team=POET)
        end = await runs.end("given-up", team=POET)
    assert (end.code, end.output.status) == ("attempts_used_up", "ERROR")
    assert (end.output.agent_id, end.output.agent_name) == (POET, "Poet")


async def test_a_run_id_of_a_team_is_no_run_id_of_an_agent(runs: Runs) -> None:
    async with runs.runner():
        await runs.submit("twice", session_id="s-twice")
        await runs.end("twice")
        await runs.submit("twice", team=POET, session_id="s-twice")
        end = await runs.end("twice", team=POET)
        assert (await runs.end("twice", team=DESK)).output.status == "COMPLETED"
    assert (end.code, end.output.agent_id) == ("run_id_in_use", POET)


async def test_a_request_nobody_can_read_ends_as_a_run_of_the_agent_it_was_for(runs: Runs) -> None:
    async with runs.runner():
        await runs.put(b'{"run_id":"bad","input":5}', team=POET)
        end = await runs.end("bad", team=POET)
        await runs.put(b'{"run_id":"bad-too","input":5}')
        of_team = await runs.end("bad-too")
    assert (end.code, end.output.agent_id) == ("malformed_request", POET)
    assert of_team.output.agent_id is None


async def test_a_vanished_run_of_an_agent_ends_as_the_agents(runs: Runs) -> None:
    claim = SessionClaim(run_id="gone", team_id=POET, request_seq=10_000)
    record = SessionRecord(tenant="default", session_id="s-gone", fence=1, holder=claim)
    sessions = Sessions(runs.bus)
    assert await sessions.replace(await sessions.read("default", "s-gone"), record)
    async with runs.runner():
        await runs.submit("after", team=POET, session_id="s-gone")
        await runs.end("after", team=POET)
        gone = await runs.end("gone", team=POET)
    assert (gone.code, gone.output.agent_id) == ("orphaned", POET)
