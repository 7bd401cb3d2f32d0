"""The session store when its database is locked, full, read-only, damaged, gone or foreign, and
when its process is killed: nothing by halves, a reason for people, and going on afterwards."""

import asyncio
import os
import random
import re
import resource
import signal
import sqlite3
import subprocess
import sys
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from teambus.app.databases import AsyncSqliteDb
from teambus.contracts.output import TeamRunOutput
from teambus_team_runner.sessions import (
    SessionStore,
    StoreSettings,
    StoreUnavailable,
    StoreUnfit,
    open_store,
    sqlite,
)
from tests.integration.session_runs import (
    QUICK,
    change,
    connections_end,
    db_in,
    each_connection_told,
    held,
    load,
    message,
    query,
    run_write,
    stored_run_ids,
)

ROOT = Path(__file__).parents[2]
OTHER_PROCESS = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[AsyncSqliteDb]:
    yield db_in(tmp_path)
    await connections_end()


@pytest.fixture
async def store(db: AsyncSqliteDb) -> AsyncIterator[SessionStore]:
    opened = await open_store(db, QUICK)
    yield opened
    await opened.close()


@contextmanager
def locked_by_another_process(db: AsyncSqliteDb) -> Iterator[None]:
    command = [sys.executable, "-c", OTHER_PROCESS, str(db.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        yield


async def test_a_database_locked_by_another_process_is_unavailable_until_it_is_let_go(
    db: AsyncSqliteDb,
) -> None:
    store = await open_store(db, StoreSettings(store_busy_timeout_s=0.2))
    with locked_by_another_process(db):
        saves = (store.save(run_write(f"r{n}", 1, f"s{n}")) for n in range(20))
        async with asyncio.timeout(3):  # one wait for the lock, not one for each save
            answers = await asyncio.gather(*saves, return_exceptions=True)
        reasons = {getattr(answer, "reason", answer) for answer in answers}
        assert reasons == {"it is locked by another process"}
        assert (await load(store)).history == []
    await store.save(run_write("r1", 1))
    await store.close()
    assert stored_run_ids(db) == ["r1"]


async def test_a_lock_on_a_file_not_yet_in_wal_mode_is_waited_for(db: AsyncSqliteDb) -> None:
    db.path.parent.mkdir()
    change(db, "CREATE TABLE theirs (theirs)")
    with held(db, "BEGIN IMMEDIATE"):
        opening = asyncio.create_task(open_store(db, QUICK))
        await asyncio.wait((opening,), timeout=0.1)
        assert not opening.done()
    await (await opening).close()


async def test_what_keeps_a_file_from_wal_mode_is_told_unless_it_is_a_lock(
    db: AsyncSqliteDb,
) -> None:
    db.path.parent.mkdir()
    change(db, "CREATE TABLE theirs (theirs)")
    connection = sqlite.SqliteFile(db.path, busy_timeout_s=1).connect()
    connection.begin()
    with pytest.raises(sqlite3.OperationalError, match="within a transaction"):
        connection.prepare()
    connection.close()


async def test_a_short_lock_is_waited_for(db: AsyncSqliteDb) -> None:
    store = await open_store(db, StoreSettings(store_busy_timeout_s=10, store_timeout_s=20))
    with held(db, "BEGIN IMMEDIATE"):
        saving = asyncio.create_task(store.save(run_write("r1", 1)))
        await asyncio.wait((saving,), timeout=0.3)
        assert not saving.done()
    await saving
    await store.close()


async def test_more_saves_than_may_wait_are_refused_at_once(db: AsyncSqliteDb) -> None:
    store = await open_store(
        db, StoreSettings(store_busy_timeout_s=0.5, store_queue_max=3, store_timeout_s=5)
    )
    with held(db, "BEGIN IMMEDIATE"):
        waiting = [asyncio.create_task(store.save(run_write(f"r{n}", n))) for n in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(StoreUnavailable, match="3 saves are waiting already"):
            await store.save(run_write("r4", 4))
    await asyncio.gather(*waiting)
    await store.close()


async def test_a_save_has_a_limit_however_many_wait_before_it(db: AsyncSqliteDb) -> None:
    settings = StoreSettings(store_busy_timeout_s=0.3, store_timeout_s=0.5, store_batch_max=1)
    store = await open_store(db, settings)
    with held(db, "BEGIN IMMEDIATE"):
        saves = (store.save(run_write(f"r{n}", 1, f"s{n}")) for n in range(10))
        async with asyncio.timeout(2):
            answers = await asyncio.gather(*saves, return_exceptions=True)
        reasons = [getattr(answer, "reason", answer) for answer in answers]
    assert reasons[0] == "it is locked by another process"
    assert set(reasons[1:]) == {"it did not answer in time"}
    await store.save(run_write("r1", 1))
    await store.close()
    assert stored_run_ids(db) == ["r1"]  # a late save that nobody waits for is not begun


async def test_a_full_disk_is_unavailable_and_leaves_nothing_by_halves(db: AsyncSqliteDb) -> None:
    with each_connection_told("PRAGMA max_page_count = 16"):
        store = await open_store(db, QUICK)
        await store.save(run_write("r1", 1, state={"seen": 1}))
        large = [message("assistant", "x" * 100_000)]
        answers = await asyncio.gather(
            store.save(run_write("r2", 2, state={"seen": 2}, messages=large)),
            store.save(run_write("r3", 3, "s3")),
            return_exceptions=True,
        )
        assert isinstance(answers[0], StoreUnavailable)
        assert answers[0].reason == "its disk is full"
        assert answers[1] is None
        assert (await load(store)).session_state == {"seen": 1}
        await store.close()
    assert stored_run_ids(db) == ["r1", "r3"]


async def test_a_read_only_database_is_unavailable_for_saves_but_can_be_read(
    db: AsyncSqliteDb,
) -> None:
    await (store := await open_store(db, QUICK)).save(run_write("r1", 1))
    await store.close()
    with each_connection_told("PRAGMA query_only = 1"):
        store = await open_store(db, QUICK)
        with pytest.raises(StoreUnavailable, match="read-only"):
            await store.save(run_write("r2", 2))
        assert len((await load(store)).history) == 1
        await store.close()


async def test_a_reason_holds_neither_sql_nor_content(db: AsyncSqliteDb) -> None:
    with each_connection_told("PRAGMA max_page_count = 16"):
        store = await open_store(db, QUICK)
        secret = [message("assistant", "secret" * 20_000)]
        with pytest.raises(StoreUnavailable) as failure:
            await store.save(run_write("r1", 1, messages=secret))
        await store.close()
    told = str(failure.value)
    assert told == "the session database is unavailable: its disk is full"
    shown = "".join(traceback.format_exception(failure.value))
    assert "INSERT INTO" not in shown
    assert "secretsecret" not in shown + str(failure.value.__context__)


async def test_a_reason_for_not_opening_holds_no_sql(db: AsyncSqliteDb) -> None:
    with each_connection_told("PRAGMA max_page_count = 2"):
        with pytest.raises(StoreUnavailable, match="its disk is full") as failure:
            await open_store(db, QUICK)
    shown = "".join(traceback.format_exception(failure.value))
    assert "CREATE TABLE" not in shown


async def test_a_connection_that_broke_can_be_closed(db: AsyncSqliteDb) -> None:
    db.path.parent.mkdir()
    connection = sqlite.SqliteFile(db.path, busy_timeout_s=1).connect()
    connection.core.exec_driver_sql("SELECT 1")
    connection.core.connection.driver_connection.close()  # type: ignore[union-attr]  # it has one
    connection.close()
    assert connection.core.closed


async def test_a_folder_in_the_place_of_the_file_is_unavailable(db: AsyncSqliteDb) -> None:
    db.path.mkdir(parents=True)
    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        await open_store(db, QUICK)


async def test_a_file_in_the_place_of_the_folder_is_unavailable(db: AsyncSqliteDb) -> None:
    db.path.parent.write_text("")
    with pytest.raises(StoreUnavailable, match="folder cannot be used"):
        await open_store(db, QUICK)


async def test_a_file_that_is_no_database_is_unavailable_and_left_alone(db: AsyncSqliteDb) -> None:
    db.path.parent.mkdir()
    db.path.write_bytes(b"somebody's notes " * 1000)
    with pytest.raises(StoreUnavailable, match="not a database"):
        await open_store(db, QUICK)
    assert db.path.read_bytes().startswith(b"somebody's notes")


async def test_a_damaged_file_is_unavailable(db: AsyncSqliteDb) -> None:
    await (store := await open_store(db, QUICK)).save(run_write("r1", 1))
    await store.close()
    with db.path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(db.path.stat().st_size - 4096))
    with pytest.raises(StoreUnavailable, match="damaged"):
        await load(store := await open_store(db, QUICK))
    await store.close()


@pytest.mark.parametrize("gone", ["the file", "the folder"])
async def test_what_is_saved_after_the_file_was_deleted_is_not_lost_with_it(
    store: SessionStore, db: AsyncSqliteDb, gone: str
) -> None:
    await store.save(run_write("r1", 1))
    for file in db.path.parent.iterdir() if gone == "the folder" else [db.path]:
        file.unlink()
    if gone == "the folder":
        db.path.parent.rmdir()
        with pytest.raises(StoreUnavailable, match="cannot be opened"):
            await store.save(run_write("r2", 2))
        with pytest.raises(StoreUnavailable, match="cannot be opened"):
            await load(store)
        db.path.parent.mkdir()
    loaded = await asyncio.gather(*(load(store) for _ in range(8)))
    assert [session.history for session in loaded] == [[]] * 8
    await store.save(run_write("r2", 2))
    assert stored_run_ids(db) == ["r2"]
    assert query(db, "PRAGMA integrity_check") == [("ok",)]


async def test_a_newer_schema_is_refused_by_name_and_version(db: AsyncSqliteDb) -> None:
    await (await open_store(db, QUICK)).close()
    change(db, "UPDATE teambus_schema SET version = 7")
    with pytest.raises(StoreUnfit) as refusal:
        await open_store(db, QUICK)
    assert str(refusal.value) == (
        f'"{db.path}" holds sessions in version 7, this teambus knows versions up to 2: '
        "install a newer teambus or give another database"
    )


async def test_a_table_of_somebody_else_is_refused_and_left_alone(db: AsyncSqliteDb) -> None:
    db.path.parent.mkdir()
    change(db, "CREATE TABLE teambus_sessions (theirs)")
    with pytest.raises(StoreUnfit, match='table "teambus_sessions" that is not of teambus'):
        await open_store(db, QUICK)
    assert query(db, "SELECT name FROM sqlite_master") == [("teambus_sessions",)]


async def test_a_sqlite_that_is_too_old_is_refused(
    db: AsyncSqliteDb, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "VERSION_MIN", (99, 1, 0))
    with pytest.raises(StoreUnfit, match=r"SQLite 99\.1\.0 is needed, this Python has 3\."):
        await open_store(db, QUICK)


async def test_a_killed_process_leaves_whole_runs_and_every_run_it_called_saved(
    db: AsyncSqliteDb,
) -> None:
    seed = random.randrange(10**6)
    print("seed", seed)
    chance = random.Random(seed)
    saved: set[str] = set()
    for first in (1, 10_000, 20_000):
        saved |= _save_and_kill(db, first, after=chance.randrange(20, 120))
        _assert_whole(db)
        assert saved <= set(stored_run_ids(db))


async def test_a_write_that_the_system_stops_half_way_leaves_whole_runs(
    db: AsyncSqliteDb,
) -> None:
    """As on a disk that is full in the middle of a page, after what was written before it."""
    with _saver(db, 1, file_bytes_max=400_000) as saver:
        said, _ = saver.communicate(timeout=60)
    assert saver.returncode != 0
    assert b"its disk failed" in said
    saved = _run_ids(said)
    assert saved
    _assert_whole(db)
    assert saved <= set(stored_run_ids(db))
    store = await open_store(db, QUICK)
    await store.save(run_write("r-later", 10_000, "s-later"))
    await store.close()


def _save_and_kill(db: AsyncSqliteDb, first: int, *, after: int) -> set[str]:
    with _saver(db, first) as saver:
        assert saver.stdout is not None
        named = [saver.stdout.readline() for _ in range(after)]
        saver.send_signal(signal.SIGKILL)
        named += saver.stdout.read().splitlines(keepends=True)
    return _run_ids(b"".join(named))


def _run_ids(said: bytes) -> set[str]:
    """Those in whole lines."""
    return {line.decode() for line in re.findall(rb"^(\d+-\d+)\n", said, re.MULTILINE)}


def _saver(
    db: AsyncSqliteDb, first: int, *, file_bytes_max: int = resource.RLIM_INFINITY
) -> "subprocess.Popen[bytes]":
    module = "tests.integration.session_saver"
    command = [sys.executable, "-m", module, str(db.path), str(first), str(file_bytes_max)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), *sys.path]))}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, cwd=ROOT
    )


def _assert_whole(db: AsyncSqliteDb) -> None:
    assert query(db, "PRAGMA integrity_check") == [("ok",)]
    runs = query(db, "SELECT session_id, fence, run_id, output FROM teambus_sessions_runs")
    newest: dict[str, int] = {}
    for session_id, fence, run_id, output in runs:
        assert msgspec.json.decode(output, type=TeamRunOutput).run_id == run_id
        newest[session_id] = max(fence, newest.get(session_id, 0))
    sessions = query(db, "SELECT session_id, fence, session_state FROM teambus_sessions")
    assert {session_id: fence for session_id, fence, _ in sessions} == newest
    assert all(msgspec.json.decode(state) == {"fence": fence} for _, fence, state in sessions)
