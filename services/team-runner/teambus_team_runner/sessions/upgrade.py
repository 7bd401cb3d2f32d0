"""Tables of an earlier version made into those of this one, in place and in one transaction.

Runners of version 1 that are still at work meanwhile go on: what they do not write may be null.
"""

from typing import Any

import sqlalchemy as sa

from teambus_team_runner.sessions.metrics import of_whole_run
from teambus_team_runner.sessions.rows import output_of, text_of
from teambus_team_runner.sessions.tables import Tables

ROWS_AT_ONCE = 50


def from_version_1(connection: sa.Connection, tables: Tables) -> None:
    """Add what lists of sessions need: their type, a name of their own, the tokens of each run.

    The runs get a new table, because a column added behind the outputs is found only by reading
    through them.
    """
    sessions, runs = tables.sessions, tables.runs
    quoted = connection.dialect.identifier_preparer.quote
    old = sa.Table(f"{runs.name}_v1", sa.MetaData(), *map(_copied, _columns_of_version_1(runs)))
    connection.exec_driver_sql(f"DROP INDEX {quoted(f'{runs.name}_in_order')}")
    connection.exec_driver_sql(f"ALTER TABLE {quoted(runs.name)} RENAME TO {quoted(old.name)}")
    runs.create(connection)
    for rows in connection.execute(sa.select(old)).partitions(ROWS_AT_ONCE):
        connection.execute(runs.insert(), [_of_this_version(row) for row in rows])
    old.drop(connection)
    for column in ("session_type TEXT NOT NULL DEFAULT 'team'", "given_name TEXT", "summary TEXT"):
        connection.exec_driver_sql(f"ALTER TABLE {quoted(sessions.name)} ADD COLUMN {column}")
    for index in sessions.indexes:
        index.create(connection)


def _columns_of_version_1(runs: sa.Table) -> list[sa.Column[Any]]:
    return [column for column in runs.columns if column.name not in ("metrics", "output_bytes")]


def _copied(column: sa.Column[Any]) -> sa.Column[Any]:
    return sa.Column(column.name, column.type)


def _of_this_version(row: sa.Row[Any]) -> dict[str, Any]:
    output = row.output
    return {
        **row._asdict(),
        "metrics": text_of(of_whole_run(output_of(output))),
        "output_bytes": len(output.encode()),
    }
