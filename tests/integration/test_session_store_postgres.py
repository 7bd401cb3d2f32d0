"""Sessions in PostgreSQL when others write the same, when tables or rights are missing, and when
the url or the password is wrong."""

import asyncio
import os
import subprocess
import sys
import traceback
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from teambus.app.databases import AsyncPostgresDb
from teambus_team_runner.sessions import (
    Access,
    Stores,
    StoreSettings,
    StoreUnavailable,
    StoreUnfit,
    open_store,
)
from tests.integration.session_rival import FENCES, SESSIONS
from tests.integration.session_runs import (
    QUICK,
    change,
    load,
    query,
    run_write,
    stored_run_ids,
)
from tests.support.system import until

ROOT = Path(__file__).parents[2]
WRONG = "wr0ng-and-secret"


def with_password(url: str, password: str | None) -> str:
    parts = urlsplit(url)
    user, _, place = parts.netloc.rpartition("@")
    name = user.partition(":")[0]
    netloc = f"{name}@{place}" if password is None else f"{name}:{password}@{place}"
    return urlunsplit(parts._replace(netloc=netloc))


def rival_in(db: AsyncPostgresDb, first: str) -> "subprocess.Popen[str]":
    module = "tests.integration.session_rival"
    path = os.pathsep.join(filter(None, [str(ROOT), *sys.path]))
    return subprocess.Popen(
        [sys.executable, "-m", module, db.db_url, db.db_schema, first],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
        cwd=ROOT,
    )


async def waits_for_lock(db: AsyncPostgresDb) -> None:
    async def waiting() -> bool:
        asked = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        return query(db, asked) != [(0,)]

    await until(waiting, 20, "nobody waits for a lock")


async def test_of_two_processes_that_save_in_the_same_sessions_the_newer_opening_wins(
    postgres_db: AsyncPostgresDb,
) -> None:
    rivals = [rival_in(postgres_db, first) for first in ("1", "2")]
    for rival in rivals:
        assert rival.stdout is not None
        assert await asyncio.to_thread(rival.stdout.readline) == "open\n"
    said = await asyncio.gather(
        *(asyncio.to_thread(rival.communicate, "go\n", timeout=50) for rival in rivals)
    )
    told = [line.split() for out, _ in said for line in out.splitlines()]
    assert len(told) == SESSIONS * (FENCES - 1)
    saved = {f"{session}-{fence}" for session, fence, became in told if became == "saved"}
    assert set(stored_run_ids(postgres_db)) == saved
    newest = [(str(n), FENCES - 1, f'{{"fence":{FENCES - 1}}}') for n in range(SESSIONS)]
    sessions = "SELECT session_id, fence, session_state FROM teambus_sessions ORDER BY session_id"
    assert query(postgres_db, sessions) == newest


@pytest.mark.parametrize("tries_max", [1, 6])
async def test_a_save_that_met_another_is_tried_again(
    postgres_db: AsyncPostgresDb, tries_max: int
) -> None:
    settings = StoreSettings(store_busy_timeout_s=20, store_timeout_s=30, store_tries_max=tries_max)
    store = await open_store(postgres_db, settings)
    await store.save(run_write("r1", 1))
    options = f"-c search_path={postgres_db.db_schema}"
    with psycopg.connect(postgres_db.db_url, options=options) as other:
        other.execute("UPDATE teambus_sessions SET fence = fence + 1")
        saving = asyncio.create_task(store.save(run_write("r2", 5)))
        await waits_for_lock(postgres_db)
        other.commit()
    if tries_max == 1:
        with pytest.raises(StoreUnavailable, match="others are writing the same"):
            await saving
    else:
        await saving
    assert len(stored_run_ids(postgres_db)) == (1 if tries_max == 1 else 2)
    await store.close()


async def test_a_lock_is_waited_for_no_longer_than_it_may_be(postgres_db: AsyncPostgresDb) -> None:
    settings = StoreSettings(store_busy_timeout_s=0.2, store_timeout_s=20)
    store = await open_store(postgres_db, settings)
    await store.save(run_write("r1", 1))
    options = f"-c search_path={postgres_db.db_schema}"
    with psycopg.connect(postgres_db.db_url, options=options) as other:
        other.execute("SELECT * FROM teambus_sessions FOR UPDATE")
        with pytest.raises(StoreUnavailable, match="is locked by another"):
            await store.save(run_write("r2", 2))
        assert (await load(store)).fence == 1
    await store.save(run_write("r3", 3))
    assert sorted(stored_run_ids(postgres_db)) == ["r1", "r3"]
    await store.close()


async def test_tables_that_are_gone_are_made_again(postgres_db: AsyncPostgresDb) -> None:
    store = await open_store(postgres_db, QUICK)
    await store.save(run_write("r1", 1))
    change(postgres_db, f"DROP SCHEMA {postgres_db.db_schema} CASCADE")
    assert (await load(store)).history == []
    await store.save(run_write("r2", 2))
    assert stored_run_ids(postgres_db) == ["r2"]
    await store.close()


async def test_what_is_saved_is_on_disk_when_the_save_returns(postgres_db: AsyncPostgresDb) -> None:
    user = query(postgres_db, "SELECT current_user")[0][0]
    change(postgres_db, f'ALTER ROLE "{user}" SET synchronous_commit = off')
    try:
        store = await open_store(postgres_db, QUICK)
        shown = await store._database.write(_synchronous)
        assert shown == "on"
        await store.close()
    finally:
        change(postgres_db, f'ALTER ROLE "{user}" RESET synchronous_commit')


def _synchronous(connection: object) -> str:
    found = connection._driver.execute("SHOW synchronous_commit")  # type: ignore[attr-defined]  # looked at from inside
    text: str = found.fetchone()[0]
    return text


async def test_a_schema_that_may_not_be_made_is_asked_for(postgres_db: AsyncPostgresDb) -> None:
    db = AsyncPostgresDb(
        db_url=postgres_db.db_url, db_schema=postgres_db.db_schema, create_schema=False
    )
    with pytest.raises(StoreUnfit, match="make that schema"):
        await open_store(db, QUICK)
    change(postgres_db, f"CREATE SCHEMA {postgres_db.db_schema}")
    await (await open_store(db, QUICK)).close()


async def test_a_newer_schema_is_refused_without_the_password(postgres_db: AsyncPostgresDb) -> None:
    await (await open_store(postgres_db, QUICK)).close()
    change(postgres_db, "UPDATE teambus_schema SET version = 7")
    with pytest.raises(StoreUnfit, match="in version 7") as refusal:
        await open_store(postgres_db, QUICK)
    assert "@" not in str(refusal.value)


async def test_a_wrong_password_is_refused_and_never_shown(
    postgres_db: AsyncPostgresDb, capsys: pytest.CaptureFixture[str]
) -> None:
    db = AsyncPostgresDb(db_url=with_password(postgres_db.db_url, WRONG))
    with pytest.raises(StoreUnfit, match="the user or the password is wrong") as refusal:
        await open_store(db, QUICK)
    shown = "".join(traceback.format_exception(refusal.value)) + repr(db) + db.place
    said = capsys.readouterr()
    assert WRONG not in shown + said.out + said.err


async def test_a_password_comes_from_the_runner_where_the_url_names_none(
    postgres_db: AsyncPostgresDb,
) -> None:
    password = urlsplit(postgres_db.db_url).password or ""
    bare = with_password(postgres_db.db_url, None)
    access = Access(password=password)
    db = AsyncPostgresDb(db_url=bare, db_schema=postgres_db.db_schema)
    await (await open_store(db, QUICK, access)).close()
    nowhere = AsyncPostgresDb(db_schema=postgres_db.db_schema)
    stores = Stores(QUICK, Access(url=bare, password=password))
    assert await stores.open(nowhere) is await stores.open(db)
    await stores.close()
    assert password not in repr(access)
    with pytest.raises(StoreUnfit, match="TEAM_RUNNER_DB_URL"):
        await open_store(nowhere, QUICK)


async def test_of_several_hosts_the_one_that_answers_is_used(postgres_db: AsyncPostgresDb) -> None:
    user, _, place = postgres_db.db_url.rpartition("@")
    url = f"{user}@127.0.0.1:1,{place}".replace("postgresql://", "postgresql+asyncpg://")
    db = AsyncPostgresDb(db_url=url, db_schema=postgres_db.db_schema)
    await (await open_store(db, QUICK)).close()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("mysql://u:hush-hush@host/db", "not one of PostgreSQL"),
        ("postgresql://u:hush-hush@host/", "names no database"),
        ("postgresql://u:hush-hush@host/db?ssl=maybe", "a parameter or port that libpq"),
        ("postgresql://u:hush-hush@host:port/db", "it cannot be reached"),
    ],
)
async def test_a_wrong_url_is_told_without_showing_it(url: str, why: str) -> None:
    with pytest.raises((StoreUnfit, StoreUnavailable), match=why) as refusal:
        await open_store(AsyncPostgresDb(), QUICK, Access(url=url))
    assert "hush-hush" not in "".join(traceback.format_exception(refusal.value))


async def test_a_database_that_is_not_there_is_refused_by_name(
    postgres_db: AsyncPostgresDb,
) -> None:
    url = urlunsplit(urlsplit(postgres_db.db_url)._replace(path="/no_such_database"))
    with pytest.raises(StoreUnfit, match=r"no_such_database.*no such database"):
        await open_store(AsyncPostgresDb(db_url=url), QUICK)


async def test_a_database_of_another_encoding_is_refused(postgres_db: AsyncPostgresDb) -> None:
    name = f"latin_{postgres_db.db_schema[-12:]}"
    with psycopg.connect(postgres_db.db_url, autocommit=True) as connection:
        connection.execute(
            f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'"
        )
        url = urlunsplit(urlsplit(postgres_db.db_url)._replace(path=f"/{name}"))
        try:
            with pytest.raises(StoreUnfit, match="holds text as LATIN1"):
                await open_store(AsyncPostgresDb(db_url=url), QUICK)
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
