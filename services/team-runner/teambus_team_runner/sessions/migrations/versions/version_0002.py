"""What lists of sessions need: their type, a name of their own, the tokens of each run.

Runners of version 1 that are still at work meanwhile go on: what they do not write may be null.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

from teambus_team_runner.sessions.metrics import of_whole_run
from teambus_team_runner.sessions.rows import output_of, text_of

revision = "2"
down_revision = "1"

ROWS_AT_ONCE = 50


def upgrade() -> None:
    options = op.get_context().opts
    sessions, schema = options["session_table"], options["schema"]
    _upgrade_runs(f"{sessions}_runs", schema)
    for column in (
        sa.Column("session_type", sa.Text, nullable=False, server_default="team"),
        sa.Column("given_name", sa.Text),
        sa.Column("summary", sa.Text),
    ):
        op.add_column(sessions, column, schema=schema)
    by_age = ["tenant", "created_at", "session_id"]
    op.create_index(f"{sessions}_by_age", sessions, by_age, schema=schema)


def _upgrade_runs(runs: str, schema: str | None) -> None:
    """The runs get a new table, because a column added behind the outputs is found only by reading
    through them.
    """
    old = f"{runs}_v1"
    op.drop_index(f"{runs}_in_order", runs, schema=schema)
    op.rename_table(runs, old, schema=schema)
    connection = op.get_bind()
    _free_key_name(connection, runs, schema)
    new = op.create_table(runs, *_columns(), schema=schema)
    rows = connection.execute(sa.select(sa.text("*")).select_from(sa.table(old, schema=schema)))
    for some in rows.mappings().partitions(ROWS_AT_ONCE):
        connection.execute(new.insert(), [_of_this_version(row) for row in some])
    op.drop_table(old, schema=schema)
    in_order = ["tenant", "session_id", "fence"]
    op.create_index(f"{runs}_in_order", runs, in_order, schema=schema)


def _free_key_name(connection: sa.Connection, runs: str, schema: str | None) -> None:
    """PostgreSQL leaves a renamed table its key's name, which the new table is to have."""
    if connection.dialect.name == "postgresql":
        quote = connection.dialect.identifier_preparer.quote
        key = f"{quote(schema)}." if schema else ""
        key += quote(f"{runs}_pkey")
        op.execute(f"ALTER INDEX {key} RENAME TO {quote(f'{runs}_v1_pkey')}")


def _columns() -> list[sa.Column[Any]]:
    return [
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
        sa.Column("output", sa.Text, nullable=False),
    ]


def _of_this_version(row: sa.RowMapping) -> dict[str, Any]:
    output = row["output"]
    return {
        **row,
        "metrics": text_of(of_whole_run(output_of(output))),
        "output_bytes": len(output.encode()),
    }
