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
    sessions = op.get_context().opts["session_table"]
    _upgrade_runs(f"{sessions}_runs")
    op.add_column(
        sessions, sa.Column("session_type", sa.Text, nullable=False, server_default="team")
    )
    op.add_column(sessions, sa.Column("given_name", sa.Text))
    op.add_column(sessions, sa.Column("summary", sa.Text))
    op.create_index(f"{sessions}_by_age", sessions, ["tenant", "created_at", "session_id"])


def _upgrade_runs(runs: str) -> None:
    """The runs get a new table, because a column added behind the outputs is found only by reading
    through them.
    """
    old = f"{runs}_v1"
    op.drop_index(f"{runs}_in_order", runs)
    op.rename_table(runs, old)
    new = op.create_table(runs, *_columns())
    connection = op.get_bind()
    rows = connection.execute(sa.select(sa.text("*")).select_from(sa.table(old)))
    for some in rows.mappings().partitions(ROWS_AT_ONCE):
        connection.execute(new.insert(), [_of_this_version(row) for row in some])
    op.drop_table(old)
    op.create_index(f"{runs}_in_order", runs, ["tenant", "session_id", "fence"])


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
