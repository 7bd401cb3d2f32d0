"""Sessions in a PostgreSQL that is killed, stopped, frozen, full or a mere copy: nothing by halves,
a reason for people, and going on afterwards."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack

import psycopg
import pytest

from teambus.app.databases import AsyncPostgresDb
from teambus_team_runner.sessions import SessionStore, StoreSettings, StoreUnavailable, open_store
from tests.integration.session_runs import (
    QUICK,
    connections_end,
    load,
    query,
    run_write,
    stored_run_ids,
)
from tests.support.postgres import PostgresProcess

IMPATIENT = StoreSettings(store_busy_timeout_s=0.5, store_timeout_s=1.5, store_readers_max=2)
PATIENT = StoreSettings(store_busy_timeout_s=10, store_timeout_s=30)
CONNECTIONS_MAX = 8


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresProcess]:
    made = PostgresProcess()
    yield made
    made.close()


@pytest.fixture
async def db(
    server: PostgresProcess, request: pytest.FixtureRequest
) -> AsyncIterator[AsyncPostgresDb]:
    server.start(f"max_connections={CONNECTIONS_MAX}", "superuser_reserved_connections=0")
    yield AsyncPostgresDb(db_url=server.url, db_schema=f"test_{abs(hash(request.node.name))}")
    server.thaw()
    server.stop()
    await connections_end()


async def saved_at_last(store: SessionStore, run_id: str, fence: int) -> None:
    async with asyncio.timeout(40):
        while True:
            try:
                return await store.save(run_write(run_id, fence))
            except StoreUnavailable:
                await asyncio.sleep(0.1)


async def test_connections_lost_while_nobody_used_them_are_not_noticed(
    db: AsyncPostgresDb, server: PostgresProcess
) -> None:
    store = await open_store(db, PATIENT)
    await store.save(run_write("r1", 1))
    assert (await load(store)).fence == 1
    server.kill()
    server.start()
    assert (await load(store)).fence == 1
    await store.save(run_write("r2", 2))
    assert stored_run_ids(db) == ["r1", "r2"]
    await store.close()


async def test_what_is_asked_while_it_restarts_is_answered_after_it(
    db: AsyncPostgresDb, server: PostgresProcess
) -> None:
    tries = StoreSettings(store_busy_timeout_s=10, store_timeout_s=40, store_tries_max=9)
    store = await open_store(db, tries)
    server.kill()
    asked = [asyncio.create_task(load(store)), asyncio.create_task(store.save(run_write("r1", 1)))]
    await asyncio.wait(asked, timeout=0.2)
    assert not any(each.done() for each in asked)
    await asyncio.to_thread(server.start)
    await asyncio.gather(*asked)
    assert stored_run_ids(db) == ["r1"]
    await store.close()


async def test_a_kill_in_the_middle_of_saves_leaves_whole_runs_and_all_that_were_called_saved(
    db: AsyncPostgresDb, server: PostgresProcess
) -> None:
    store = await open_store(db, QUICK)
    saved: list[str] = []
    enough = asyncio.Event()

    async def save(session: int) -> None:
        for fence in range(1, 10_000):
            run_id = f"{session}-{fence}"
            state = {"fence": fence}
            await store.save(run_write(run_id, fence, f"s{session}", state=state))
            saved.append(run_id)
            if len(saved) > 40:
                enough.set()

    saving = [asyncio.create_task(save(n)) for n in range(6)]
    await enough.wait()
    server.kill()
    answers = await asyncio.gather(*saving, return_exceptions=True)
    assert {type(answer) for answer in answers} == {StoreUnavailable}
    await asyncio.to_thread(server.start)
    counted = "SELECT session_id, max(fence), count(*) FROM teambus_sessions_runs GROUP BY 1"
    runs = query(db, counted)
    sessions = query(db, "SELECT session_id, fence, session_state FROM teambus_sessions")
    assert {id_: fence for id_, fence, _ in sessions} == {id_: fence for id_, fence, _ in runs}
    assert all(fence == count for _, fence, count in runs)
    assert all(state == f'{{"fence":{fence}}}' for _, fence, state in sessions)
    assert set(saved) <= set(stored_run_ids(db))
    await saved_at_last(store, "later", 20_000)
    await store.close()


async def test_a_server_that_says_nothing_more_costs_a_caller_its_limit_and_holds_no_thread(
    db: AsyncPostgresDb, server: PostgresProcess
) -> None:
    store = await open_store(db, IMPATIENT)
    await store.save(run_write("r1", 1))
    await load(store)
    server.freeze()
    answers = await asyncio.gather(
        load(store), store.save(run_write("r2", 2)), return_exceptions=True
    )
    assert [getattr(answer, "reason", answer) for answer in answers] == [
        "it did not answer in time"
    ] * 2
    await store.close()
    await connections_end()  # though it is frozen still
    server.thaw()
    again = await open_store(db, PATIENT)
    assert (await load(again)).fence in (1, 2)
    await saved_at_last(again, "r3", 3)
    assert "r3" in stored_run_ids(db)
    await again.close()


async def test_a_server_that_is_away_is_unavailable_until_it_is_back(
    db: AsyncPostgresDb, server: PostgresProcess
) -> None:
    store = await open_store(db, QUICK)
    server.stop()
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="it cannot be reached"):
            await store.save(run_write("r1", 1))
    with pytest.raises(StoreUnavailable, match="it cannot be reached"):
        await open_store(db, QUICK)
    server.start()
    await saved_at_last(store, "r1", 1)
    await store.close()


async def test_a_server_that_takes_no_more_connections_is_unavailable_until_it_does(
    db: AsyncPostgresDb,
) -> None:
    with ExitStack() as others:
        for _ in range(CONNECTIONS_MAX):
            others.enter_context(psycopg.connect(db.db_url))
        with pytest.raises(StoreUnavailable, match="it takes no more connections"):
            await open_store(db, StoreSettings(store_tries_max=2))
    store = await open_store(db, PATIENT)
    await store.save(run_write("r1", 1))
    await store.close()


async def test_a_copy_that_may_only_be_read_is_not_written_to(
    db: AsyncPostgresDb, server: PostgresProcess
) -> None:
    store = await open_store(db, QUICK)
    await store.save(run_write("r1", 1))
    server.stop()
    server.start("default_transaction_read_only=on")
    with pytest.raises(StoreUnavailable, match="it is read-only"):
        await store.save(run_write("r2", 2))
    server.stop()
    server.start()
    await saved_at_last(store, "r3", 3)
    assert stored_run_ids(db) == ["r1", "r3"]
    await store.close()
