"""Sessions and runs in a real database: what is kept, for whom, in which order, and once."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from teambus.app.databases import AsyncSqliteDb, SessionDb
from teambus.contracts.output import RunStatus, TeamRunInput
from teambus_team_runner.sessions import (
    RunInAnotherSession,
    SessionNotFound,
    SessionStore,
    StoreFenced,
    Stores,
    StoreSettings,
    open_store,
)
from teambus_team_runner.sessions.sqlite import SqliteFile
from tests.integration.session_runs import (
    ONLY_SQLITE,
    QUICK,
    db_in,
    held,
    load,
    message,
    output,
    query,
    run_write,
    stored_run_ids,
)


@pytest.fixture
async def store(db: SessionDb) -> AsyncIterator[SessionStore]:
    opened = await open_store(db, QUICK)
    yield opened
    await opened.close()


async def test_a_session_never_saved_is_empty(store: SessionStore) -> None:
    loaded = await load(store)
    assert (loaded.session_id, loaded.session_state, loaded.history) == ("s1", None, [])
    assert await store.session("default", "s1", runs_max=5) is None
    assert await store.run("default", "s1", "r1") is None


async def test_a_run_is_read_back_as_it_was_saved(store: SessionStore) -> None:
    await store.save(run_write("r1", 1, user_id="ada", content={"title": "naïve\x00"}))
    given = output("r1", user_id="ada", content={"title": "naïve\x00"})
    assert await store.run("default", "s1", "r1") == given
    assert await store.run("default", "another session", "r1") is None
    assert await store.run("another tenant", "s1", "r1") is None


async def test_names_and_previews_are_cut_and_fit_any_database(
    store: SessionStore, db: SessionDb
) -> None:
    asked = TeamRunInput(input_content="\x00why " * 200)
    await store.save(run_write("r1", 1, input=asked, content=["\x00so "] * 200))
    ((name,),) = query(db, "SELECT session_name FROM teambus_sessions")
    ((preview, asking),) = query(db, "SELECT content_preview, input FROM teambus_sessions_runs")
    assert name == asking
    for text in (name, preview):
        assert 200 < len(text) <= 280
        assert "\x00" not in text
    assert (await store.run("default", "s1", "r1")) == output(
        "r1", input=asked, content=["\x00so "] * 200
    )


async def test_a_session_holds_its_runs_and_is_named_by_the_first_question(
    store: SessionStore,
) -> None:
    await store.save(run_write("r1", 1, user_id="ada", state={"seen": 1}))
    await store.save(run_write("r2", 2, user_id="ada", status=RunStatus.ERROR))
    await store.save(run_write("r3", 3, user_id="ada"))
    session = await store.session("default", "s1", runs_max=2)
    assert session is not None
    assert [run.run_id for run in session.runs] == ["r2", "r3"]
    assert (session.session_name, session.session_state) == ("question of r1", {"seen": 1})
    assert (session.team_id, session.user_id) == ("news", "ada")
    assert (session.created_at, session.updated_at) == (1_700_000_000, 1_700_000_001)


async def test_history_is_the_newest_completed_runs_oldest_first(store: SessionStore) -> None:
    for fence in range(1, 8):
        status = RunStatus.ERROR if fence == 6 else RunStatus.COMPLETED
        await store.save(run_write(f"r{fence}", fence, status=status))
    assert [run_id for run_id, _ in (await load(store, runs=3)).history] == ["r4", "r5", "r7"]
    assert (await load(store, runs=0)).history == []
    assert len((await load(store, runs=100)).history) == 6


async def test_history_is_the_order_of_openings_not_of_saves(store: SessionStore) -> None:
    await store.save(run_write("z-first", 1))
    await store.save(run_write("m-second", 2))
    await store.save(run_write("a-third", 10))
    history = (await load(store)).history
    assert [run_id for run_id, _ in history] == ["z-first", "m-second", "a-third"]


async def test_history_is_what_the_leader_said_without_instructions_or_older_history(
    store: SessionStore,
) -> None:
    await store.save(run_write("r1", 1))
    ((_, messages),) = (await load(store)).history
    expected = [("user", "question of r1"), ("assistant", "answer of r1")]
    assert [(m.role, m.content) for m in messages] == expected
    assert all(m.from_history for m in messages)


async def test_history_is_of_the_team_asked_for_and_not_of_nested_runs(
    store: SessionStore,
) -> None:
    await store.save(run_write("r1", 1))
    await store.save(run_write("r2", 2, team_id="sports"))
    await store.save(run_write("r3", 3, parent_run_id="r1"))
    assert [run_id for run_id, _ in (await load(store)).history] == ["r1"]


@ONLY_SQLITE
async def test_history_is_found_by_the_index(store: SessionStore, db: AsyncSqliteDb) -> None:
    plan = query(
        db,
        "EXPLAIN QUERY PLAN SELECT output FROM teambus_sessions_runs WHERE tenant = 'default' "
        "AND session_id = 's1' AND status = 'COMPLETED' ORDER BY fence DESC LIMIT 3",
    )
    assert "USING INDEX teambus_sessions_runs_in_order (tenant=? AND session_id=?)" in str(plan)
    assert "ORDER BY" not in str(plan)


@ONLY_SQLITE
async def test_what_is_saved_is_on_disk(db: AsyncSqliteDb) -> None:
    await (await open_store(db, QUICK)).close()
    connection = SqliteFile(db.path, busy_timeout_s=1).connect()
    full = 2
    assert connection.core.scalar(sa.text("PRAGMA synchronous")) == full
    assert connection.core.scalar(sa.text("PRAGMA journal_mode")) == "wal"
    connection.close()


async def test_messages_without_content_survive_the_round_trip(store: SessionStore) -> None:
    await store.save(run_write("r1", 1, messages=None, input=None, content=None))
    await store.save(run_write("r2", 2, messages=[message("assistant", "x")]))
    assert [len(messages) for _, messages in (await load(store)).history] == [0, 1]


async def test_a_session_of_another_user_is_not_found(store: SessionStore) -> None:
    await store.save(run_write("r1", 1, user_id="ada"))
    assert (await load(store, user_id="ada")).user_id == "ada"
    for history_runs in (0, 3):
        with pytest.raises(SessionNotFound, match='session "s1" not found'):
            await load(store, user_id="eve", runs=history_runs)


async def test_a_session_of_nobody_belongs_to_the_first_user_known(store: SessionStore) -> None:
    await store.save(run_write("r1", 1))
    assert (await load(store, user_id="ada")).user_id is None
    await store.save(run_write("r2", 2, user_id="ada"))
    await store.save(run_write("r3", 3, user_id=None))
    with pytest.raises(SessionNotFound):
        await load(store, user_id="eve")


async def test_state_of_none_leaves_the_state_that_is_stored(store: SessionStore) -> None:
    await store.save(run_write("r1", 1, state={"seen": 1}))
    await store.save(run_write("r2", 2))
    assert (await load(store)).session_state == {"seen": 1}
    await store.save(run_write("r3", 3, state={}))
    assert (await load(store)).session_state == {}


async def test_an_old_opening_writes_nothing_once_a_newer_one_has_written(
    store: SessionStore, db: SessionDb
) -> None:
    await store.save(run_write("r2", 2, state={"by": "new"}))
    with pytest.raises(StoreFenced, match="newer opening than 1"):
        await store.save(run_write("r1", 1, state={"by": "old"}))
    assert stored_run_ids(db) == ["r2"]
    assert (await load(store)).session_state == {"by": "new"}


async def test_the_same_run_saved_again_is_one_row(store: SessionStore, db: SessionDb) -> None:
    await store.save(run_write("r1", 1, state={"seen": 1}))
    before = query(db, "SELECT * FROM teambus_sessions_runs")
    await store.save(run_write("r1", 1, state={"seen": 1}))
    await store.save(run_write("r1", 2, state={"seen": 1}))
    assert query(db, "SELECT * FROM teambus_sessions_runs") == before


async def test_a_run_id_of_another_session_is_refused_whole(
    store: SessionStore, db: SessionDb
) -> None:
    await store.save(run_write("r1", 1, "s1"))
    with pytest.raises(RunInAnotherSession, match='run "r1"'):
        await store.save(run_write("r1", 1, "s2"))
    assert query(db, "SELECT session_id FROM teambus_sessions") == [("s1",)]


async def test_tenants_do_not_see_each_other(store: SessionStore) -> None:
    mine = run_write("r1", 5)
    await store.save(mine)
    await store.save(
        type(mine)(tenant="other", fence=1, output=output("r1"), completed_at=2, session_state={})
    )
    assert (await load(store)).session_state is None


async def test_a_load_that_is_cancelled_leaves_the_store_working(store: SessionStore) -> None:
    await store.save(run_write("r1", 1))
    for _ in range(2 * QUICK.store_readers_max):
        loading = asyncio.create_task(load(store))
        await asyncio.sleep(0)
        loading.cancel()
        await asyncio.wait((loading,))
    assert len((await load(store)).history) == 1


async def test_teams_that_name_the_same_file_share_one_store(tmp_path: Path) -> None:
    stores = Stores(QUICK)
    first, same = await asyncio.gather(stores.open(db_in(tmp_path)), stores.open(db_in(tmp_path)))
    other = await stores.open(db_in(tmp_path, table="archive"))
    assert first is same
    await first.save(run_write("r1", 1))
    await other.save(run_write("r1", 1, "s2"))
    await stores.close()


async def test_a_store_is_opened_by_several_at_once(db: SessionDb) -> None:
    stores = await asyncio.gather(*(open_store(db, StoreSettings()) for _ in range(5)))
    await asyncio.gather(*(store.save(run_write("r1", 1)) for store in stores))
    assert stored_run_ids(db) == ["r1"]
    await asyncio.gather(*(store.close() for store in stores))


@ONLY_SQLITE
async def test_a_store_that_is_made_opens_while_another_process_writes(
    store: SessionStore, db: AsyncSqliteDb
) -> None:
    await store.save(run_write("r1", 1))
    with held(db, "BEGIN IMMEDIATE"):
        again = await open_store(db, QUICK)
        assert len((await load(again)).history) == 1
        await again.close()
