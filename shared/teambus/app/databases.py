"""Where a team's sessions are kept, as plain data. The team-runner opens it."""

import re
from pathlib import Path

from teambus.app.errors import DefinitionError
from teambus.app.names import id_mistakes, slug
from teambus.app.options import definition, labelled

_TABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}\Z")


@definition("database")
class AsyncSqliteDb:
    """A SQLite file. A relative path is relative to the working directory of the declaration.

    `db_file` is absolute once declared. The id is made from the file's name unless given.
    """

    db_file: str | Path = ""
    session_table: str = "teambus_sessions"
    id: str = ""

    def __post_init__(self) -> None:
        label = labelled("database", self.id or str(self.db_file))
        if str(self.db_file) in ("", ":memory:"):
            raise DefinitionError(
                f"{label}: sessions need a file that outlives the process;"
                ' write db_file="tmp/team.db"'
            )
        self.db_file = Path(self.db_file).absolute()
        self.id = self.id or slug(self.db_file.name)
        mistakes = id_mistakes(label, self.id)
        if not _TABLE.match(self.session_table):
            mistakes.append(
                f"{label}: session_table={self.session_table!r} must be letters, digits and _"
            )
        if mistakes:
            raise DefinitionError(*mistakes)

    @property
    def path(self) -> Path:
        return Path(self.db_file)
