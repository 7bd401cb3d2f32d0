"""The tables of one session store, and every statement on them, built once."""

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from teambus.contracts.output import RunStatus


class Tables:
    """Sessions under the name the user gave, their runs beside them. JSON is kept as text."""

    def __init__(
        self,
        session_table: str,
        *,
        schema: str | None = None,
        insert: Callable[[sa.Table], Any] = sqlite.insert,
    ) -> None:
        self.name = session_table
        self.schema = schema
        self.insert = insert
        self.metadata = sa.MetaData(schema=schema)
        self.sessions = _sessions(session_table, self.metadata)
        self.runs = _runs(session_table, self.metadata)
        self.put_session = _put_session(self.sessions, insert(self.sessions))
        self.put_run = _put_run(self.runs, insert(self.runs))
        self.session = self._session()
        self.session_with_history = self._session_with_history()
        self.replace_run = _replace_run(self.runs)
        self.run = _run(self.runs)
        self.newest_runs = _newest_runs(self.runs)

    @property
    def facts(self) -> list[sa.ColumnElement[Any]]:
        """The columns of a session; its name is the one it was given, else its first question."""
        columns = self.sessions.c
        name = sa.func.coalesce(columns.given_name, columns.session_name).label("session_name")
        names = (columns.given_name, columns.session_name)
        return [name, *(column for column in columns if column not in names)]

    def _session(self) -> sa.Select[Any]:
        return sa.select(*self.facts).where(
            self.sessions.c.tenant == sa.bindparam("tenant"),
            self.sessions.c.session_id == sa.bindparam("session_id"),
        )

    def _session_with_history(self) -> sa.Select[Any]:
        """The session, once for each of its newest completed runs, or once alone."""
        runs = self.runs.c
        history = (
            sa.select(runs.run_id, runs.output, runs.fence)
            .where(
                runs.tenant == sa.bindparam("tenant"),
                runs.session_id == sa.bindparam("session_id"),
                runs.team_id == sa.bindparam("team_id"),
                runs.status == RunStatus.COMPLETED.value,
                runs.parent_run_id.is_(None),
            )
            .order_by(runs.fence.desc())
            .limit(sa.bindparam("runs_max", type_=sa.Integer))
            .subquery("history")
        )
        return (
            self._session()
            .add_columns(history.c.run_id, history.c.output)
            .outerjoin_from(self.sessions, history, sa.true())
            .order_by(history.c.fence)
        )


def _sessions(name: str, metadata: sa.MetaData) -> sa.Table:
    return sa.Table(
        name,
        metadata,
        sa.Column("tenant", sa.Text, primary_key=True),
        sa.Column("session_id", sa.Text, primary_key=True),
        sa.Column("team_id", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text),
        sa.Column("session_name", sa.Text, nullable=False),
        sa.Column("session_state", sa.Text),
        sa.Column("metadata", sa.Text),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.Column("session_type", sa.Text, nullable=False, server_default="team"),
        sa.Column("given_name", sa.Text),
        sa.Column("summary", sa.Text),
        sa.Index(f"{name}_by_age", "tenant", "created_at", "session_id"),
    )


def _runs(name: str, metadata: sa.MetaData) -> sa.Table:
    return sa.Table(
        f"{name}_runs",
        metadata,
        sa.Column("tenant", sa.Text, primary_key=True),
        sa.Column("run_id", sa.Text, primary_key=True),
        sa.Column("session_id", sa.Text, nullable=False),
        sa.Column("team_id", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text),
        sa.Column("parent_run_id", sa.Text),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("input", sa.Text, nullable=False),
        sa.Column("content_preview", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("completed_at", sa.Double, nullable=False),
        sa.Column("metrics", sa.Text),
        sa.Column("output_bytes", sa.BigInteger),
        # Last, so that what stands before it is found without reading it.
        sa.Column("output", sa.Text, nullable=False),
        sa.Index(f"{name}_runs_in_order", "tenant", "session_id", "fence"),
    )


def _put_session(sessions: sa.Table, put: Any) -> Any:
    """Insert or update, unless a newer opening wrote; gives back the keys of those written."""
    new = put.excluded
    # A session that was made before its first run may not say whose it is.
    is_nobodys = sessions.c.team_id == ""
    return put.on_conflict_do_update(
        index_elements=[sessions.c.tenant, sessions.c.session_id],
        set_={
            "team_id": sa.case((is_nobodys, new.team_id), else_=sessions.c.team_id),
            "session_type": sa.case((is_nobodys, new.session_type), else_=sessions.c.session_type),
            "session_name": sa.func.coalesce(
                sa.func.nullif(sessions.c.session_name, ""), new.session_name
            ),
            "user_id": sa.func.coalesce(sessions.c.user_id, new.user_id),
            "session_state": sa.func.coalesce(new.session_state, sessions.c.session_state),
            "metadata": sa.func.coalesce(new.metadata, sessions.c.metadata),
            "fence": new.fence,
            "updated_at": new.updated_at,
        },
        where=sessions.c.fence <= new.fence,
    ).returning(sessions.c.tenant, sessions.c.session_id)


def _put_run(runs: sa.Table, put: Any) -> Any:
    """Insert if absent; gives back the keys of those that now stand in the session given."""
    return put.on_conflict_do_update(
        index_elements=[runs.c.tenant, runs.c.run_id],
        set_={"run_id": runs.c.run_id},
        where=runs.c.session_id == put.excluded.session_id,
    ).returning(runs.c.tenant, runs.c.run_id)


def _replace_run(runs: sa.Table) -> sa.Update:
    columns = ("status", "output", "output_bytes")
    new = {name: sa.bindparam(f"new_{name}", type_=runs.c[name].type) for name in columns}
    return (
        sa.update(runs)
        .where(
            runs.c.tenant == sa.bindparam("tenant"),
            runs.c.session_id == sa.bindparam("session_id"),
            runs.c.run_id == sa.bindparam("run_id"),
        )
        .values(**new)
        .returning(runs.c.run_id)
    )


def _run(runs: sa.Table) -> sa.Select[Any]:
    return sa.select(runs.c.output).where(
        runs.c.tenant == sa.bindparam("tenant"),
        runs.c.session_id == sa.bindparam("session_id"),
        runs.c.run_id == sa.bindparam("run_id"),
    )


def _newest_runs(runs: sa.Table) -> sa.Select[Any]:
    return (
        sa.select(runs.c.output)
        .where(
            runs.c.tenant == sa.bindparam("tenant"),
            runs.c.session_id == sa.bindparam("session_id"),
        )
        .order_by(runs.c.fence.desc())
        .limit(sa.bindparam("runs_max", type_=sa.Integer))
    )
