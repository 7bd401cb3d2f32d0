"""Group commit: saves that meet become one transaction, and each still gets its own answer."""

import asyncio
from collections.abc import Sequence
from functools import partial

import structlog

from teambus_team_runner.sessions.database import Connection, Database
from teambus_team_runner.sessions.errors import (
    RunInAnotherSession,
    SessionNotFound,
    StoreFenced,
    StoreUnavailable,
)
from teambus_team_runner.sessions.rows import Key, Rows, is_anothers, replaced
from teambus_team_runner.sessions.settings import StoreSettings
from teambus_team_runner.sessions.tables import Tables

log = structlog.get_logger(__name__)


class Writer:
    """Writes what is waiting, a batch at a time, as long as anything waits."""

    def __init__(self, database: Database, tables: Tables, settings: StoreSettings) -> None:
        self._database = database
        self._tables = tables
        self._settings = settings
        self._waiting: dict[asyncio.Future[None], Rows] = {}
        self._writing: asyncio.Task[None] | None = None
        self._closed = False

    async def save(self, rows: Rows) -> None:
        """Return when it is durable. One that is cancelled or late may still be written, whole."""
        if self._closed:
            raise StoreUnavailable("it is closed")
        if len(self._waiting) >= self._settings.store_queue_max:
            raise StoreUnavailable(f"{len(self._waiting)} saves are waiting already")
        answer = asyncio.get_running_loop().create_future()
        self._waiting[answer] = rows
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_all(), name="session writer")
        try:
            async with asyncio.timeout(self._settings.store_timeout_s):
                await answer
        except TimeoutError:
            raise StoreUnavailable("it did not answer in time") from None
        finally:
            self._waiting.pop(answer, None)

    async def close(self) -> None:
        """Refuse new saves and finish those that wait; each is bounded by its own limit."""
        self._closed = True
        if self._writing is not None:
            await asyncio.wait((self._writing,))

    async def _write_all(self) -> None:
        while batch := self._take():
            refused = await self._write(list(batch.values()))
            for answer, rows in batch.items():
                _settle(answer, refused.get(rows))

    def _take(self) -> dict[asyncio.Future[None], Rows]:
        """The next batch, with each session and each run once: so every save of it is judged by
        what is committed, never by another of the batch that may yet be undone."""
        batch: dict[asyncio.Future[None], Rows] = {}
        met: set[tuple[str, Key]] = set()
        for answer, rows in self._waiting.items():
            if len(batch) == self._settings.store_batch_max:
                break
            keys = {("session", rows.session_key), ("run", rows.run_key)}
            if met.isdisjoint(keys):
                batch[answer] = rows
            met |= keys
        for answer in batch:
            del self._waiting[answer]
        return batch

    async def _write(self, batch: Sequence[Rows]) -> dict[Rows, Exception]:
        """Write a batch, or, when one of it may be what failed it, each alone; say who failed."""
        try:
            return await self._transaction(batch)
        except Exception as error:  # noqa: BLE001 - each waiting save must hear of it
            shared = isinstance(error, StoreUnavailable) and error.shared
            if shared or len(batch) == 1:
                return dict.fromkeys(batch, error)
            log.warning("saving each run alone", saves=len(batch), error=str(error))
        refused: dict[Rows, Exception] = {}
        for rows in batch:
            refused |= await self._write([rows])
        return refused

    async def _transaction(self, batch: Sequence[Rows]) -> dict[Rows, Exception]:
        return await self._database.write(partial(_put_all, tables=self._tables, batch=batch))


def _put_all(
    connection: Connection, tables: Tables, batch: Sequence[Rows]
) -> dict[Rows, Exception]:
    """Write all that may be written in one transaction and say which may not, and why."""
    refused: dict[Rows, Exception] = {}
    while left := [rows for rows in batch if rows not in refused]:
        connection.begin()
        found = _put(connection, tables, left)
        if not found:
            connection.commit()
            break
        connection.rollback()
        refused |= found
    return refused


def _put(connection: Connection, tables: Tables, batch: list[Rows]) -> dict[Rows, Exception]:
    refused = _put_sessions(connection, tables, batch) | _strangers(connection, tables, batch)
    if refused:
        return refused
    runs = connection.put(tables.put_run, [rows.run for rows in batch])
    _put_replaced(connection, tables, batch)
    return {
        rows: RunInAnotherSession(rows.run["run_id"])
        for rows, written in zip(batch, runs, strict=True)
        if not written
    }


def _put_replaced(connection: Connection, tables: Tables, batch: list[Rows]) -> None:
    """Mark the runs that are replaced; one that is not there any more needs no mark."""
    for rows in batch:
        if rows.replaces is None:
            continue
        tenant, session_id = rows.session_key
        key = {"tenant": tenant, "session_id": session_id, "run_id": rows.replaces}
        for found in connection.rows(tables.run, key):
            changed = {f"new_{name}": value for name, value in replaced(found.output).items()}
            connection.put(tables.replace_run, [key | changed])


def _put_sessions(
    connection: Connection, tables: Tables, batch: list[Rows]
) -> dict[Rows, Exception]:
    opened = {rows: rows.session for rows in batch if rows.session is not None}
    sessions = connection.put(tables.put_session, [*opened.values()])
    return {
        rows: StoreFenced(session["session_id"], session["fence"])
        for (rows, session), written in zip(opened.items(), sessions, strict=True)
        if not written
    }


def _strangers(connection: Connection, tables: Tables, batch: list[Rows]) -> dict[Rows, Exception]:
    """The runs that never opened their session, when that is another user's."""
    refused: dict[Rows, Exception] = {}
    for rows in batch:
        if rows.session is None and _is_strangers(connection, tables, rows):
            refused[rows] = SessionNotFound(rows.run["session_id"])
    return refused


def _is_strangers(connection: Connection, tables: Tables, rows: Rows) -> bool:
    tenant, session_id = rows.session_key
    found = connection.rows(tables.session, {"tenant": tenant, "session_id": session_id})
    return bool(found) and is_anothers(found[0].user_id, rows.run["user_id"])


def _settle(answer: asyncio.Future[None], refusal: Exception | None) -> None:
    if answer.done():
        return
    if refusal is None:
        answer.set_result(None)
    else:
        answer.set_exception(refusal)
