"""The statements that answer questions about sessions, built once. None but those named for it
reads the outputs of runs.
"""

from typing import Any, get_args

import sqlalchemy as sa

from teambus.contracts.sessions_api import SortField
from teambus_team_runner.sessions.tables import Tables

ESCAPE = "\\"


class Statements:
    """`user_id` and the other conditions of a list apply only where they are not null."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._sessions = tables.sessions.c
        self._runs = tables.runs.c
        orders = [(field, down) for field in get_args(SortField) for down in (False, True)]
        self.page = {order: self._page(*order) for order in orders}
        self.page_metrics = {order: self._page_metrics(*order) for order in orders}
        self.total = sa.select(sa.func.count().label("total")).where(*self._listed())
        self.session = sa.select(*tables.facts).where(*self._one())
        self.metrics = sa.select(self._runs.metrics).where(*self._of_session())
        self.sizes = self._sizes()
        self.outputs = self._outputs(self._runs.output)
        self.transcripts = self._outputs(self._runs.output).where(
            self._runs.fence >= sa.bindparam("fence", type_=sa.BigInteger),
            self._runs.parent_run_id.is_(None),
        )
        self.output_naming = self._output_naming()
        self.copied = self._outputs(*self._runs)
        self.run = sa.select(self._runs.output).where(
            *self._of_session(), self._runs.run_id == sa.bindparam("run_id")
        )
        self.create = self._create()
        self.change = self._change()
        self.delete_runs = self._delete_runs()
        self.delete_session = (
            sa.delete(tables.sessions).where(*self._one()).returning(self._sessions.session_id)
        )
        self.put_run = tables.insert(tables.runs).returning(self._runs.run_id)

    def _one(self) -> list[sa.ColumnElement[bool]]:
        return [
            self._sessions.tenant == sa.bindparam("tenant"),
            self._sessions.session_id == sa.bindparam("session_id"),
            _if_given("user_id", self._sessions.user_id),
        ]

    def _of_session(self) -> list[sa.ColumnElement[bool]]:
        return [
            self._runs.tenant == sa.bindparam("tenant"),
            self._runs.session_id == sa.bindparam("session_id"),
        ]

    def _listed(self) -> list[sa.ColumnElement[bool]]:
        given, asked = self._sessions.given_name, self._sessions.session_name
        part = sa.bindparam("name_part", type_=sa.Text)
        name = sa.func.lower(sa.func.coalesce(given, asked))
        return [
            self._sessions.tenant == sa.bindparam("tenant"),
            _if_given("session_type", self._sessions.session_type),
            _if_given("component_id", self._sessions.team_id),
            _if_given("user_id", self._sessions.user_id),
            sa.or_(part.is_(None), name.like(sa.func.lower(part), escape=ESCAPE)),
        ]

    def _page(self, field: SortField, down: bool) -> sa.Select[Any]:
        return self._cut(sa.select(*self._tables.facts), field, down)

    def _cut(self, select: sa.Select[Any], field: SortField, down: bool) -> sa.Select[Any]:
        """The rows of one page; the id makes the order the same on every page."""
        column: sa.ColumnElement[Any] = self._sessions.get(
            "team_id" if field == "component_id" else field, self._sessions.session_id
        )
        if field == "session_name":
            column = sa.func.coalesce(self._sessions.given_name, self._sessions.session_name)
        order = [column, self._sessions.session_id]
        return (
            select.where(*self._listed())
            .order_by(*(each.desc() if down else each.asc() for each in order))
            .limit(sa.bindparam("limit", type_=sa.Integer))
            .offset(sa.bindparam("offset", type_=sa.BigInteger))
        )

    def _page_metrics(self, field: SortField, down: bool) -> sa.Select[Any]:
        """The tokens of every run of the sessions on a page."""
        page = self._cut(sa.select(self._sessions.session_id), field, down).subquery("page")
        return (
            sa.select(self._runs.session_id, self._runs.metrics)
            .join_from(page, self._tables.runs, self._runs.session_id == page.c.session_id)
            .where(self._runs.tenant == sa.bindparam("tenant"))
        )

    def _sizes(self) -> sa.Select[Any]:
        """Newest first. Every run that was under way between `after` and `before`."""
        runs = self._runs
        return (
            sa.select(runs.fence, runs.output_bytes)
            .where(*self._of_session(), *self._between())
            .order_by(runs.fence.desc())
        )

    def _between(self) -> list[sa.ColumnElement[bool]]:
        # PostgreSQL must be told the type of what may be null.
        after, before = (sa.cast(sa.bindparam(name), sa.Double) for name in ("after", "before"))
        return [
            sa.or_(after.is_(None), self._runs.completed_at >= after),
            sa.or_(before.is_(None), self._runs.created_at <= before),
        ]

    def _outputs(self, *columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
        """Oldest first."""
        return (
            sa.select(*columns)
            .where(*self._of_session(), *self._between())
            .order_by(self._runs.fence)
        )

    def _output_naming(self) -> sa.Select[Any]:
        """Outputs with an id in them: that of the run, or of a member's run."""
        part = sa.bindparam("part", type_=sa.Text)
        return (
            sa.select(self._runs.output)
            .where(*self._of_session(), self._runs.output.like(part, escape=ESCAPE))
            .order_by(self._runs.fence)
        )

    def _create(self) -> Any:
        """Insert if there is none of this id."""
        create = self._tables.insert(self._tables.sessions)
        key = [self._sessions.tenant, self._sessions.session_id]
        return create.on_conflict_do_nothing(index_elements=key).returning(
            self._sessions.session_id
        )

    def _change(self) -> sa.Update:
        """What is null is not given."""
        columns = ("given_name", "session_state", "metadata", "summary")
        changed = {
            name: sa.func.coalesce(sa.bindparam(f"new_{name}", type_=sa.Text), self._sessions[name])
            for name in columns
        }
        now = sa.bindparam("now", type_=sa.BigInteger)
        return (
            sa.update(self._tables.sessions)
            .where(*self._one())
            .values(**changed, updated_at=now)
            .returning(self._sessions.session_id)
        )

    def _delete_runs(self) -> sa.UpdateBase:
        found = sa.select(self._sessions.session_id).where(*self._one())
        return (
            sa.delete(self._tables.runs)
            .where(*self._of_session(), sa.exists(found))
            .returning(self._runs.run_id)
        )


def _if_given(name: str, column: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    given = sa.bindparam(name, type_=sa.Text)
    return sa.or_(given.is_(None), column == given)


def containing(text: str) -> str:
    """The pattern for `text` anywhere, by whichever of its characters."""
    for special in (ESCAPE, "%", "_"):
        text = text.replace(special, ESCAPE + special)
    return f"%{text}%"
