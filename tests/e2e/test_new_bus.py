"""A database outlives its bus: sessions go on when NATS is set up anew."""

import asyncio
import shutil
import sqlite3

from tests.support.system import System


async def test_a_session_goes_on_when_the_bus_has_forgotten_it(story: System) -> None:
    for _ in range(3):
        await story.run("before", session_id="s")
    await asyncio.gather(*(each.stop() for each in (story.gateway, story.runner)))
    await story.hook_runner.stop()
    await story.nats.kill()
    shutil.rmtree(story.nats.folder / "store")
    await story.nats.start()
    await story.start()
    after = await story.run("after", session_id="s")
    again = await story.run("again", session_id="s")
    assert (after["status"], again["status"]) == ("COMPLETED", "COMPLETED")
    with sqlite3.connect(story.folder / "team.db") as connection:
        rows = connection.execute("SELECT run_id FROM teambus_sessions_runs ORDER BY fence")
        runs = [run_id for (run_id,) in rows]
    assert runs[3:] == [after["run_id"], again["run_id"]]
