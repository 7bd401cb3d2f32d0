"""Bringing the tables of an earlier version up to date by alembic, in the caller's transaction.

alembic gives the chain of revisions and the operations. It would keep one version for a whole
database; here each session table has its own, so that is kept in a table of ours. A new database
needs none of this, and alembic takes long to import: only who has old tables imports this package.
"""

from collections.abc import Sequence
from pathlib import Path

import sqlalchemy as sa
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory

FOLDER = Path(__file__).parent


def upgrade(
    connection: sa.Connection, session_table: str, version: int, *, schema: str | None = None
) -> None:
    """Make the tables of `version`, 0 for none, those of the newest. Begins and ends nothing."""
    opts = {"session_table": session_table, "schema": schema}
    context = MigrationContext.configure(connection, opts=opts)
    with Operations.context(context):
        for revision in revisions(after=version):
            revision.module.upgrade()


def revisions(*, after: int) -> Sequence[Script]:
    """The steps that lead from a version to the newest, in their order."""
    scripts = ScriptDirectory(str(FOLDER), version_locations=[str(FOLDER / "versions")])
    newest_first = scripts.iterate_revisions("head", str(after) if after else "base")
    return list(newest_first)[::-1]
