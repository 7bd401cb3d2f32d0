"""Copying a session with its runs: read on one connection, written on the one that writes."""

import time
from dataclasses import dataclass
from typing import Any

from teambus.contracts.ids import Tenant
from teambus.contracts.sessions_api import ForkSession
from teambus_team_runner.sessions.copying import copied_output, copied_run_id
from teambus_team_runner.sessions.database import Connection, Values
from teambus_team_runner.sessions.errors import SessionTaken
from teambus_team_runner.sessions.questions import ALWAYS, Reader
from teambus_team_runner.sessions.statements import Statements


@dataclass(frozen=True, slots=True)
class Copy:
    """The rows of the new session, under fences that every opening of it is above."""

    session: Values
    runs: list[Values]


def read_copy(
    connection: Connection, reader: Reader, tenant: Tenant, asked: ForkSession
) -> Copy | None:
    """None when there is nothing to copy. Raises `SessionTooLarge`."""
    key = {"tenant": tenant, "session_id": asked.session_id, "user_id": asked.user_id}
    rows = connection.rows(reader.statements.session, key)
    if not rows or asked.component_id not in (None, rows[0].team_id):
        return None
    reader.check_size(connection, key | ALWAYS)
    runs = connection.rows(reader.statements.copied, key | ALWAYS)
    if not runs:
        return None
    now = int(time.time())
    user_id = asked.user_id or rows[0].user_id
    session = rows[0]._asdict() | {
        "session_id": asked.new_session_id,
        "user_id": user_id,
        "given_name": rows[0].session_name,
        "fence": 0,
        "created_at": now,
        "updated_at": now,
    }
    copies = [_copy_of(run, asked) | {"fence": n - len(runs)} for n, run in enumerate(runs, 1)]
    return Copy(session, copies)


def write_copy(connection: Connection, statements: Statements, copy: Copy) -> int:
    """How many runs were copied, now or when the same was asked before. Raises `SessionTaken`."""
    connection.begin()
    if any(connection.put(statements.create, [copy.session])):
        connection.put(statements.put_run, copy.runs)
    elif not connection.rows(statements.run, copy.runs[0]):
        connection.rollback()
        raise SessionTaken(copy.session["session_id"])
    connection.commit()
    return len(copy.runs)


def _copy_of(run: Any, asked: ForkSession) -> Values:
    output = copied_output(run.output, asked.new_session_id, asked.user_id)
    parent = run.parent_run_id
    return {
        **run._asdict(),
        "run_id": copied_run_id(asked.new_session_id, run.run_id),
        "parent_run_id": parent and copied_run_id(asked.new_session_id, parent),
        "session_id": asked.new_session_id,
        "user_id": asked.user_id or run.user_id,
        "output": output.decode(),
        "output_bytes": len(output),
    }
