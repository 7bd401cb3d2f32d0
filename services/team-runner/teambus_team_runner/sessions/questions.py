"""Answers to questions about sessions, each a unit of work on a connection."""

import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import msgspec
import sqlalchemy as sa

from teambus.contracts.ids import RunId, SessionId, Tenant
from teambus.contracts.sessions_api import (
    ChangeSession,
    CreateSession,
    DeleteSessions,
    GetPreviews,
    GetRuns,
    GetSession,
    ListSessions,
    SessionDetail,
    SessionFacts,
    SessionPage,
    SessionPreviews,
    SessionRuns,
    SessionsDeleted,
)
from teambus_team_runner.sessions.database import Connection, Values
from teambus_team_runner.sessions.errors import SessionTooLarge
from teambus_team_runner.sessions.metrics import sum_of
from teambus_team_runner.sessions.previews import has_run, previews_of, said_in
from teambus_team_runner.sessions.rows import text_of, value_of
from teambus_team_runner.sessions.statements import Statements, containing

ALWAYS = {"after": None, "before": None}


@dataclass(frozen=True, slots=True)
class Reader:
    """Answers from what is committed. None: there is no such session, or it is another user's."""

    statements: Statements
    bytes_max: int

    def page(self, connection: Connection, tenant: Tenant, asked: ListSessions) -> SessionPage:
        values: Values = {
            "tenant": tenant,
            "session_type": asked.session_type,
            "component_id": asked.component_id,
            "user_id": asked.user_id,
            "name_part": None if asked.name_part is None else containing(asked.name_part),
        }
        cut = {"limit": asked.limit, "offset": (asked.page - 1) * asked.limit}
        order = (asked.sort_by, asked.descending)
        [counted] = connection.rows(self.statements.total, values)
        rows = connection.rows(self.statements.page[order], values | cut)
        metrics: dict[SessionId, list[str | None]] = defaultdict(list)
        for run in connection.rows(self.statements.page_metrics[order], values | cut):
            metrics[run.session_id].append(run.metrics)
        sessions = [_facts(row, metrics[row.session_id]) for row in rows]
        return SessionPage(sessions=sessions, total=counted.total)

    def facts(
        self, connection: Connection, tenant: Tenant, session_id: SessionId, user_id: str | None
    ) -> SessionFacts | None:
        values = _key(tenant, session_id, user_id)
        rows = connection.rows(self.statements.session, values)
        if not rows:
            return None
        runs = connection.rows(self.statements.metrics, values)
        return _facts(rows[0], [run.metrics for run in runs])

    def detail(
        self, connection: Connection, tenant: Tenant, asked: GetSession
    ) -> SessionDetail | None:
        facts = self.facts(connection, tenant, asked.session_id, asked.user_id)
        if facts is None:
            return None
        values = _key(tenant, asked.session_id) | ALWAYS
        fence = self._first_that_fits(connection.rows(self.statements.sizes, values))
        found = connection.rows(self.statements.transcripts, values | {"fence": fence})
        said = [message for run in found for message in said_in(run.output)]
        return SessionDetail(session=facts, chat_history=said)

    def runs(self, connection: Connection, tenant: Tenant, asked: GetRuns) -> SessionRuns | None:
        facts = self.facts(connection, tenant, asked.session_id, asked.user_id)
        if facts is None:
            return None
        if asked.run_id is None:
            outputs = self._outputs(connection, tenant, asked)
        else:
            outputs = self._output_of(connection, _key(tenant, asked.session_id), asked.run_id)
        return SessionRuns(session=facts, runs=[msgspec.Raw(each.encode()) for each in outputs])

    def previews(
        self, connection: Connection, tenant: Tenant, asked: GetPreviews
    ) -> SessionPreviews | None:
        values = _key(tenant, asked.session_id, asked.user_id)
        if not connection.rows(self.statements.session, values):
            return None
        outputs = self._outputs(connection, tenant, asked)
        return SessionPreviews(runs=[each for output in outputs for each in previews_of(output)])

    def check_size(self, connection: Connection, values: Values) -> None:
        """Raises `SessionTooLarge`."""
        sizes = connection.rows(self.statements.sizes, values)
        size = sum(run.output_bytes or 0 for run in sizes)
        if size > self.bytes_max:
            raise SessionTooLarge(values["session_id"], size, self.bytes_max)

    def _output_of(self, connection: Connection, key: Values, run_id: RunId) -> list[str]:
        """The run of this id, or the one that has it among its members."""
        if found := connection.rows(self.statements.run, key | {"run_id": run_id}):
            return [found[0].output]
        part = {"part": containing(run_id)}
        named = connection.rows(self.statements.output_naming, key | part)
        return [run.output for run in named if has_run(run.output, run_id)]

    def _outputs(
        self, connection: Connection, tenant: Tenant, asked: GetRuns | GetPreviews
    ) -> list[str]:
        values = _key(tenant, asked.session_id) | {"after": asked.after, "before": asked.before}
        self.check_size(connection, values)
        return [run.output for run in connection.rows(self.statements.outputs, values)]

    def _first_that_fits(self, newest_first: list[sa.Row[Any]]) -> int:
        """The fence of the oldest run that can be read together with all newer ones."""
        size, fence = 0, 0
        for run in newest_first:
            size += run.output_bytes or 0
            if size > self.bytes_max:
                return fence
            fence = run.fence
        return fence


@dataclass(frozen=True, slots=True)
class Changer:
    """Changes sessions, each question in one transaction. Asked again it changes nothing more."""

    statements: Statements

    def create(self, connection: Connection, tenant: Tenant, asked: CreateSession) -> bool:
        """Whether it was made; one of this id that is there is left alone."""
        now = int(time.time())
        row = {
            "tenant": tenant,
            "session_id": asked.session_id,
            "session_type": asked.session_type,
            "team_id": asked.component_id or "",
            "user_id": asked.user_id,
            "session_name": "",
            "given_name": _plain(asked.session_name),
            "session_state": text_of(asked.session_state),
            "metadata": text_of(asked.metadata),
            "summary": None,
            "fence": 0,
            "created_at": now,
            "updated_at": now,
        }
        return self._write(connection, self.statements.create, row)

    def change(self, connection: Connection, tenant: Tenant, asked: ChangeSession) -> bool:
        """Whether there is such a session. Only the columns of what is given change."""
        values = _key(tenant, asked.session_id, asked.user_id) | {
            "new_given_name": _plain(asked.session_name),
            "new_session_state": text_of(asked.session_state),
            "new_metadata": text_of(asked.metadata),
            "new_summary": text_of(asked.summary),
            "now": int(time.time()),
        }
        return self._write(connection, self.statements.change, values)

    def delete(
        self, connection: Connection, tenant: Tenant, asked: DeleteSessions
    ) -> SessionsDeleted:
        keys = [_key(tenant, id_, asked.user_id) for id_ in asked.session_ids]
        connection.begin()
        connection.put(self.statements.delete_runs, keys)
        deleted = connection.put(self.statements.delete_session, keys)
        connection.commit()
        return SessionsDeleted(deleted=sum(deleted))

    def _write(self, connection: Connection, change: sa.UpdateBase, row: Values) -> bool:
        connection.begin()
        [written] = connection.put(change, [row])
        connection.commit()
        return written


def _key(tenant: Tenant, session_id: SessionId, user_id: str | None = None) -> Values:
    return {"tenant": tenant, "session_id": session_id, "user_id": user_id}


def _facts(row: sa.Row[Any], metrics: list[str | None]) -> SessionFacts:
    return SessionFacts(
        session_id=row.session_id,
        session_type=row.session_type,
        session_name=row.session_name,
        created_at=row.created_at,
        updated_at=row.updated_at,
        runs=len(metrics),
        component_id=row.team_id or None,
        user_id=row.user_id,
        session_state=value_of(row.session_state),
        metadata=value_of(row.metadata),
        summary=value_of(row.summary),
        metrics=sum_of(metrics) if metrics else None,
    )


def _plain(name: str | None) -> str | None:
    # PostgreSQL's text cannot hold NUL.
    return None if name is None else name.replace("\x00", "")
