"""What was used on each day, counted from the rows of runs when it is asked for.

Counts are the database's; tokens, which it keeps as JSON, are added up here, some rows at a time.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from teambus.contracts.ids import Tenant
from teambus.contracts.output import Metrics
from teambus.contracts.sessions_api import DayOfUsage, GetUsage, ModelUse, Usage
from teambus_team_runner.sessions.database import Connection, Values
from teambus_team_runner.sessions.metrics import add_stored
from teambus_team_runner.sessions.tables import Tables

DAY_S = 24 * 3600
EPOCH = date(1970, 1, 1)
ROWS_AT_ONCE = 1000


class UsageStatements:
    """The statements, built once. Days are whole ones since 1970."""

    def __init__(self, tables: Tables) -> None:
        self._runs = tables.runs.c
        self._day = (self._runs.created_at // DAY_S).label("day")
        self.days = (
            sa.select(
                self._day,
                sa.func.count(self._runs.user_id.distinct()).label("users"),
                sa.func.min(self._runs.created_at).label("first_at"),
                sa.func.max(self._runs.completed_at).label("last_at"),
            )
            .where(*self._asked())
            .group_by(self._day)
            .order_by(self._day)
        )
        self.counts = self._counts(tables)
        self.metrics = (
            sa.select(self._runs.run_id, self._day, self._runs.metrics)
            .where(*self._asked(), self._runs.run_id > sa.bindparam("after", type_=sa.Text))
            .order_by(self._runs.run_id)
            .limit(ROWS_AT_ONCE)
        )

    def _counts(self, tables: Tables) -> sa.Select[Any]:
        sessions = tables.sessions.c
        # A run that never opened its session may have none.
        kind = sa.func.coalesce(sessions.session_type, "team").label("kind")
        same = (sessions.tenant == self._runs.tenant, sessions.session_id == self._runs.session_id)
        return (
            sa.select(
                self._day,
                kind,
                sa.func.count().label("runs"),
                sa.func.count(self._runs.session_id.distinct()).label("sessions"),
            )
            .outerjoin_from(tables.runs, tables.sessions, sa.and_(*same))
            .where(*self._asked())
            .group_by(self._day, kind)
        )

    def _asked(self) -> list[sa.ColumnElement[bool]]:
        first, end = (sa.bindparam(name, type_=sa.BigInteger) for name in ("first", "end"))
        user_id = sa.bindparam("user_id", type_=sa.Text)
        return [
            self._runs.tenant == sa.bindparam("tenant"),
            sa.or_(first.is_(None), self._runs.created_at >= first),
            sa.or_(end.is_(None), self._runs.created_at < end),
            sa.or_(user_id.is_(None), self._runs.user_id == user_id),
        ]


@dataclass(slots=True)
class _Spent:
    """The tokens of a day, and in how many runs each model was used."""

    tokens: Metrics = field(default_factory=Metrics)
    models: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, metrics: str | None) -> None:
        details = add_stored(self.tokens, metrics).details or {}
        self.models.update({(used.id, used.provider) for role in details.values() for used in role})


@dataclass(frozen=True, slots=True)
class UsageReader:
    """Answers from what is committed. What is stored meanwhile may be counted in part."""

    statements: UsageStatements

    def usage(self, connection: Connection, tenant: Tenant, asked: GetUsage) -> Usage:
        values: Values = {
            "tenant": tenant,
            "user_id": asked.user_id,
            "first": None if asked.first_day is None else _seconds(asked.first_day),
            "end": None if asked.last_day is None else _seconds(asked.last_day) + DAY_S,
        }
        days = connection.rows(self.statements.days, values)
        counts = {(n.day, n.kind): n for n in connection.rows(self.statements.counts, values)}
        spent: dict[int, _Spent] = {row.day: _Spent() for row in days}
        for run in self._metrics(connection, values):
            if run.day in spent:
                spent[run.day].add(run.metrics)
        return Usage(days=[_day(row, counts, spent[row.day]) for row in days])

    def _metrics(self, connection: Connection, values: Values) -> Iterator[Any]:
        after = ""
        while found := connection.rows(self.statements.metrics, values | {"after": after}):
            yield from found
            after = found[-1].run_id


def _day(row: Any, counts: dict[tuple[int, str], Any], spent: _Spent) -> DayOfUsage:
    numbers = {}
    for kind in ("team", "agent"):
        counted = counts.get((row.day, kind))
        numbers[f"{kind}_runs"] = counted.runs if counted else 0
        numbers[f"{kind}_sessions"] = counted.sessions if counted else 0
    spent.tokens.details = None
    return DayOfUsage(
        day=EPOCH + timedelta(days=row.day),
        first_at=row.first_at,
        last_at=row.last_at,
        tokens=spent.tokens,
        models=[
            ModelUse(id=id_, provider=provider, runs=runs)
            for (id_, provider), runs in sorted(spent.models.items())
        ],
        users=row.users,
        **numbers,
    )


def _seconds(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
