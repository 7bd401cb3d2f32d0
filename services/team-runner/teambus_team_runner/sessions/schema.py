"""The version of the tables: made when missing, brought up to date when older than this code,
refused when newer.
"""

import importlib
from typing import Any, Protocol

import sqlalchemy as sa
import structlog

from teambus_team_runner.sessions.errors import StoreUnfit
from teambus_team_runner.sessions.tables import Tables

log = structlog.get_logger(__name__)

SCHEMA_VERSION = 2
MIGRATIONS = "teambus_team_runner.sessions.migrations"
"""Imported when it is needed: most starts find the tables as they should be."""


class Exclusive(Protocol):
    @property
    def core(self) -> sa.Connection: ...

    def begin_exclusive(self) -> None:
        """Begin a transaction in which one process at a time makes tables, all or none."""


def ensure_schema(exclusive: Exclusive, tables: Tables, place: str) -> None:
    """Make the tables what this code needs. `place` is what people call the database."""
    connection = exclusive.core
    version = _version(connection, tables, place)
    if version != SCHEMA_VERSION:
        connection.rollback()
        if version is not None:
            importlib.import_module(MIGRATIONS)  # which takes long, so before others are locked out
        exclusive.begin_exclusive()
        _make(connection, tables, place)
    connection.commit()


def version_of_tables(tables: Tables) -> sa.Select[Any]:
    """Asks for the version of the tables named by `session_table`."""
    versions = _versions(tables)
    wanted = sa.bindparam("session_table", type_=sa.Text)
    return sa.select(versions.c.version).where(versions.c.session_table == wanted)


def _make(connection: sa.Connection, tables: Tables, place: str) -> None:
    # Another process may have made them while this one waited for the lock.
    version = _version(connection, tables, place)
    versions = _versions(tables)
    if version is None:
        versions.create(connection, checkfirst=True)
        tables.metadata.create_all(connection, checkfirst=False)
        made = {"session_table": tables.name, "version": SCHEMA_VERSION}
        connection.execute(versions.insert(), made)
    elif version < SCHEMA_VERSION:
        log.info("bringing the session database up to date", place=place, version=SCHEMA_VERSION)
        migrations = importlib.import_module(MIGRATIONS)
        migrations.upgrade(connection, tables.name, version, schema=tables.schema)
        mine = versions.c.session_table == tables.name
        connection.execute(versions.update().where(mine), {"version": SCHEMA_VERSION})


def _version(connection: sa.Connection, tables: Tables, place: str) -> int | None:
    """Which version is there, None when there are no tables. Raises `StoreUnfit`."""
    names = set(sa.inspect(connection).get_table_names(schema=tables.schema))
    version: int | None = None
    versions = _versions(tables)
    if versions.name in names:
        of_these = sa.select(versions.c.version).where(versions.c.session_table == tables.name)
        version = connection.scalar(of_these)
    if version is None and (taken := names & {tables.sessions.name, tables.runs.name}):
        raise StoreUnfit(
            f'"{place}" has a table "{min(taken)}" that is not of teambus: '
            "give another session_table or database"
        )
    if version is not None and version > SCHEMA_VERSION:
        raise StoreUnfit(
            f'"{place}" holds sessions in version {version}, this teambus knows versions up to '
            f"{SCHEMA_VERSION}: install a newer teambus or give another database"
        )
    return version


def _versions(tables: Tables) -> sa.Table:
    return sa.Table(
        "teambus_schema",
        sa.MetaData(schema=tables.schema),
        sa.Column("session_table", sa.Text, primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
    )
