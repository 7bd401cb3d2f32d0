"""The first tables: sessions, and the runs in them."""

import sqlalchemy as sa
from alembic import op

revision = "1"
down_revision = None


def upgrade() -> None:
    options = op.get_context().opts
    sessions, schema = options["session_table"], options["schema"]
    op.create_table(
        sessions,
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
        schema=schema,
    )
    op.create_table(
        f"{sessions}_runs",
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
        sa.Column("output", sa.Text, nullable=False),
        schema=schema,
    )
    in_order = ["tenant", "session_id", "fence"]
    op.create_index(f"{sessions}_runs_in_order", f"{sessions}_runs", in_order, schema=schema)
