"""Tables of earlier versions: brought up to date whole or not at all, whoever comes first, and left
alone when they are newer than this code."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import uuid
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from teambus.app.databases import AsyncSqliteDb
from teambus_team_runner.sessions import StoreUnavailable, open_store, schema
from teambus_team_runner.sessions.migrations import revisions, upgrade
from teambus_team_runner.sessions.tables import Tables
from tests.integration.session_runs import (
    QUICK,
    change,
    db_in,
    each_connection_told,
    held,
    query,
)

VERSION_1 = Path(__file__).parent / "sessions_of_version_1.sql"
OPENERS = 4
DIES = """
import asyncio, os, signal, sys
from teambus.app.databases import AsyncSqliteDb
from teambus_team_runner.sessions import StoreSettings, migrations, open_store

done = migrations.upgrade
def upgrade(*arguments, **options):
    done(*arguments, **options)
    os.kill(os.getpid(), signal.SIGKILL)
migrations.upgrade = upgrade
asyncio.run(open_store(AsyncSqliteDb(db_file=sys.argv[1]), StoreSettings()))
"""
OPENS = """
import asyncio, sys
from teambus.app.databases import AsyncSqliteDb
from teambus_team_runner.sessions import StoreSettings, open_store

async def main():
    store = await open_store(AsyncSqliteDb(db_file=sys.argv[1]), StoreSettings())
    await store.close()
    print("alembic" in sys.modules)
asyncio.run(main())
"""


@pytest.fixture
def db(tmp_path: Path) -> AsyncSqliteDb:
    """A database of version 1, with three runs in two sessions."""
    made = db_in(tmp_path)
    made.path.parent.mkdir(parents=True)
    with closing(sqlite3.connect(made.path)) as connection:
        connection.executescript(VERSION_1.read_text())
    return made


def version_of(db: AsyncSqliteDb) -> int:
    ((version,),) = query(db, "SELECT version FROM teambus_schema")
    return int(version)


def assert_of_version_1(db: AsyncSqliteDb) -> None:
    assert version_of(db) == 1
    assert query(db, "PRAGMA integrity_check") == [("ok",)]
    tables = {name for (name,) in query(db, "SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert tables == {"teambus_schema", "teambus_sessions", "teambus_sessions_runs"}
    assert query(db, "SELECT count(*) FROM teambus_sessions_runs") == [(3,)]


async def assert_opens_up_to_date(db: AsyncSqliteDb) -> None:
    await (await open_store(db, QUICK)).close()
    assert version_of(db) == schema.SCHEMA_VERSION
    assert query(db, "SELECT count(*) FROM teambus_sessions_runs") == [(3,)]


def run(code: str, db: AsyncSqliteDb) -> "subprocess.Popen[str]":
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", code, str(db.path)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def imports_alembic(db: AsyncSqliteDb) -> bool:
    with run(OPENS, db) as process:
        said, _ = process.communicate(timeout=60)
    return said.splitlines()[-1] == "True"


def shape(connection: sa.Connection, tables: Tables) -> dict[str, object]:
    """Columns and keys by name, since later columns stand behind; indexes with their columns."""
    seen = sa.inspect(connection)
    return {
        name: (
            {
                (each["name"], str(each["type"]), each["nullable"])
                for each in seen.get_columns(name, schema=tables.schema)
            },
            seen.get_pk_constraint(name, tables.schema)["constrained_columns"],
            sorted(
                (each["name"] or "", each["column_names"])
                for each in seen.get_indexes(name, tables.schema)
            ),
        )
        for name in (tables.sessions.name, tables.runs.name)
    }


@pytest.mark.parametrize("table", ["teambus_sessions", "Odd name"])
def test_all_migrations_one_after_the_other_make_the_tables_of_today(table: str) -> None:
    tables = Tables(table)
    with sa.create_engine("sqlite://").connect() as migrated:
        upgrade(migrated, table, 0)
        with sa.create_engine("sqlite://").connect() as new:
            tables.metadata.create_all(new)
            assert shape(migrated, tables) == shape(new, tables)


def test_in_postgresql_all_migrations_make_the_tables_of_today(postgres_url: str) -> None:
    engine = sa.create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(postgres_url),
        poolclass=sa.NullPool,
    )
    schemas = [f"test_{uuid.uuid4().hex}" for _ in range(2)]
    old, new = (Tables("Odd name", schema=schema) for schema in schemas)
    with engine.connect() as connection:
        for schema in schemas:
            connection.execute(sa.schema.CreateSchema(schema))
        upgrade(connection, "Odd name", 0, schema=old.schema)
        new.metadata.create_all(connection)
        assert shape(connection, old) == shape(connection, new)
        connection.rollback()


def test_the_migrations_lead_in_one_line_to_the_version_of_this_code() -> None:
    line = [revision.revision for revision in revisions(after=0)]
    assert line == [str(version) for version in range(1, schema.SCHEMA_VERSION + 1)]


async def test_a_process_killed_in_the_middle_of_an_upgrade_leaves_the_tables_as_they_were(
    db: AsyncSqliteDb,
) -> None:
    with run(DIES, db) as process:
        assert process.wait(60) == -signal.SIGKILL
    assert_of_version_1(db)
    await assert_opens_up_to_date(db)


async def test_many_processes_that_start_at_once_upgrade_once_and_all_open(
    db: AsyncSqliteDb,
) -> None:
    processes = [run(OPENS, db) for _ in range(OPENERS)]
    for process in processes:
        with process:
            assert process.wait(60) == 0
    await assert_opens_up_to_date(db)


async def test_a_disk_that_is_full_leaves_the_tables_as_they_were(db: AsyncSqliteDb) -> None:
    change(db, "CREATE TABLE theirs AS SELECT zeroblob(100000)")
    change(db, "DROP TABLE theirs")
    change(db, "VACUUM")
    ((pages,),) = query(db, "PRAGMA page_count")
    with each_connection_told(f"PRAGMA max_page_count = {pages + 1}"):
        with pytest.raises(StoreUnavailable, match="its disk is full"):
            await open_store(db, QUICK)
    assert_of_version_1(db)
    await assert_opens_up_to_date(db)


async def test_a_database_that_may_only_be_read_is_not_upgraded(db: AsyncSqliteDb) -> None:
    with each_connection_told("PRAGMA query_only = 1"):
        with pytest.raises(StoreUnavailable, match="read-only"):
            await open_store(db, QUICK)
    assert_of_version_1(db)


async def test_an_upgrade_waits_for_who_is_writing(db: AsyncSqliteDb) -> None:
    with held(db, "BEGIN IMMEDIATE"):
        opening = asyncio.create_task(open_store(db, QUICK))
        await asyncio.wait((opening,), timeout=0.3)
        assert not opening.done()
    await (await opening).close()
    assert version_of(db) == schema.SCHEMA_VERSION


async def test_tables_of_different_versions_in_one_file_are_upgraded_each_for_itself(
    db: AsyncSqliteDb,
) -> None:
    other = AsyncSqliteDb(db_file=db.path, session_table="others")
    await (await open_store(other, QUICK)).close()
    versions = dict(query(db, "SELECT session_table, version FROM teambus_schema"))
    assert versions == {"teambus_sessions": 1, "others": schema.SCHEMA_VERSION}
    await (await open_store(db, QUICK)).close()
    versions = dict(query(db, "SELECT session_table, version FROM teambus_schema"))
    assert set(versions.values()) == {schema.SCHEMA_VERSION}


@pytest.mark.parametrize("there", ["nothing", "tables of today"])
def test_only_old_tables_cost_the_import_of_alembic(tmp_path: Path, there: str) -> None:
    db = db_in(tmp_path)
    if there == "tables of today":
        assert not imports_alembic(db)
    assert not imports_alembic(db)


def test_old_tables_cost_it(db: AsyncSqliteDb) -> None:
    assert imports_alembic(db)
