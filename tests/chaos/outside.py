"""All that can be seen from outside: streams, database, the model's log, what hooks wrote down."""

import re
import sqlite3
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import psycopg

from teambus.bus import reads, topology
from teambus.bus.bodies import Bodies
from teambus.bus.connection import Bus
from teambus.contracts.frames import FrameBatch
from teambus.contracts.hook import DeadLetter, HookOutcome
from teambus.contracts.journal import JournalEntry, Record
from teambus.contracts.message import decode
from teambus.contracts.run import RunCompleted
from teambus.contracts.session import SessionRecord
from teambus.testing.model.calls import ScriptedCall
from tests.support.postgres import PostgresProcess

PAGE_MESSAGES = 500
PAGE_BYTES = 4 * 1024 * 1024
ROWS = (
    "SELECT run_id, session_id, team_id, tenant, fence, status, output"
    " FROM teambus_sessions_runs ORDER BY fence"
)
NAMED = re.compile(r"\[([A-Za-z0-9_-]+)\]")


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A row of the database."""

    run_id: str
    session_id: str
    component: str
    tenant: str
    fence: int
    status: str
    content: Any


@dataclass(frozen=True, slots=True)
class Journaled:
    """One record of a run's journal."""

    seq: int
    record: Record


@dataclass
class Outside:
    """What was found. Runs are named by their ids, which are unique over all tenants here."""

    completed: dict[str, list[RunCompleted]] = field(default_factory=lambda: defaultdict(list))
    accepted: set[str] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)
    journals: dict[str, list[Journaled]] = field(default_factory=lambda: defaultdict(list))
    frames: dict[str, list[FrameBatch]] = field(default_factory=lambda: defaultdict(list))
    outcomes: dict[tuple[str, str], HookOutcome] = field(default_factory=dict)
    letters: list[DeadLetter] = field(default_factory=list)
    sessions: list[SessionRecord] = field(default_factory=list)
    consumers: list[dict[str, Any]] = field(default_factory=list)
    rows: list[StoredRun] = field(default_factory=list)
    calls: list[ScriptedCall] = field(default_factory=list)
    hook_calls: list[dict[str, Any]] = field(default_factory=list)
    tool_calls: list[dict[str, Any]] = field(default_factory=list)


async def look(bus: Bus, folder: Path, postgres: PostgresProcess | None) -> Outside:
    """Everything there is, once all is quiet."""
    found = Outside()
    await _read_runs(found, bus)
    await _read_rest(found, bus)
    found.consumers = await consumers(bus)
    rows = _rows(folder / "sessions.db") if postgres is None else _rows_of(postgres)
    found.rows = [_stored_run(*row) for row in rows]
    found.calls = _calls(folder / "calls.jsonl")
    found.hook_calls = _lines(folder / "hooks.log")
    found.tool_calls = _lines(folder / "tools.log")
    return found


async def consumers(bus: Bus) -> list[dict[str, Any]]:
    """What every consumer has yet to do."""
    told = []
    for stream in (topology.REQUESTS, topology.EVENTS):
        reply = await reads.call(bus, f"$JS.API.CONSUMER.LIST.{stream}", b"")
        told += msgspec.json.decode(reply.data)["consumers"]
    return told


async def _read_runs(found: Outside, bus: Bus) -> None:
    async for stored in everything(bus, topology.EVENTS):
        run, kind = stored.subject.split(".")[5:7]
        if kind == "accepted":
            found.accepted.add(run)
        elif kind == "completed":
            found.completed[run].append(decode(RunCompleted, stored.data))
    async for stored in everything(bus, topology.REQUESTS):
        found.requests.append(stored.headers.get("Teambus-Run-Id", stored.subject))
    async for stored in everything(bus, topology.JOURNAL):
        entry = decode(JournalEntry, stored.data)
        run = stored.subject.split(".")[4]
        found.journals[run] += [Journaled(stored.seq, record) for record in entry.records]
    async for stored in everything(bus, topology.FRAMES):
        batch = decode(FrameBatch, stored.data)
        found.frames[batch.run_id].append(batch)


async def _read_rest(found: Outside, bus: Bus) -> None:
    async for stored in everything(bus, topology.HOOKS):
        outcome = decode(HookOutcome, stored.data)
        found.outcomes[outcome.run_id, outcome.hook] = outcome
    async for stored in everything(bus, topology.DEAD):
        found.letters.append(decode(DeadLetter, stored.data))
    async for stored in everything(bus, topology.SESSIONS):
        found.sessions.append(decode(SessionRecord, stored.data))


async def everything(bus: Bus, stream: str) -> AsyncIterator[reads.Stored]:
    """Every message of a stream with its body, oldest first."""
    bodies, start = Bodies(bus), 1
    while page := await reads.page(
        bus, stream, ">", start=start, messages_max=PAGE_MESSAGES, bytes_max=PAGE_BYTES
    ):
        for stored in page:
            data = await bodies.load(stored.data, stored.headers)
            yield reads.Stored(stored.subject, stored.seq, data, stored.headers)
        start = page[-1].seq + 1


def _rows(file: Path) -> list[Any]:
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return connection.execute(ROWS).fetchall()


def _rows_of(postgres: PostgresProcess) -> list[Any]:
    with psycopg.connect(postgres.url) as connection:
        return connection.execute(ROWS).fetchall()


def _stored_run(*row: Any) -> StoredRun:
    run_id, session_id, component, tenant, fence, status, output = row
    content = msgspec.json.decode(output).get("content")
    return StoredRun(run_id, session_id, component, tenant, fence, status, content)


def _calls(file: Path) -> list[ScriptedCall]:
    """Each call once, as it ended or, if it never did, as it began."""
    latest: dict[int, ScriptedCall] = {}
    for line in file.read_bytes().splitlines():
        call = msgspec.json.decode(line, type=ScriptedCall)
        latest[call.n] = call
    return sorted(latest.values(), key=lambda call: call.at)


def _lines(file: Path) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in file.read_bytes().splitlines()]


def run_named_in(text: str) -> str | None:
    """The run that a call to the model is about: each question names its own."""
    found = NAMED.search(text)
    return found[1] if found else None
