"""Work of the session store that takes long or hangs: whom it holds up, and for how long."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from teambus.app.databases import AsyncSqliteDb
from teambus_team_runner.sessions import SessionStore, StoreSettings, StoreUnavailable, open_store
from teambus_team_runner.sessions.sqlite import SqliteConnection
from tests.integration.session_runs import (
    connections_end,
    db_in,
    held,
    load,
    query,
    run_write,
    stored_run_ids,
)

IMPATIENT = StoreSettings(store_busy_timeout_s=0.4, store_timeout_s=0.5)
PATIENCE_S = 5


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[AsyncSqliteDb]:
    yield db_in(tmp_path)
    await connections_end()


@pytest.fixture
async def store(db: AsyncSqliteDb) -> AsyncIterator[SessionStore]:
    opened = await open_store(db, IMPATIENT)
    await opened.save(run_write("r0", 1, "stored"))
    yield opened
    await opened.close()


class Stuck:
    """Makes one method of connections hang, for what it is given of one session or run."""

    def __init__(self, method: str, what: str, patch: pytest.MonkeyPatch) -> None:
        self._begun = threading.Event()
        self._let_go = threading.Event()
        real = getattr(SqliteConnection, method)

        def hang(connection: SqliteConnection, statement: Any, given: Any) -> Any:
            if what in str(given) and not self._begun.is_set():
                self._begun.set()
                assert self._let_go.wait(PATIENCE_S)
            return real(connection, statement, given)

        patch.setattr(SqliteConnection, method, hang)

    async def begun(self) -> None:
        assert await asyncio.to_thread(self._begun.wait, PATIENCE_S)

    def let_go(self) -> None:
        self._let_go.set()


@pytest.fixture
def stuck_read(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stuck]:
    stuck = Stuck("rows", "'session_id': 'slow'", monkeypatch)
    yield stuck
    stuck.let_go()


@pytest.fixture
def stuck_write(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stuck]:
    """The session is put, its run is not yet."""
    stuck = Stuck("put", "'run_id': 'slow'", monkeypatch)
    yield stuck
    stuck.let_go()


async def test_a_lock_that_saves_wait_for_holds_up_no_load(db: AsyncSqliteDb) -> None:
    store = await open_store(db, StoreSettings(store_busy_timeout_s=10, store_timeout_s=20))
    await store.save(run_write("r1", 1))
    with held(db, "BEGIN IMMEDIATE"):
        saves = [asyncio.create_task(store.save(run_write(f"r{n}", n))) for n in range(2, 5)]
        for _ in range(20):
            assert len((await load(store)).history) == 1
        assert not any(save.done() for save in saves)
    await asyncio.gather(*saves)
    await store.close()


async def test_a_load_that_hangs_ends_at_its_limit_and_holds_up_no_later_one(
    store: SessionStore, stuck_read: Stuck
) -> None:
    hanging = asyncio.create_task(load(store, "slow"))
    await stuck_read.begun()
    later = await asyncio.gather(*(load(store, "stored") for _ in range(20)))
    await store.save(run_write("r1", 2, "stored"))
    assert {len(loaded.history) for loaded in later} == {1}
    assert not hanging.done()
    with pytest.raises(StoreUnavailable, match="did not answer in time"):
        await hanging
    stuck_read.let_go()
    assert (await load(store, "slow")).history == []


async def test_a_save_that_hangs_ends_at_its_limit_and_so_do_those_behind_it(
    store: SessionStore, db: AsyncSqliteDb, stuck_write: Stuck
) -> None:
    hanging = asyncio.create_task(store.save(run_write("slow", 1)))
    await stuck_write.begun()
    behind = asyncio.create_task(store.save(run_write("r2", 1, "s2")))
    answers = await asyncio.gather(hanging, behind, return_exceptions=True)
    assert [str(answer) for answer in answers] == [
        "the session database is unavailable: it did not answer in time"
    ] * 2
    assert len((await load(store, "stored")).history) == 1
    stuck_write.let_go()
    await store.save(run_write("r3", 1, "s3"))
    assert {"r0", "slow", "r3"} <= set(stored_run_ids(db))


async def test_a_save_cancelled_between_session_and_run_is_whole(
    store: SessionStore, db: AsyncSqliteDb, stuck_write: Stuck
) -> None:
    cancelled = asyncio.create_task(store.save(run_write("slow", 1)))
    await stuck_write.begun()
    cancelled.cancel()
    await asyncio.wait((cancelled,))
    next_one = asyncio.create_task(store.save(run_write("r1", 2)))
    stuck_write.let_go()
    await next_one
    assert cancelled.cancelled()
    sessions = query(db, "SELECT session_id FROM teambus_sessions ORDER BY session_id")
    assert sessions == [("s1",), ("stored",)]
    assert sorted(stored_run_ids(db)) == ["r0", "r1", "slow"]


async def test_another_file_is_opened_only_when_nothing_uses_the_old_one(
    store: SessionStore, db: AsyncSqliteDb, stuck_read: Stuck
) -> None:
    hanging = asyncio.create_task(load(store, "slow"))
    await stuck_read.begun()
    db.path.unlink()
    saving = asyncio.create_task(store.save(run_write("r1", 1)))
    await asyncio.wait((saving,), timeout=0.1)
    assert not saving.done()
    assert not db.path.exists()
    stuck_read.let_go()
    await asyncio.gather(hanging, saving)
    assert stored_run_ids(db) == ["r1"]


async def test_closing_does_not_wait_for_ever_for_what_hangs(
    store: SessionStore, stuck_read: Stuck
) -> None:
    hanging = asyncio.create_task(load(store, "slow"))
    await stuck_read.begun()
    async with asyncio.timeout(2):
        await store.close()
    stuck_read.let_go()
    await asyncio.wait((hanging,))
