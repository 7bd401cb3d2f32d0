"""All that is particular to PostgreSQL. Only who has declared such a database imports it."""

import math
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg import errors
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError

from teambus.app.databases import AsyncPostgresDb, url_place
from teambus_team_runner.sessions.errors import StoreUnavailable, StoreUnfit
from teambus_team_runner.sessions.postgres_access import conninfo_of
from teambus_team_runner.sessions.postgres_errors import (
    ERRORS,
    CommitLost,
    is_refusal,
    passes,
    unavailable,
)
from teambus_team_runner.sessions.prepared import PreparedStatements, Statement
from teambus_team_runner.sessions.settings import Access, StoreSettings

VERSION_MIN = 13
LOCK_CLASS = 0x7EA3B05
"""Half of the key under which tables are made by one at a time; the other half is their schema."""

_SET_UP = """
SELECT set_config('statement_timeout', %(timeout_ms)s, false),
    set_config('idle_in_transaction_session_timeout', %(timeout_ms)s, false),
    set_config('lock_timeout', %(busy_ms)s, false),
    CASE current_setting('synchronous_commit')
        WHEN 'off' THEN set_config('synchronous_commit', 'on', false) END
"""


class PostgresServer:
    """One database of one server, or of several of which one may be written to."""

    errors: tuple[type[Exception], ...] = ERRORS
    insert = staticmethod(insert)

    def __init__(self, db: AsyncPostgresDb, url: str, password: str, settings: StoreSettings):
        self.schema = db.db_schema
        self.name = f"{url_place(url)}, schema {db.db_schema}"
        self.key = f"{url_place(url)} {db.db_schema}"
        self._create_schema = db.create_schema
        self._settings = settings
        self._conninfo = conninfo_of(url, password, settings)
        self._engine = sa.create_engine(
            "postgresql+psycopg://",
            creator=self._connect,
            isolation_level="AUTOCOMMIT",
            poolclass=sa.NullPool,
            pool_reset_on_return=None,
            hide_parameters=True,
            use_native_hstore=False,
        )
        self._prepared = PreparedStatements()
        self._times_gone = 0
        self._was_reached = False

    @classmethod
    def of(cls, db: AsyncPostgresDb, settings: StoreSettings, access: Access) -> "PostgresServer":
        """Raises `StoreUnfit` when neither the declaration nor `access` says where it is."""
        url = db.db_url or access.url
        if not url:
            raise StoreUnfit(
                f"database {db.id!r} has no url: give AsyncPostgresDb a db_url=..., or set"
                " TEAM_RUNNER_DB_URL or TEAM_RUNNER_DB_URL_FILE"
            )
        return cls(db, url, access.password, settings)

    def identity(self) -> int:
        return self._times_gone

    def connect(self) -> "PostgresConnection":
        return PostgresConnection(self._engine.connect(), self, self._prepared)

    def unavailable(self, error: Exception) -> StoreUnavailable:
        return unavailable(error)

    def passes(self, error: Exception) -> bool:
        return passes(error)

    def miss_tables(self) -> None:
        self._times_gone += 1

    def check_fit(self, driver: "psycopg.Connection[Any]") -> None:
        version, encoding = (
            driver.info.server_version,
            driver.info.parameter_status("server_encoding"),
        )
        if version < VERSION_MIN * 10_000:
            raise StoreUnfit(
                f'"{self.name}" is PostgreSQL {version // 10_000}, {VERSION_MIN} or newer is needed'
            )
        if encoding != "UTF8":
            raise StoreUnfit(
                f'"{self.name}" holds text as {encoding}: give a database with the encoding UTF8'
            )

    def make_schema(self, connection: sa.Connection) -> None:
        """By one process at a time, until the transaction ends."""
        lock = "SELECT pg_advisory_xact_lock(%(class)s, hashtext(%(schema)s))"
        connection.exec_driver_sql(lock, {"class": LOCK_CLASS, "schema": self.schema})
        if sa.inspect(connection).has_schema(self.schema):
            return
        if not self._create_schema:
            raise StoreUnfit(f'"{self.name}" is not there: make that schema, or let it be made')
        connection.execute(sa.schema.CreateSchema(self.schema))

    def _connect(self) -> "psycopg.Connection[Any]":
        try:
            driver = psycopg.connect(self._conninfo, autocommit=True)
        except psycopg.OperationalError as error:
            if is_refusal(error) and not self._was_reached:
                raise StoreUnfit(f'"{self.name}": {unavailable(error).reason}') from None
            raise
        try:
            timeout_ms = math.ceil(self._settings.store_timeout_s * 1000)
            busy_ms = math.ceil(self._settings.store_busy_timeout_s * 1000)
            driver.execute(_SET_UP, {"timeout_ms": str(timeout_ms), "busy_ms": str(busy_ms)})
        except BaseException:
            driver.close()
            raise
        self._was_reached = True
        return driver


class PostgresConnection:
    """A connection that reads what is committed, and writes in the transactions begun here.

    Those are serializable, so that it is as if one were written after the other.
    """

    def __init__(
        self, core: sa.Connection, server: PostgresServer, prepared: PreparedStatements
    ) -> None:
        self.core = core
        self._server = server
        self._prepared = prepared
        self._driver: psycopg.Connection[Any] = core.connection.driver_connection  # type: ignore[assignment]  # it is the one made above
        # A second handle, so that another thread may shut it down, however this one is closed.
        self._socket = socket.socket(fileno=os.dup(self._driver.fileno()))

    def prepare(self) -> None:
        self._server.check_fit(self._driver)

    def rows(self, statement: sa.Select[Any], values: dict[str, Any]) -> list[sa.Row[Any]]:
        prepared = self._prepared.of(statement, self.core.dialect)
        try:
            found = self._driver.execute(prepared.text, prepared.fixed | values).fetchall()
        except (errors.UndefinedTable, errors.InvalidSchemaName):
            self._server.miss_tables()
            raise
        return [prepared.row(row) for row in found]

    def put(self, statement: sa.UpdateBase, rows: Sequence[dict[str, Any]]) -> list[bool]:
        try:
            return self._put(statement, rows)
        except (errors.UndefinedTable, errors.InvalidSchemaName):
            self._server.miss_tables()
            raise

    def _put(self, statement: Statement, rows: Sequence[dict[str, Any]]) -> list[bool]:
        if not rows:
            return []
        prepared = self._prepared.of(statement, self.core.dialect)
        with self._driver.cursor() as cursor:
            all_values = [prepared.fixed | row for row in rows]
            cursor.executemany(prepared.text, all_values, returning=True)
            return [bool(result.fetchall()) for result in cursor.results()]

    def begin_exclusive(self) -> None:
        self.core.exec_driver_sql("BEGIN")
        self._server.make_schema(self.core)

    def begin(self) -> None:
        self._driver.execute("BEGIN ISOLATION LEVEL SERIALIZABLE, READ WRITE")

    def commit(self) -> None:
        try:
            self._driver.commit()
        except psycopg.Error as error:
            if self._driver.closed:
                raise CommitLost from error
            raise

    def rollback(self) -> None:
        self._driver.rollback()

    def recover(self) -> bool:
        with suppress(psycopg.Error):
            self._driver.rollback()
            return not self._driver.closed
        return False

    def break_off(self) -> None:
        with suppress(OSError):  # it is closed already
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with suppress(SQLAlchemyError, psycopg.Error):  # it may be closed because it is broken
            self.core.close()
        self._driver.close()
        self._socket.close()
