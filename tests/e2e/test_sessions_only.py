"""A team-runner that takes no runs answers for the sessions while all others are gone."""

from pathlib import Path

import pytest
from nats.errors import NoRespondersError

from teambus.bus import survey, topology
from teambus.bus.leases import read_lease
from teambus.contracts import subjects
from teambus.contracts.ids import new_id
from teambus.contracts.lease import JANITOR
from tests.e2e.conftest import APPS
from tests.support.processes import Process
from tests.support.system import System, system_of, until

pytestmark = pytest.mark.timeout(180)


def sessions_only(story: System) -> Process:
    """Without a model's key, for it calls none."""
    environment = {**story.environment, "TEAM_RUNNER_SESSIONS_ONLY": "true", "OPENAI_API_KEY": ""}
    return Process("teambus_team_runner", environment, story.folder / "sessions.log")


async def pool(story: System) -> survey.ConsumerState:
    [found] = await survey.consumers(story.bus, topology.REQUESTS)
    return found


async def test_sessions_are_answered_for_while_no_runner_is_there_and_runs_wait(
    story: System,
) -> None:
    session_id = new_id()
    output = await story.run("What is a session?", session_id=session_id)
    await story.queue_emptied()
    answering = sessions_only(story)
    await answering.start()
    try:
        assert await story.runner.stop() == 0
        detail = await story.client.get(f"/sessions/{session_id}")
        assert detail.status_code == 200, detail.text
        assert detail.json()["chat_history"][-1]["content"] == output["content"]
        assert (await story.post("Later", background="true")).status_code == 202
        # It pulls nothing and is no runner of the pool: what starts runners sees the request wait.
        renamed = await story.client.post(
            f"/sessions/{session_id}/rename?type=team", json={"session_name": "Renamed"}
        )
        assert renamed.status_code == 200, renamed.text
        assert ((await pool(story)).num_pending, (await pool(story)).num_waiting) == (1, 0)
        with pytest.raises(NoRespondersError):
            await story.bus.client.request(subjects.api("default", "pool.story"), b"", timeout=5)
        await story.second_runner.start()
        await until(lambda: two_ended(story), 30, story.second_runner.tail)
    finally:
        status = await answering.stop() if answering.running else None
    assert status == 0, answering.tail()
    assert "OPENAI_API_KEY" not in answering.tail(1000)


async def two_ended(story: System) -> bool:
    return len(await story.every_completed()) == 2


async def test_it_is_the_janitor_when_nobody_else_is_there(tmp_path: Path) -> None:
    quick = {"TEAM_RUNNER_JANITOR_LEASE_S": "2"}
    async with system_of(APPS / "story.py", tmp_path, environment=quick, start=False) as system:
        await system.provision()
        answering = sessions_only(system)
        await answering.start()

        async def is_janitor() -> bool:
            return (await read_lease(system.bus, JANITOR)).record.holder is not None

        await until(is_janitor, 30, answering.tail)
        assert await answering.stop() == 0
